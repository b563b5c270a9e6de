"""OpenVINO on the CPU: float32, bfloat16, or an INT8 program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from skipstone.errors import DamagedError, UsageError
from skipstone.runtime.ir_check import check_ir
from skipstone.runtime.libraries import import_openvino, loading_plugins
from skipstone.runtime.own_answers import features

#: Compiling takes longer than a few answers with free axes.
STATIC_SHAPES = 8
PRECISIONS = ("f32", "bf16", "int8")


class OpenVinoRuntime:
    """Runs an OpenVINO program (IR).

    A program is compiled twice, each when first needed: with batch 1 fixed, because a dynamic
    batch costs half as much time again there (efficientnet_lite0 at 224: 3.99 against 2.38 ms),
    and with a dynamic batch. Where other axes are free as well (height and width), it is compiled
    for each of the first shapes of a batch of 1, and after those with free axes.

    Args:
        xml, weights: the two files' bytes, compared with the bundle's list by the caller.
        precision: "f32", "bf16", or "int8" for a program that is quantized itself.
        floats: precision of what an INT8 program leaves in floating point: "f32" or "bf16".
        threads: None leaves it to OpenVINO.
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
            raise UsageError(f"OpenVINO leaves floats in f32 or bf16, not in {floats!r}.")
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
        compiled = self.compiled(static=size == 1, like=feed)
        try:
            results = compiled(feed)
        except (RuntimeError, TypeError, ValueError) as error:
            raise DamagedError(f"the OpenVINO program cannot answer: {error}") from error
        ports = zip(self._outputs, compiled.outputs, strict=True)
        return {name: np.array(results[port]) for name, port in ports}

    def bound(self, arrays: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        """One answer to these arrays (batch 1), again and again, with nothing left to do but
        compute: for measuring. What it gives is overwritten by the next."""
        request = self.compiled(static=True, like=arrays).create_infer_request()
        held = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        for name, value in held.items():
            request.set_tensor(name, self._library.Tensor(value, shared_memory=True))

        def answer() -> Any:
            assert held, "the arrays live as long as the request that reads them"
            return request.infer(share_outputs=True)

        return answer

    def compiled(self, *, static: bool, like: Mapping[str, np.ndarray] | None = None) -> Any:
        """The openvino.CompiledModel for batch 1 (`static`), with all axes as those of `like`, or
        for any batch."""
        shapes = tuple((name, value.shape[1:]) for name, value in sorted((like or {}).items()))
        key = ("static", shapes) if static else ("dynamic", ())
        if static and key not in self._compiled and len(self._compiled) > STATIC_SHAPES:
            key = ("static", ())
        if key not in self._compiled:
            try:
                model = self._core.read_model(self._xml, self._weights)
                # a compiled output may have the name of a layer before it, too
                self._outputs = [port.get_any_name() for port in model.outputs]
                if static:
                    fixed = dict(key[1])
                    model.reshape(
                        {
                            port: _one(port.partial_shape, fixed.get(port.get_any_name()))
                            for port in model.inputs
                        }
                    )
                with loading_plugins():
                    self._compiled[key] = self._core.compile_model(model, "CPU", self._properties())
            except (RuntimeError, IndexError, TypeError) as error:
                raise DamagedError(f"OpenVINO cannot load the program: {error}") from error
        return self._compiled[key]

    def facts(self) -> Mapping[str, Any]:
        """`precision` is what the compiled layers really run in, not what was asked for."""
        compiled = next(iter(self._compiled.values()), None) or self.compiled(static=True)
        layers = layer_precisions(compiled)
        return {
            "runtime": "openvino",
            "version": self._library.__version__,
            "precision": _really_used(layers),
            "asked": self._precision,
            "hint": str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string()),
            "layers": layers,
            "features": features(),
            "kernels": kernels(compiled),
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


#: What the plugin calls the layers that carry the arithmetic.
_HEAVY = (
    "Convolution",
    "FullyConnected",
    "MatMul",
    "Deconvolution",
    "GroupConvolution",
    "RNNSeq",
    "RNNCell",
)


def layer_precisions(compiled: Any) -> dict[str, int]:
    """How many convolutions, matrix products and recurrent layers of a compiled program run in each
    precision."""
    counts: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        facts = node.get_rt_info()
        if facts["layerType"].astype(str) in _HEAVY:
            counts[_NAMES.get(kind := facts["runtimePrecision"].astype(str), kind)] += 1
    return dict(counts)


def kernels(compiled: Any) -> dict[str, int]:
    """What computes the same layers, by the plugin's names."""
    kinds = (node.get_rt_info() for node in compiled.get_runtime_model().get_ops())
    heavy = (facts for facts in kinds if facts["layerType"].astype(str) in _HEAVY)
    return dict(Counter(facts["primitiveType"].astype(str) for facts in heavy))


_NAMES = {"f32": "f32", "bf16": "bf16", "f16": "f16", "i8": "int8", "u8": "int8"}


def _really_used(layers: Mapping[str, int]) -> str:
    """INT8 where any layer is, else the commonest."""
    if "int8" in layers:
        return "int8"
    return max(layers, key=lambda name: layers[name]) if layers else "f32"


def _one(shape: Any, rest: tuple[int, ...] | None) -> Any:
    """The same shape with batch 1, and with its other axes as in `rest` where that is given."""
    shape = shape.__class__(shape)
    shape[0] = 1
    for axis, size in enumerate(rest or (), 1):
        shape[axis] = size
    return shape
