"""Recurrent networks over words: RNN (Elman 1990), LSTM (Hochreiter and Schmidhuber 1997) and GRU
(Cho et al. 2014, arXiv:1406.1078), in both directions, with attention over the states.

torch's packed sequences do not export. Here the forward direction also runs over the padding,
whose states are ignored, and the backward direction runs over the text reversed within its length.
Both equal packed sequences.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skipstone.models.backbone import SequenceBackbone
from skipstone.models.recurrent_op import UnidirectionalRecurrent
from skipstone.models.text_backbone_options import RecurrentOptions
from skipstone.models.word_lookup import embed_words, make_embedding

_KINDS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}


class RecurrentEncoder(SequenceBackbone):
    """Token ids (N, L) or (N, L, 1 + P), 0 for padding -> one vector (N, directions x hidden).

    Args:
        cell: "rnn", "lstm" or "gru".
        vocabulary: number of ids.
    """

    classifier = "head"

    def __init__(self, *, cell: str, vocabulary: int, options: RecurrentOptions) -> None:
        super().__init__()
        self.embedding = make_embedding(vocabulary, options.embedding)
        self.token_dropout = options.token_dropout
        directions = 2 if options.bidirectional else 1
        width = directions * options.hidden
        self.layers = nn.ModuleList(
            nn.ModuleList(
                UnidirectionalRecurrent(
                    _KINDS[cell], width if layer else options.embedding, options.hidden
                )
                for _ in range(directions)
            )
            for layer in range(options.layers)
        )
        self.attention = Attention(width) if options.pooling == "attention" else None
        self.dropout = nn.Dropout(options.dropout)
        self.channels, self.strides = (width,), (1,)

    def embed_tokens(self, x: Tensor) -> Tensor:
        return embed_words(self.embedding, x, dropout=self.token_dropout)

    def encode_vectors(self, vectors: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        reversal = reversal_indices(mask)
        states = self.dropout(vectors)
        for cells in self.layers:
            assert isinstance(cells, nn.ModuleList)
            states = self._run_layer(cells, states, reversal)
        if self.attention is not None:
            pooled = self.attention(states, mask)
        else:
            lowest = torch.finfo(states.dtype).min
            pooled = states.masked_fill(~mask.unsqueeze(2), lowest).amax(dim=1)
        return (self.dropout(pooled),)

    @staticmethod
    def _run_layer(cells: nn.ModuleList, x: Tensor, reversal: Tensor) -> Tensor:
        """One layer in its one or two directions: (N, L, D) -> (N, L, directions x hidden)."""
        states = [cells[0](x)]
        if len(cells) == 2:
            states.append(gather_positions(cells[1](gather_positions(x, reversal)), reversal))
        return torch.cat(states, dim=2)

    def stage_modules(self) -> list[list[nn.Module]]:
        attention = [] if self.attention is None else [self.attention]
        return [[self.embedding], [*self.layers, *attention, self.dropout]]


class Attention(nn.Module):
    """The weighted mean of states; weights are the softmax of v . tanh(W h + b) over the text.

    Yang et al. 2016, "Hierarchical Attention Networks for Document Classification", eq. 5 to 7.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, width)
        self.query = nn.Linear(width, 1, bias=False)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """states (N, L, C), mask (N, L) -> (N, C)."""
        scores = self.query(torch.tanh(self.project(states))).squeeze(2)
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=1).unsqueeze(1)  # (N, 1, L)
        return torch.bmm(weights, states).squeeze(1)


def reversal_indices(mask: Tensor) -> Tensor:
    """(N, L): indices that reverse each text within its length; padding stays. Applying it
    twice restores the order."""
    position = torch.cumsum(torch.ones_like(mask, dtype=torch.int64), dim=1) - 1
    length = mask.sum(dim=1, keepdim=True)
    return torch.where(position < length, length - 1 - position, position)


def gather_positions(x: Tensor, positions: Tensor) -> Tensor:
    """x (N, L, D) with row i of each sample taken from its row positions[i]."""
    return x.gather(1, positions.unsqueeze(2).expand(-1, -1, x.shape[2]))


def build_recurrent(name: str, options: RecurrentOptions, *, in_channels: int) -> RecurrentEncoder:
    """The network "rnn", "lstm" or "gru" for a vocabulary of `in_channels` ids."""
    return RecurrentEncoder(cell=name, vocabulary=in_channels, options=options)
