"""Keep the first layer of an OpenVINO program in float32, whatever precision the others run in.

For inputs whose values need more than bfloat16's 8 bits. The plugin computes a layer in float32
under any precision hint if the IR marks it as `precise` (OpenVINO's own DisableFP16Compression).
The marks are in the .xml, so they hold for everyone who loads it.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from skipstone.core.errors import Refusal

#: Layer types that end the stem, as the IR names them.
_FIRST = ("Convolution", "GroupConvolution")
_SHAPES = ("ShapeOf", "Constant", "Parameter")


def list_stem_names(model: Any) -> list[str]:
    """Names of the operations from the inputs of an openvino.Model to its first convolutions."""
    nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
    following = {
        name: [
            target.get_node().get_friendly_name()
            for output in node.outputs()
            for target in output.get_target_inputs()
        ]
        for name, node in nodes.items()
    }
    kinds = {name: str(node.get_type_name()) for name, node in nodes.items()}
    return _stem(kinds, following)


def mark_stem_precise(xml: bytes) -> bytes:
    """The same IR with every layer up to the first convolutions marked as precise.

    Raises:
        Refusal: no convolution follows the inputs.
    """
    root = ET.fromstring(xml)
    layers = {layer.attrib["id"]: layer for layer in root.iter("layer")}
    following: dict[str, list[str]] = defaultdict(list)
    for edge in root.iter("edge"):
        following[edge.attrib["from-layer"]].append(edge.attrib["to-layer"])
    kinds = {id: layer.attrib["type"] for id, layer in layers.items()}
    for id in _stem(kinds, following):
        _mark(layers[id])
    text: str = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0"?>{text}'.encode()


def _stem(kinds: Mapping[str, str], following: Mapping[str, Sequence[str]]) -> list[str]:
    pending = [name for name, kind in kinds.items() if kind == "Parameter"]
    visited: set[str] = set()
    while pending:
        name = pending.pop()
        if name in visited or kinds[name] in ("ShapeOf", "Result"):
            continue
        visited.add(name)
        if kinds[name] not in _FIRST:
            pending += following.get(name, ())
    if not any(kinds[name] in _FIRST for name in visited):
        raise Refusal("this network does not start with a convolution: its first layer is unknown.")
    return [name for name in kinds if name in visited and kinds[name] not in _SHAPES]


def _mark(layer: ET.Element) -> None:
    facts = layer.find("rt_info")
    if facts is None:
        facts = ET.Element("rt_info")
        layer.insert(0 if layer.find("data") is None else 1, facts)
    ET.SubElement(facts, "attribute", {"name": "precise", "version": "0"})
