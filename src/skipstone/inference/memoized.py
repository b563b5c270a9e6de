"""A runtime that computes equal batches once: calibration, scores and their comparison without the
temperature need the same outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from skipstone.inference.predictor import Runtime

#: Bytes of outputs that are kept; what follows is computed each time (masks of many images).
MAX_BYTES = 256 << 20


class MemoizedRuntime:
    """Another runtime's outputs; those of a batch that it has computed come from memory."""

    def __init__(self, runtime: Runtime) -> None:
        self.name = runtime.name
        self._runtime = runtime
        self._outputs: dict[bytes, dict[str, np.ndarray]] = {}
        self._bytes = 0

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        key = digest_arrays(arrays)
        if key not in self._outputs:
            outputs = self._runtime.run(arrays)
            size = sum(value.nbytes for value in outputs.values())
            if self._bytes + size > MAX_BYTES:
                return outputs
            self._outputs[key] = outputs
            self._bytes += size
        return {name: value.copy() for name, value in self._outputs[key].items()}

    def runtime_info(self) -> Mapping[str, Any]:
        return self._runtime.runtime_info()


def digest_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Equal for equal arrays under equal names."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {value.dtype.str} {value.shape} ".encode())
        digest.update(value.data)
    return digest.digest()
