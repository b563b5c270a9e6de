"""The interface of a runtime: arrays in, named arrays out. It knows neither images nor classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np


class Runtime(Protocol):
    """A program or a network, ready to run.

    Args:
        name: such as "torch-f32", "onnxruntime-f32", "openvino-bf16", "openvino-int8".
    """

    name: str

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Batched inputs (N, ...) by name to outputs (N, ...) by name, float32."""

    def runtime_info(self) -> Mapping[str, Any]:
        """For receipts: version, precision that was really used, threads, device. Where the
        runtime knows what decides its rounding, also the processor's `features` and the `kernels`
        {name: number of layers} (see `load_reference_outputs`)."""

    # A runtime may also have `bound(arrays)`: it returns a function without arguments that computes
    # the outputs of these arrays, without copying them again. Latencies are measured with it.
