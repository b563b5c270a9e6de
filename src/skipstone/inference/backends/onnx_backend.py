"""ONNX Runtime: an ONNX program on the CPU, in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skipstone.core.errors import DamagedError
from skipstone.inference.backends.libraries import import_onnxruntime, limit_memory
from skipstone.inference.backends.onnx_check import check_onnx


class OnnxRuntime:
    """Runs an ONNX program.

    Args:
        program: the file's bytes; the caller has checked their hash.
        threads: for one run; None for ONNX Runtime's default.
    """

    def __init__(self, program: bytes, *, threads: int | None = None) -> None:
        check_onnx(program)
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised as well
        if threads is not None:
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
        try:
            with limit_memory():
                self._session = onnxruntime.InferenceSession(
                    program, options, providers=["CPUExecutionProvider"]
                )
        except Exception as error:  # its exceptions share no base class of their own
            raise DamagedError(f"ONNX Runtime cannot load the program: {error}") from error
        for output in self._session.get_outputs():
            if not output.type.startswith("tensor(") or output.type == "tensor(string)":
                raise DamagedError(
                    f"the ONNX program's output {output.name!r} is a {output.type}, not numbers."
                )
        self.name = "onnxruntime-f32"
        self._threads = threads
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        feed = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        try:
            with limit_memory():
                values = self._session.run(self._outputs, feed)
        except Exception as error:  # as above
            raise DamagedError(f"the ONNX program fails: {error}") from error
        return dict(zip(self._outputs, values, strict=True))

    def runtime_info(self) -> Mapping[str, Any]:
        return {
            "runtime": "onnxruntime",
            "version": import_onnxruntime().__version__,
            "precision": "f32",
            "threads": self._threads or "all",
            "device": "cpu",
            "providers": self._session.get_providers(),
        }
