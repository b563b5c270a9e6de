"""The network itself as a runtime: torch, in float32 or under bfloat16 autocast."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from skipstone.core.errors import UsageError
from skipstone.models.conv_bf16 import autocast_bfloat16


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """torch uses `count` threads inside the block; None changes nothing."""
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


PRECISIONS = ("f32", "bf16")


class TorchRuntime:
    """Runs a network on the device where it is. A network that is being trained may be passed: its
    modules return to the mode they were in.

    Args:
        network: dict of batched arrays -> dict of outputs.
        precision: "f32", or "bf16" for autocast (weights stay float32).
        threads: of torch while running; None leaves their number as it is.
    """

    def __init__(
        self, network: nn.Module, *, precision: str = "f32", threads: int | None = None
    ) -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"torch runs in {' or '.join(PRECISIONS)}, not in {precision!r}.")
        self.name = f"torch-{precision}"
        self.device = next(network.parameters(), torch.empty(0)).device
        self._precision = precision
        self._threads = threads
        self._network = network

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with _evaluating(self._network), torch_threads(self._threads):
            return self._compute(self._tensors(arrays))

    def bind_inputs(self, arrays: Mapping[str, np.ndarray]) -> Callable[[], dict[str, np.ndarray]]:
        """A function that computes the outputs of these arrays, for latency measurements. The
        caller sets torch's threads, and the network stays in evaluation mode."""
        self._network.eval()
        x = self._tensors(arrays)
        return lambda: self._compute(x)

    def _tensors(self, arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        return {
            name: torch.from_numpy(np.ascontiguousarray(value)).to(self.device)
            for name, value in arrays.items()
        }

    def _compute(self, x: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            half = self._precision == "bf16"
            with autocast_bfloat16(self.device) if half else contextlib.nullcontext():
                outputs: dict[str, torch.Tensor] = self._network(x)
            return {name: _array(value) for name, value in outputs.items()}

    def runtime_info(self) -> Mapping[str, Any]:
        return {
            "runtime": "torch",
            "version": torch.__version__,
            "precision": self._precision,
            "threads": self._threads or torch.get_num_threads(),
            "device": str(self.device),
        }


def _array(value: torch.Tensor) -> np.ndarray:
    """Floating-point outputs as float32; integers (counts, indices) stay integers."""
    if value.is_floating_point():
        value = value.float()
    array: np.ndarray = value.cpu().numpy()
    return array


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block. Afterwards each module has its former mode, for frozen
    norms were in evaluation mode before."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
