"""Programs of a few hundred bytes that ask for gigabytes: refused before they run, or by the limit
of one answer where only the run shows it."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from skipstone.core.errors import SkipstoneError
from skipstone.inference.backends.libraries import import_openvino
from skipstone.inference.backends.onnx_backend import OnnxRuntime
from skipstone.inference.backends.openvino_backend import OpenVinoRuntime
from tests.image.bombs import measure

Nodes = list[Any]
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
X = {"x": np.ones((1, 1, 4, 4), np.float32)}


def _node(kind: str, inputs: str, outputs: str, **more: Any) -> Any:
    return helper.make_node(kind, inputs.split(), outputs.split(), **more)


def _numbers(name: str, kind: int, *values: float) -> Any:
    return helper.make_tensor(name, kind, [len(values)], values)


def _doubled(count: int) -> Nodes:
    doubled = [_node("Concat", f"d{n} d{n}", f"d{n + 1}", axis=3) for n in range(count)]
    return [_node("Identity", "x", "d0"), *doubled, _node("ReduceMax", f"d{count}", "y")]


def _nested(depth: int) -> Any:
    """A node If with others inside."""
    inner: Nodes = [_node("Identity", "x", f"i{depth}")]
    for level in range(depth, 0, -1):
        out = helper.make_tensor_value_info(f"i{level}", FLOAT, None)
        branch = helper.make_graph(inner, f"g{level}", [], [out])
        inner = [_node("If", "yes", f"i{level - 1}", then_branch=branch, else_branch=branch)]
    return inner[0]


SQUARED = [_node("Mul", "many many", "square")]
PROGRAMS: dict[str, Nodes] = {
    "a shape computed from constants": [
        *SQUARED,
        _node("ConstantOfShape", "square", "large"),
        _node("ReduceMax", "large", "y"),
    ],
    "a list as a constant": [
        _node("Constant", "", "list", value_ints=[1 << 20, 1 << 20]),
        _node("ConstantOfShape", "list", "large"),
        _node("ReduceMax", "large", "y"),
    ],
    "Concat of itself": _doubled(34),
    "Resize": [_node("Resize", "x none scales", "large"), _node("ReduceMax", "large", "y")],
    "pads of a convolution": [
        _node("Conv", "x kernel", "large", pads=[60_000] * 4),
        _node("ReduceMax", "large", "y"),
    ],
    "Pad": [_node("Pad", "x pads", "large"), _node("ReduceMax", "large", "y")],
    "an outer product": [
        _node("Reshape", "x flat", "row"),
        _node("Expand", "row wide", "wider"),
        _node("Transpose", "wider", "column"),
        _node("Mul", "wider column", "large"),
        _node("ReduceMax", "large", "y"),
    ],
    "Einsum": [_node("Einsum", "x x", "large", equation="abcd,efgh->abcdefgh")],
    "HannWindow": [_node("HannWindow", "length", "large"), _node("ReduceMax", "large", "y")],
    "MaxUnpool": [
        _node("MaxPool", "x", "m at", kernel_shape=[2, 2], strides=[2, 2]),
        _node("MaxUnpool", "m at sizes", "y", kernel_shape=[2, 2]),
    ],
    "nested Ifs": [_nested(8), _node("Identity", "i0", "y")],
    "a size that an answer has": [
        _node("ReduceMax", "x", "m", keepdims=0),
        _node("Mul", "m far", "far1"),
        _node("Cast", "far1", "size", to=INT64),
        _node("ConstantOfShape", "size", "large"),
        _node("ReduceMax", "large", "y"),
    ],
}


def _program(nodes: Nodes, output: Any = None) -> bytes:
    graph = helper.make_graph(
        nodes,
        "bomb",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 1, 4, 4])],
        [output or helper.make_tensor_value_info("y", FLOAT, None)],
        [
            _numbers("many", INT64, 1 << 18, 1 << 9),
            _numbers("far", FLOAT, 4e9),
            _numbers("scales", FLOAT, 1, 1, 50_000, 50_000),
            _numbers("pads", INT64, *[0] * 6, 60_000, 60_000),
            _numbers("flat", INT64, 1, -1),
            _numbers("wide", INT64, 1 << 20, 16),
            _numbers("sizes", INT64, 1, 1, 60_000, 60_000),
            helper.make_tensor("length", INT64, [], [1 << 33]),
            helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
            helper.make_tensor("kernel", FLOAT, [1, 1, 1, 1], [1.0]),
        ],
    )
    opsets = [helper.make_opsetid("", 18)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_onnx_program_does_not_go_off(name: str) -> None:
    program = _program(PROGRAMS[name])

    def run() -> None:
        with pytest.raises(SkipstoneError):
            OnnxRuntime(program, threads=1).run(X)

    seconds, grown = measure(run)
    assert grown < 400_000_000
    assert seconds < 10


#: What OpenVINO's own reader of ONNX refuses.
_NOT_READ = ("Resize", "an outer product", "Einsum", "HannWindow", "MaxUnpool")


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in _NOT_READ])
def test_an_openvino_program_does_not_go_off(name: str, tmp_path: Path) -> None:
    """As OpenVINO itself writes it. It simplifies one of them, which then is harmless."""
    openvino, xml = import_openvino(), tmp_path / "model.xml"
    model = openvino.Core().read_model(_program(PROGRAMS[name]))
    openvino.serialize(model, xml, xml.with_suffix(".bin"))
    program = (xml.read_bytes(), xml.with_suffix(".bin").read_bytes())

    harmless = contextlib.suppress(SkipstoneError)

    def run() -> None:
        with harmless if "answer" in name else pytest.raises(SkipstoneError):
            OpenVinoRuntime(*program, threads=1).run(X)

    seconds, grown = measure(run)
    assert grown < 400_000_000
    assert seconds < 10


@pytest.mark.parametrize(
    "data",
    [
        'element_type="f32" shape="2147483648" value="0"',
        'element_type="f32" shape="16" offset="0" size="64" value="0"',
        'element_type="f32" shape="16" offset="0"',
    ],
)
def test_a_constant_lies_in_the_weights(data: str) -> None:
    xml = f'<net><layers><layer name="c" type="Const" version="opset1"><data {data}/></layer>'
    with pytest.raises(SkipstoneError, match="does not lie in its weights"):
        OpenVinoRuntime(f"{xml}</layers></net>".encode(), bytes(64)).run(X)


@pytest.mark.parametrize(
    ("node", "output"),
    [
        (
            _node("Cast", "x", "y", to=TensorProto.STRING),
            helper.make_tensor_value_info("y", TensorProto.STRING, None),
        ),
        (
            _node("SequenceConstruct", "x x", "y"),
            helper.make_tensor_sequence_value_info("y", FLOAT, None),
        ),
    ],
)
def test_outputs_that_are_no_numbers_are_one_sentence(node: Any, output: Any) -> None:
    with pytest.raises(SkipstoneError, match=r"not numbers|does not run"):
        OnnxRuntime(_program([node], output)).run(X)


def test_the_memory_limit_is_lifted_again() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    nodes = [_node("Relu", "x", "y")]
    assert OnnxRuntime(_program(nodes)).run(X)["y"].shape == (1, 1, 4, 4)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
