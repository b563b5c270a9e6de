"""OpenVINO on the CPU: float32, bfloat16, or an INT8 program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from skipstone.core.errors import DamagedError, UsageError
from skipstone.inference.backends.libraries import (
    disable_signal_stack_after,
    import_openvino,
    limit_memory,
)
from skipstone.inference.backends.openvino_check import check_array_sizes, check_ir
from skipstone.inference.reference_outputs import cpu_features

#: Shapes that get a compiled program of their own; compiling for more costs more than it saves.
MAX_STATIC_SHAPES = 8
PRECISIONS = ("f32", "bf16", "int8")


class OpenVinoRuntime:
    """Runs an OpenVINO program (IR).

    A program is compiled on first use: for batch 1 with a static shape, because a dynamic batch
    is slower there (efficientnet_lite0 at 224: 3.99 against 2.38 ms), and for larger batches with a
    dynamic one. Where other axes are dynamic too (height, width), it is compiled for each of the
    first STATIC_SHAPES shapes of batch 1, and after those once with dynamic axes.

    Args:
        xml, weights: the two files' bytes; the caller has checked their hashes.
        precision: "f32", "bf16", or "int8" for a quantized program.
        floats: precision of the layers that an INT8 program leaves in floating point: "f32" or
            "bf16".
        threads: None for OpenVINO's default.
    """

    def __init__(
        self,
        xml: bytes,
        weights: bytes,
        *,
        precision: str = "f32",
        floats: str = "f32",
        threads: int | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"OpenVINO runs in {', '.join(PRECISIONS)}, not in {precision!r}.")
        if floats not in ("f32", "bf16"):
            raise UsageError(
                f"an INT8 program's other layers run in f32 or bf16, not in {floats!r}."
            )
        check_ir(xml, weights)
        self._library = import_openvino()
        self._core = self._library.Core()
        self._precision, self._threads = precision, threads
        self._hint = floats if precision == "int8" else precision
        self._xml, self._weights = xml, weights
        self._outputs: list[str] = []
        self._compiled: dict[tuple[str, Any], Any] = {}
        self.name = f"openvino-{precision}"

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        feed = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        size = len(next(iter(feed.values())))
        compiled = self.get_compiled(static=size == 1, like=feed)
        try:
            with limit_memory():
                results = compiled(feed)
        except (RuntimeError, TypeError, ValueError) as error:
            raise DamagedError(f"the OpenVINO program fails: {error}") from error
        ports = zip(self._outputs, compiled.outputs, strict=True)
        return {name: np.array(results[port]) for name, port in ports}

    def bind_inputs(self, arrays: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        """A function that computes the outputs of these arrays (batch 1), for latency
        measurements. Each call overwrites the outputs of the call before."""
        request = self.get_compiled(static=True, like=arrays).create_infer_request()
        inputs = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        for name, value in inputs.items():
            request.set_tensor(name, self._library.Tensor(value, shared_memory=True))

        def run_request() -> Any:
            assert inputs, "this reference keeps the arrays alive, whose memory the request reads"
            return request.infer(share_outputs=True)

        return run_request

    def get_compiled(self, *, static: bool, like: Mapping[str, np.ndarray] | None = None) -> Any:
        """The openvino.CompiledModel: with `static` for batch 1 and the shapes of `like`, else for
        any batch size."""
        shapes = tuple((name, value.shape[1:]) for name, value in sorted((like or {}).items()))
        key = ("static", shapes) if static else ("dynamic", ())
        if static and key not in self._compiled and len(self._compiled) > MAX_STATIC_SHAPES:
            key = ("static", ())
        if key not in self._compiled:
            try:
                with limit_memory(), disable_signal_stack_after():
                    self._compiled[key] = self._compile(dict(key[1]) if static else None)
            except (RuntimeError, IndexError, TypeError) as error:
                raise DamagedError(f"OpenVINO cannot load the program: {error}") from error
        return self._compiled[key]

    def _compile(self, sizes: Mapping[str, tuple[int, ...]] | None) -> Any:
        """Compiled for batch 1 and `sizes`, or for None with dynamic axes."""
        model = self._core.read_model(self._xml, self._weights)
        # names from before compiling: it may rename an output after a fused layer
        self._outputs = [port.get_any_name() for port in model.outputs]
        if sizes is not None:
            model.reshape(
                {
                    port: _batch_of_one(port.partial_shape, sizes.get(port.get_any_name()))
                    for port in model.inputs
                }
            )
        check_array_sizes(model)
        return self._core.compile_model(model, "CPU", self._properties())

    def runtime_info(self) -> Mapping[str, Any]:
        """`precision` is the one that the compiled layers run in; `asked` is the requested one."""
        compiled = next(iter(self._compiled.values()), None) or self.get_compiled(static=True)
        layers = count_layer_precisions(compiled)
        return {
            "runtime": "openvino",
            "version": self._library.__version__,
            "precision": _main_precision(layers),
            "requested": self._precision,
            "hint": str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string()),
            "layers": layers,
            "features": cpu_features(),
            "kernels": count_kernels(compiled),
            "threads": int(compiled.get_property("INFERENCE_NUM_THREADS")),
            "device": "cpu",
        }

    def _properties(self) -> dict[str, Any]:
        properties: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": self._hint,
            "CACHE_DIR": "",  # nothing is written outside the bundle
        }
        if self._threads is not None:
            properties["INFERENCE_NUM_THREADS"] = self._threads
        return properties


#: Layer types, as the CPU plugin names them, that do nearly all of the arithmetic.
_HEAVY = (
    "Convolution",
    "FullyConnected",
    "MatMul",
    "Deconvolution",
    "GroupConvolution",
    "RNNSeq",
    "RNNCell",
)


def count_layer_precisions(compiled: Any) -> dict[str, int]:
    """Number of convolutions, matrix products and recurrent layers of a compiled program, by
    precision."""
    counts: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        facts = node.get_rt_info()
        if facts["layerType"].astype(str) in _HEAVY:
            counts[_NAMES.get(kind := facts["runtimePrecision"].astype(str), kind)] += 1
    return dict(counts)


def count_kernels(compiled: Any) -> dict[str, int]:
    """Number of the same layers by the kernel that computes them, as the plugin names it."""
    kinds = (node.get_rt_info() for node in compiled.get_runtime_model().get_ops())
    heavy = (facts for facts in kinds if facts["layerType"].astype(str) in _HEAVY)
    return dict(Counter(facts["primitiveType"].astype(str) for facts in heavy))


_NAMES = {"f32": "f32", "bf16": "bf16", "f16": "f16", "i8": "int8", "u8": "int8"}


def _main_precision(layers: Mapping[str, int]) -> str:
    """INT8 if any layer runs in it, else the most frequent one."""
    if "int8" in layers:
        return "int8"
    return max(layers, key=lambda name: layers[name]) if layers else "f32"


def _batch_of_one(shape: Any, sizes: tuple[int, ...] | None) -> Any:
    """The same shape with batch 1 and, unless None, `sizes` for the other axes."""
    shape = shape.__class__(shape)
    shape[0] = 1
    for axis, size in enumerate(sizes or (), 1):
        shape[axis] = size
    return shape
