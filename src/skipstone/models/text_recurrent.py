"""Recurrent networks over words: RNN (Elman 1990), LSTM (Hochreiter and Schmidhuber 1997) and GRU
(Cho et al. 2014, arXiv:1406.1078), in both directions, with attention over the states.

torch's packed sequences do not export. Here the forward direction also runs over the padding,
whose states are ignored, and the backward direction runs over the text reversed within its length.
Both equal packed sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.models.backbone import SequenceBackbone
from skipstone.models.text_backbone_options import RecurrentOptions
from skipstone.models.word_lookup import embed_words, make_embedding

#: ONNX's order of gates, as indices of torch's: GRU z r n of r z n; LSTM i o f c of i f c o.
_GATES = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}


class UnidirectionalRecurrent(nn.Module):
    """x (N, L, D) -> states (N, L, H) of a single-layer RNN, LSTM or GRU, left to right.

    torch.export unrolls nn.GRU into the steps of one length. While exporting, the layer calls the
    operator below instead, which becomes ONNX's RNN, LSTM or GRU, of any length.

    Args:
        kind: "RNN", "LSTM" or "GRU".
    """

    def __init__(self, kind: str, size: int, hidden: int) -> None:
        super().__init__()
        self.kind = kind
        self.cell: nn.RNNBase = getattr(nn, kind)(size, hidden, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            exported: Tensor = recurrent_states(x, *self.cell.parameters(), self.kind)
            return exported
        states: Tensor = self.cell(x)[0]
        return states

    def onnx_operators(self) -> Mapping[Any, Callable[..., Any]]:
        """{torch operator: its translation to ONNX}."""
        return {torch.ops.skipstone.recurrent_states.default: _to_onnx}


@torch.library.custom_op("skipstone::recurrent_states", mutates_args=())
def recurrent_states(x: Tensor, w: Tensor, u: Tensor, b: Tensor, c: Tensor, kind: str) -> Tensor:
    """(N, L, D) -> (N, L, H) with input weights w, recurrent weights u and their biases."""
    start = x.new_zeros(1, x.shape[0], u.shape[1])
    parameters = [w, u, b, c]
    if kind == "LSTM":
        return torch.lstm(x, [start, start], parameters, True, 1, 0.0, False, False, True)[0]
    run = torch.gru if kind == "GRU" else torch.rnn_tanh
    return run(x, start, parameters, True, 1, 0.0, False, False, True)[0]


@recurrent_states.register_fake
def _(x: Tensor, w: Tensor, u: Tensor, b: Tensor, c: Tensor, kind: str) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], u.shape[1])


def _to_onnx(x: Any, w: Any, u: Any, b: Any, c: Any, kind: str) -> Any:
    """The operator in ONNX, whose layout is (L, N, D)."""
    from onnxscript import opset20

    op: Any = opset20
    hidden = int(u.shape[1])
    rows = [gate * hidden + row for gate in _GATES[kind] for row in range(hidden)]
    order = op.Constant(value_ints=rows)
    first = op.Constant(value_ints=[0])
    weights = [op.Unsqueeze(op.Gather(part, order, axis=0), first) for part in (w, u)]
    biases = [op.Gather(part, order, axis=0) for part in (b, c)]
    bias = op.Unsqueeze(op.Concat(*biases, axis=0), first)
    inputs = op.Transpose(x, perm=[1, 0, 2])
    if kind == "GRU":
        states, _ = op.GRU(inputs, *weights, bias, hidden_size=hidden, linear_before_reset=1)
    elif kind == "LSTM":
        states, _, _ = op.LSTM(inputs, *weights, bias, hidden_size=hidden)
    else:
        states, _ = op.RNN(inputs, *weights, bias, hidden_size=hidden)
    return op.Transpose(op.Squeeze(states, op.Constant(value_ints=[1])), perm=[1, 0, 2])


_KINDS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}


class RecurrentEncoder(SequenceBackbone):
    """Token ids (N, L) or (N, L, 1 + P), 0 for padding -> one vector (N, directions x hidden).

    Args:
        cell: "rnn", "lstm" or "gru".
        vocabulary: number of ids.
    """

    classifier_name = "head"

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
