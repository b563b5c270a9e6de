"""How the frozen part of a network is computed: by the fastest way that this machine has.

CPU with bfloat16    OpenVINO in bfloat16
GPU                  torch under bfloat16 autocast, channels last
others               torch in float32
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from skipstone.core import events
from skipstone.inference.backends.libraries import disable_signal_stack_after, import_openvino
from skipstone.models.conv_bf16 import autocast_bfloat16
from skipstone.models.frozen_prefix import FrozenPrefix, PrefixModule
from skipstone.training.precision import bf16_is_native

#: Samples that go through an OpenVINO program at once.
PROGRAM_BATCH = 16


class PrefixProgram(Protocol):
    """Computes the arrays of prefixes.

    Args:
        name: what computes, for people and for the key of a cache.
        dtype: type of the arrays.
    """

    name: str
    dtype: torch.dtype

    def compute_arrays(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A batch of the network's inputs -> the arrays by name, on the CPU."""


def make_prefix_program(
    network: nn.Module, prefixes: Sequence[FrozenPrefix], example: Mapping[str, Tensor]
) -> PrefixProgram:
    """The fastest program on this device. Where OpenVINO cannot convert the network, torch computes,
    and a note says so.

    Args:
        network: in evaluation mode below the cut; it is not changed.
    """
    device = next(network.parameters()).device
    module = PrefixModule(network, prefixes, list(example)).eval()
    if device.type == "cpu" and bf16_is_native(device):
        try:
            return OpenVinoPrefix(module, example)
        except Exception as error:  # the converter raises anything
            reason = str(error).strip().partition("\n")[0]
            events.emit_note(f"OpenVINO cannot convert the frozen stages ({reason:.100}).")
    return TorchPrefix(module, device)


class TorchPrefix:
    """The network itself, under bfloat16 autocast on a GPU."""

    def __init__(self, module: PrefixModule, device: torch.device) -> None:
        self._module, self._device = module, device
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.name = f"torch on {device.type}, {str(self.dtype).removeprefix('torch.')}"

    def compute_arrays(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        arrays = [x[name].to(self._device) for name in self._module.inputs]
        with torch.inference_mode():
            if self.dtype == torch.bfloat16:
                with autocast_bfloat16(self._device):
                    outputs = self._module(*arrays)
            else:
                outputs = self._module(*arrays)
            computed = [value.to("cpu", self.dtype) for value in outputs]
        return dict(zip(_array_names(self._module), computed, strict=True))


class OpenVinoPrefix:
    """OpenVINO in bfloat16. Batches are padded to `PROGRAM_BATCH`, so that a sample's arrays do not
    depend on how many it comes with."""

    dtype = torch.bfloat16
    name = "OpenVINO, bfloat16"

    def __init__(self, module: PrefixModule, example: Mapping[str, Tensor]) -> None:
        library = import_openvino()
        arrays = tuple(_pad_batch(example[name][:PROGRAM_BATCH]) for name in module.inputs)
        with (
            torch.no_grad(),
            disable_signal_stack_after(),
            warnings.catch_warnings(action="ignore", category=FutureWarning),  # torch.jit's
        ):
            model = library.convert_model(module, example_input=arrays)
            shapes = dict(zip(model.inputs, [[*array.shape] for array in arrays], strict=True))
            model.reshape(shapes)
            properties: dict[str, Any] = {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "bf16",
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "CACHE_DIR": "",
            }
            self._compiled = library.Core().compile_model(model, "CPU", properties)
        self._module = module

    def compute_arrays(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        count = len(next(iter(x.values())))
        parts: list[list[Tensor]] = []
        for begin in range(0, count, PROGRAM_BATCH):
            rows = [x[name][begin : begin + PROGRAM_BATCH] for name in self._module.inputs]
            results = self._compiled([_pad_batch(value).numpy() for value in rows])
            parts.append(
                [
                    torch.from_numpy(np.array(results[port])[: len(rows[0])]).to(self.dtype)
                    for port in self._compiled.outputs
                ]
            )
        names = _array_names(self._module)
        joined = [torch.cat(columns) for columns in zip(*parts, strict=True)]
        return dict(zip(names, joined, strict=True))


def _array_names(module: PrefixModule) -> list[str]:
    return [name for prefix in module.prefixes for name in prefix.array_shapes]


def _pad_batch(values: Tensor) -> Tensor:
    """Repeat the last sample up to `PROGRAM_BATCH`."""
    missing = PROGRAM_BATCH - len(values)
    padded = torch.cat([values, values[-1:].expand(missing, *values.shape[1:])])
    return padded.contiguous()
