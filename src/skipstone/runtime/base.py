"""What every runtime answers: arrays in, named arrays out. It knows no images and no classes."""

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

    def facts(self) -> Mapping[str, Any]:
        """Versions, precision that was really used, threads, device: for receipts. And, where
        it can tell what decides how its numbers round, the processor's `features` and the
        `kernels` {name: layers} (`own_answers.features`)."""

    # A runtime may also have `bound(arrays)`: a call without arguments that answers the same arrays
    #   again and again, with nothing left to do but compute. Latencies are measured with it.
