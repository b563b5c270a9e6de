"""Check an ONNX program before a runtime opens it, whoever wrote it.

A bundle's hashes say that a file is unchanged, not that its author was honest. A program is input
to a large C++ parser, so its structure is checked first:

- it uses no external data (which could be read from any path);
- every stored tensor holds as many values as its shape claims;
- operators are from ONNX's own domain (others may open files, as com.microsoft's EPContext does),
  are not loops, and do not create arrays larger than any image or text needs;
- it defines no functions, which could redefine any operator. The exporter inlines its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from skipstone.core.errors import DamagedError, Refusal

#: Values in one array.
MAX_VALUES = 1 << 31
#: Values in one array of a program for one sample, by ONNX's own inference of shapes.
MAX_ARRAY_VALUES = 1 << 28
#: Sides of dynamic axes for that inference: one sample of a usual size.
_BATCH, _SIDE = 1, 512
#: Bytes of the largest tensor that may be a shape.
_SHAPE_BYTES = 4096
_FORBIDDEN = re.compile(
    r"If|Loop|Scan|Einsum|MaxUnpool|Bernoulli|Multinomial|CenterCropPad|Random.*|.*Window|"
    r".*Sequence.*|Optional.*|String.*|MelWeightMatrix"
)
#: Operators that create an array of the size given by an input, and the index of that input.
_SIZED = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "Resize": 3, "OneHot": 1}
#: Operators some of whose inputs are lengths, and the indices of those inputs.
_LONG = {"Range": slice(1, None), "Pad": slice(1, 2)}
_DOMAINS = frozenset({"", "ai.onnx"})


def check_onnx(program: bytes) -> None:
    """Check an ONNX program without running it.

    Raises:
        DamagedError: it cannot be read, or contradicts itself.
        Refusal: it stores tensors in other files, or uses operators that skipstone does not run.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(program)
    except Exception as error:  # protobuf's DecodeError has no typed stub
        raise DamagedError(f"the ONNX program cannot be read: {error}") from None
    if model.functions:
        first = model.functions[0]
        raise Refusal(
            "the ONNX program defines a function, "
            f"{first.domain[:60]}.{first.name[:60]}, which skipstone does not run."
        )
    constants: dict[str, Any] = {}
    nodes = []
    for message in _messages(model):
        kind = message.DESCRIPTOR.name
        if kind == "TensorProto":
            _check_tensor(message)
            constants[message.name] = message
        elif kind == "NodeProto":
            _check_operator(message)
            nodes.append(message)
    for node in nodes:
        if node.op_type == "Constant" and node.output:
            (value,) = node.attribute
            if value.name != "value" or not value.HasField("t"):
                raise Refusal(
                    f"the ONNX program's constant {node.output[0]!r} is not a tensor, but "
                    f"{value.name!r}, which skipstone does not run."
                )
            constants[node.output[0]] = value.t
    for node in nodes:
        _check_size(node, constants)
    _check_shapes(model)


def _check_shapes(model: Any) -> None:
    """DamagedError for an array of too many values. Changes the model: shapes need no weights."""
    import onnx

    for value in model.graph.input:
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if not size.dim_value:
                size.dim_value = _SIDE if axis else _BATCH
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) > _SHAPE_BYTES:
            tensor.ClearField("raw_data")
    del model.graph.value_info[:]
    try:
        known = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:  # its own errors share no base class
        raise DamagedError(f"the ONNX program has no sound shapes: {error}") from None
    for value in (*known.value_info, *known.output):
        if math.prod(size.dim_value or 1 for size in value.type.tensor_type.shape.dim) > (
            MAX_ARRAY_VALUES
        ):
            raise DamagedError(
                f"the ONNX program makes an array, {value.name[:80]!r}, of more than "
                f"{MAX_ARRAY_VALUES:,} values."
            )


def _messages(message: Any) -> Iterator[Any]:
    """The message and all nested ones (protobuf limits the depth to 100)."""
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in value if field.is_repeated else (value,):
                yield from _messages(inner)


def _check_tensor(tensor: Any) -> None:
    import onnx

    if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise Refusal(
            f"the ONNX program stores tensor {tensor.name!r} in another file, which skipstone "
            "does not open.",
            hint="Export it again as one file: skipstone export MODEL --to onnx",
        )
    claimed = math.prod(tensor.dims)
    kind = onnx.TensorProto.DataType
    if any(size < 0 for size in tensor.dims) or tensor.data_type not in kind.values():
        raise DamagedError(f"the ONNX program's tensor {tensor.name!r} has no shape or type.")
    if tensor.data_type == kind.Value("STRING"):
        stored, needed = len(tensor.string_data), claimed
    elif tensor.raw_data:
        stored, needed = len(tensor.raw_data), math.ceil(claimed * _bits(tensor.data_type) / 8)
    else:
        lists = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
        stored, needed = max(len(getattr(tensor, name)) for name in lists), claimed
        if kind.Name(tensor.data_type).startswith("COMPLEX"):
            needed *= 2
        elif _bits(tensor.data_type) < 8:
            needed = math.ceil(claimed * _bits(tensor.data_type) / 8)
    if stored != needed:
        raise DamagedError(
            f"the ONNX program's tensor {tensor.name!r} has the shape {tuple(tensor.dims)}, but "
            f"holds {stored:,} values or bytes, not {needed:,}."
        )


def _bits(data_type: int) -> int:
    """Bits per value of a TensorProto.DataType."""
    import onnx

    name = onnx.TensorProto.DataType.Name(data_type)
    if name.endswith("4") and ("INT4" in name or name.startswith("FLOAT4")):
        return 4
    if name.endswith("INT2"):
        return 2
    if name.startswith("FLOAT8"):
        return 8
    if name == "UNDEFINED":
        raise DamagedError("the ONNX program has a tensor without a type.")
    return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize) * 8


def _check_operator(node: Any) -> None:
    if _FORBIDDEN.fullmatch(node.op_type) or node.domain not in _DOMAINS:
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise Refusal(f"the ONNX program uses the operator {name!r}, which skipstone does not run.")


def _check_size(node: Any, constants: dict[str, Any]) -> None:
    """Refuse an operator whose constant inputs ask for an array of more than LARGEST values."""
    import onnx

    size_inputs: list[str] = []
    if node.op_type in _SIZED and len(node.input) > _SIZED[node.op_type]:
        size_inputs = [node.input[_SIZED[node.op_type]]]
    elif node.op_type in _LONG:
        size_inputs = list(node.input[_LONG[node.op_type]])
    for name in size_inputs:
        if name not in constants or constants[name].data_type == onnx.TensorProto.STRING:
            continue
        values = [abs(float(v)) for v in onnx.numpy_helper.to_array(constants[name]).ravel()[:64]]
        amount = max(values, default=0.0)
        if node.op_type in _SIZED:
            amount = math.prod(max(value, 1.0) for value in values)
        if not amount <= MAX_VALUES:
            raise DamagedError(
                f"the ONNX program's {node.op_type} {node.name!r} creates an array of more than "
                f"{MAX_VALUES:,} values."
            )
    for attribute in node.attribute:
        if attribute.name == "shape" and math.prod(map(abs, attribute.ints)) > MAX_VALUES:
            raise DamagedError(f"the ONNX program's {node.op_type} {node.name!r} is too large.")
