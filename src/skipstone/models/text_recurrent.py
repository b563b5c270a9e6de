"""Recurrent networks over words: RNN (Elman 1990), LSTM (Hochreiter and Schmidhuber 1997) and GRU
(Cho et al. 2014, arXiv:1406.1078), in both directions, with attention over the states.

torch's packed sequences do not export. Here the forward direction runs over the padding behind a
text, where its states are not used, and the backward direction over the text turned round within
its own length, padding left behind. Both give what packed sequences give, at every length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skipstone.models.backbone import SequenceBackbone
from skipstone.models.recurrent_op import OneDirection
from skipstone.models.text_options import RecurrentOptions
from skipstone.models.word_lookup import look_up, word_table

_KINDS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}


class Recurrent(SequenceBackbone):
    """Token ids (N, L) or (N, L, 1 + P), 0 for padding -> one vector (N, directions x hidden).

    Args:
        cell: "rnn", "lstm" or "gru".
        vocabulary: number of ids.
    """

    classifier = "head"

    def __init__(self, *, cell: str, vocabulary: int, options: RecurrentOptions) -> None:
        super().__init__()
        self.embedding = word_table(vocabulary, options.embedding)
        self.token_dropout = options.token_dropout
        directions = 2 if options.bidirectional else 1
        width = directions * options.hidden
        self.layers = nn.ModuleList(
            nn.ModuleList(
                OneDirection(_KINDS[cell], width if layer else options.embedding, options.hidden)
                for _ in range(directions)
            )
            for layer in range(options.layers)
        )
        self.attention = Attention(width) if options.pooling == "attention" else None
        self.dropout = nn.Dropout(options.dropout)
        self.channels, self.strides = (width,), (1,)

    def look_up(self, x: Tensor) -> Tensor:
        return look_up(self.embedding, x, hide=self.token_dropout)

    def read(self, vectors: Tensor, there: Tensor) -> tuple[Tensor, ...]:
        turned = turned_places(there)
        states = self.dropout(vectors)
        for cells in self.layers:
            assert isinstance(cells, nn.ModuleList)
            states = self._layer(cells, states, turned)
        if self.attention is not None:
            pooled = self.attention(states, there)
        else:
            lowest = torch.finfo(states.dtype).min
            pooled = states.masked_fill(~there.unsqueeze(2), lowest).amax(dim=1)
        return (self.dropout(pooled),)

    @staticmethod
    def _layer(cells: nn.ModuleList, x: Tensor, turned: Tensor) -> Tensor:
        """One layer in each of its directions: (N, L, D) -> (N, L, directions x hidden)."""
        states = [cells[0](x)]
        if len(cells) == 2:
            states.append(reorder(cells[1](reorder(x, turned)), turned))
        return torch.cat(states, dim=2)

    def stages(self) -> list[list[nn.Module]]:
        rest = [] if self.attention is None else [self.attention]
        return [[self.embedding], [*self.layers, *rest, self.dropout]]


class Attention(nn.Module):
    """A weighted mean of states: weights are a softmax of v . tanh(W h + b) over the text.

    Yang et al. 2016, "Hierarchical Attention Networks for Document Classification", eq. 5 to 7.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, width)
        self.query = nn.Linear(width, 1, bias=False)

    def forward(self, states: Tensor, there: Tensor) -> Tensor:
        """states (N, L, C), there (N, L) -> (N, C)."""
        scores = self.query(torch.tanh(self.project(states))).squeeze(2)
        scores = scores.masked_fill(~there, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=1).unsqueeze(1)  # (N, 1, L)
        return torch.bmm(weights, states).squeeze(1)


def turned_places(there: Tensor) -> Tensor:
    """(N, L): where each place's value comes from when each text is turned round within its own
    length; padding stays. Turning twice changes nothing."""
    place = torch.cumsum(torch.ones_like(there, dtype=torch.int64), dim=1) - 1
    length = there.sum(dim=1, keepdim=True)
    return torch.where(place < length, length - 1 - place, place)


def reorder(x: Tensor, places: Tensor) -> Tensor:
    """x (N, L, D) with row i of each sample taken from its row places[i]."""
    return x.gather(1, places.unsqueeze(2).expand(-1, -1, x.shape[2]))


def build_recurrent(name: str, options: RecurrentOptions, *, in_channels: int) -> Recurrent:
    """The network called "rnn", "lstm" or "gru" for a vocabulary of `in_channels` ids."""
    return Recurrent(cell=name, vocabulary=in_channels, options=options)
