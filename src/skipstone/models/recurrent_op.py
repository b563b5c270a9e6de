"""One direction of a recurrent layer as a custom operator, so that any length exports.

torch.export unrolls nn.GRU into the steps of one length. While exporting, the layer calls this
operator instead, which becomes ONNX's RNN, LSTM or GRU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

#: ONNX's order of gates, as indices of torch's: GRU z r n of r z n; LSTM i o f c of i f c o.
_GATES = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}


class UnidirectionalRecurrent(nn.Module):
    """x (N, L, D) -> states (N, L, H) of a single-layer RNN, LSTM or GRU, left to right.

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
