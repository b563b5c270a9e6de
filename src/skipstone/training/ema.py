"""The moving average of a network's weights, which is evaluated and selected."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class Ema:
    """average = d * average + (1 - d) * weights after each step, d = min(decay, (1+n)/(10+n)).

    The rising d lets a short training forget its random start (as in TensorFlow's
    ExponentialMovingAverage). Running statistics of norms are averaged like weights, so that they
    belong to the averaged weights; integer buffers are copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.count = 0
        live = {name: tensor.detach() for name, tensor in network.state_dict().items()}
        self._names = list(live)
        self._live = list(live.values())
        self._average = [tensor.clone() for tensor in self._live]
        floats = [tensor.is_floating_point() for tensor in self._live]
        self._live_floats = [t for t, is_float in zip(self._live, floats, strict=True) if is_float]
        self._average_floats = [
            t for t, is_float in zip(self._average, floats, strict=True) if is_float
        ]
        self._integers = [
            (average, tensor)
            for average, tensor, is_float in zip(self._average, self._live, floats, strict=True)
            if not is_float
        ]

    @torch.no_grad()
    def update(self) -> None:
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(self._average_floats, self._live_floats, 1 - decay)
        for average, tensor in self._integers:
            average.copy_(tensor)

    @contextlib.contextmanager
    def use_average(self) -> Iterator[None]:
        """In the block the network has the averaged weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged state dict (its own tensors, not copies)."""
        return dict(zip(self._names, self._average, strict=True))

    def load(self, tensors: Mapping[str, Tensor], count: int) -> None:
        self.count = count
        for name, average in zip(self._names, self._average, strict=True):
            average.copy_(tensors[name])

    @torch.no_grad()
    def _exchange(self) -> None:
        for average, tensor in zip(self._average, self._live, strict=True):
            weights = tensor.clone()
            tensor.copy_(average)
            average.copy_(weights)
