"""Check an OpenVINO program (IR: an .xml and a .bin) before OpenVINO opens it.

See `onnx_check` for the reasons. expat reads the XML as a stream. A document type declaration is
refused, for it is what allows entity expansion attacks and external files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from xml.parsers import expat

from skipstone.core.errors import DamagedError, Refusal

#: Values in one array; depth of nested elements.
MAX_VALUES, MAX_DEPTH = 1 << 31, 64
_OPSET = re.compile(r"opset\d{1,2}")
#: Values in one array of a program for one sample.
MAX_ARRAY_VALUES = 1 << 28
#: No exported network has them: subgraphs, random numbers, state, and sizes of sizes.
_FORBIDDEN = frozenset(
    {
        "If",
        "Loop",
        "TensorIterator",
        "Einsum",
        "RandomUniform",
        "Multinomial",
        "ReadValue",
        "Assign",
    }
)
_BITS = re.compile(r"[a-z]+(\d+)")


def check_ir(xml: bytes, weights: bytes) -> None:
    """Check an OpenVINO program without running it.

    Raises:
        DamagedError: not an IR, or it contradicts itself or its weights.
        Refusal: it uses operators that skipstone does not run.
    """
    reader = _Reader(len(weights))
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = reader.on_doctype
    parser.StartElementHandler = reader.on_start
    parser.EndElementHandler = reader.on_end
    try:
        parser.Parse(xml, True)
    except (expat.ExpatError, ValueError) as error:
        raise DamagedError(f"the OpenVINO program cannot be read: {error}.") from None


def check_array_sizes(model: Any) -> None:
    """DamagedError for an array of too many values, by OpenVINO's own inference of shapes."""
    for layer in model.get_ops():
        for port in layer.outputs():
            sizes = (
                [axis.get_length() for axis in port.partial_shape if axis.is_static]
                if (port.partial_shape.rank.is_static)
                else []
            )
            if math.prod(sizes) > MAX_ARRAY_VALUES:
                raise DamagedError(
                    f"the OpenVINO program's {layer.get_friendly_name()[:80]!r} makes an array of "
                    f"more than {MAX_ARRAY_VALUES:,} values."
                )


class _Reader:
    """The parser's callbacks; see `check_ir`."""

    def __init__(self, weights: int) -> None:
        self._weights = weights
        self._path: list[str] = []
        self._layers: list[Mapping[str, str]] = []  # the open ones, the innermost last

    def on_doctype(self, *_: Any) -> None:
        raise DamagedError("the OpenVINO program declares a document type, which is not allowed.")

    def on_start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._path and tag != "net":
            raise DamagedError(
                f"the OpenVINO program is not a network: its root element is {tag[:40]!r}."
            )
        self._path.append(tag)
        if len(self._path) > MAX_DEPTH:
            raise DamagedError(f"the OpenVINO program is nested deeper than {MAX_DEPTH}.")
        if tag == "layer":
            self._begin_layer(attributes)
        elif tag == "data" and self._path[-2] == "layer":
            self._check_data(attributes)

    def on_end(self, tag: str) -> None:
        self._path.pop()
        if tag == "layer":
            self._layers.pop()

    def _begin_layer(self, attributes: dict[str, str]) -> None:
        self._layers.append(attributes)
        kind, version = attributes.get("type", ""), attributes.get("version", "")
        if kind in _FORBIDDEN or not _OPSET.fullmatch(version):
            raise Refusal(
                f"the OpenVINO program uses the operator {kind[:60]!r} of {version[:60]!r}, which "
                "skipstone does not run."
            )

    def _check_data(self, data: dict[str, str]) -> None:
        layer = self._layers[-1]
        name = layer.get("name", "?")[:80]
        if "shape" in data:
            shape = [part.strip() for part in data["shape"].split(",") if part.strip()]
            numbers = [_number(part.rpartition("..")[2]) for part in shape if part != "?"]
            if math.prod(max(number, 1) for number in numbers) > MAX_VALUES:
                raise DamagedError(f"the OpenVINO program's {name!r} claims too large a shape.")
        if layer.get("type") != "Const":
            return
        if "size" not in data or "value" in data:
            raise DamagedError(f"the OpenVINO program's {name!r} does not lie in its weights.")
        size, start = _number(data["size"]), _number(data.get("offset", ""))
        bits = _BITS.fullmatch(data.get("element_type", ""))
        if start < 0 or size < 0 or start + size > self._weights:
            raise DamagedError(
                f"the OpenVINO program's {name!r} lies at bytes {start:,} to {start + size:,}, but "
                f"the weights have {self._weights:,} bytes."
            )
        if bits and "shape" in data and "string" not in data["element_type"]:
            needed = math.ceil(math.prod(numbers) * int(bits[1]) / 8)
            if needed != size:
                raise DamagedError(
                    f"the OpenVINO program's {name!r} has the shape {data['shape'][:80]}, which "
                    f"needs {needed:,} bytes, but holds {size:,}."
                )


def _number(text: str) -> int:
    if not re.fullmatch(r"-?\d{1,18}", text):
        raise ValueError(f"{text[:40]!r} is not an integer")
    return int(text)
