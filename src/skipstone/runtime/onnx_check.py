"""What an ONNX program has to be before a runtime gets it, whoever wrote it.

The hashes of a bundle say that a file is what its maker wrote, not that its maker meant well. A
program is data to a large parser in C++, so its structure is looked at first:

- nothing of it lies in another file (external data is read from any path that it names);
- every stored tensor holds as many numbers as its shape claims;
- operators are ONNX's own (others may open files: com.microsoft's EPContext names one), without
  loops, and none is asked to make an array larger than any that a picture or a text leads to;
- it brings no functions, which could give any operator's name another meaning. Those of the
  exporter are written out where they are used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from skipstone.errors import DamagedError, Refusal

#: Numbers in one array.
LARGEST = 1 << 31
_LOOPS = frozenset({"Loop", "Scan", "SequenceMap"})
#: Operators that make an array of the size that an input states, and which input that is.
_SIZED = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "Resize": 3, "OneHot": 1}
#: Those whose inputs are lengths, each by itself, and which inputs these are.
_LONG = {"Range": slice(1, None), "Pad": slice(1, 2)}
_DOMAINS = frozenset({"", "ai.onnx"})


def check_onnx(program: bytes) -> None:
    """Look at an ONNX program without running it.

    Raises:
        DamagedError: it cannot be read, or contradicts itself.
        Refusal: it keeps tensors in other files, or uses operators that skipstone does not run.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(program)
    except Exception as error:  # protobuf's DecodeError, which has no typed home
        raise DamagedError(f"the ONNX program cannot be read: {error}") from None
    if model.functions:
        first = model.functions[0]
        raise Refusal(
            "the ONNX program brings a function of its own, "
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
            for attribute in node.attribute:
                constants[node.output[0]] = attribute.t
    for node in nodes:
        _check_size(node, constants)


def _messages(message: Any) -> Iterator[Any]:
    """The message and every one inside it, at any depth (protobuf itself allows a hundred)."""
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in value if field.is_repeated else (value,):
                yield from _messages(inner)


def _check_tensor(tensor: Any) -> None:
    import onnx

    if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise Refusal(
            f"the ONNX program keeps tensor {tensor.name!r} in another file, which skipstone "
            "does not open.",
            hint="Export it again as one file: skipstone export MODEL --to onnx",
        )
    claimed = math.prod(tensor.dims)
    kind = onnx.TensorProto.DataType
    if any(size < 0 for size in tensor.dims) or tensor.data_type not in kind.values():
        raise DamagedError(f"the ONNX program's tensor {tensor.name!r} has no shape or type.")
    if tensor.data_type == kind.Value("STRING"):
        held, needed = len(tensor.string_data), claimed
    elif tensor.raw_data:
        held, needed = len(tensor.raw_data), math.ceil(claimed * _bits(tensor.data_type) / 8)
    else:
        lists = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
        held, needed = max(len(getattr(tensor, name)) for name in lists), claimed
        if kind.Name(tensor.data_type).startswith("COMPLEX"):
            needed *= 2
        elif _bits(tensor.data_type) < 8:
            needed = math.ceil(claimed * _bits(tensor.data_type) / 8)
    if held != needed:
        raise DamagedError(
            f"the ONNX program's tensor {tensor.name!r} has the shape {tuple(tensor.dims)}, and "
            f"holds {held:,} numbers or bytes, not {needed:,}."
        )


def _bits(data_type: int) -> int:
    """Of one number of a TensorProto.DataType."""
    import onnx

    name = onnx.TensorProto.DataType.Name(data_type)
    if name.endswith("4") and ("INT4" in name or name.startswith("FLOAT4")):
        return 4
    if name.endswith("INT2"):
        return 2
    if name.startswith("FLOAT8"):
        return 8
    if name == "UNDEFINED":
        raise DamagedError("the ONNX program has a tensor of no type.")
    return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize) * 8


def _check_operator(node: Any) -> None:
    if node.op_type in _LOOPS or node.domain not in _DOMAINS:
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise Refusal(f"the ONNX program uses the operator {name!r}, which skipstone does not run.")


def _check_size(node: Any, constants: dict[str, Any]) -> None:
    """Refuse an operator that is told, by a constant, to make an array beyond LARGEST."""
    import onnx

    stated: list[str] = []
    if node.op_type in _SIZED and len(node.input) > _SIZED[node.op_type]:
        stated = [node.input[_SIZED[node.op_type]]]
    elif node.op_type in _LONG:
        stated = list(node.input[_LONG[node.op_type]])
    for name in stated:
        if name not in constants or constants[name].data_type == onnx.TensorProto.STRING:
            continue
        values = [abs(float(v)) for v in onnx.numpy_helper.to_array(constants[name]).ravel()[:64]]
        amount = max(values, default=0.0)
        if node.op_type in _SIZED:
            amount = math.prod(max(value, 1.0) for value in values)
        if not amount <= LARGEST:
            raise DamagedError(
                f"the ONNX program's {node.op_type} {node.name!r} makes an array larger than "
                f"{LARGEST:,} numbers."
            )
    for attribute in node.attribute:
        if attribute.name == "shape" and math.prod(map(abs, attribute.ints)) > LARGEST:
            raise DamagedError(f"the ONNX program's {node.op_type} {node.name!r} is too large.")
