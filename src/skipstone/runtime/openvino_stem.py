"""The first layer of an OpenVINO program, kept in float32 whatever the rest is computed in.

For inputs whose numbers need more than bfloat16's 8 bits. The plugin computes a layer in float32
under any precision hint where its IR says `precise` (OpenVINO's own mark, DisableFP16Compression);
the marks are written into the .xml, so they hold for whoever loads it.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from skipstone.errors import Refusal

#: Where the first layer ends, as the IR calls it.
_FIRST = ("Convolution", "GroupConvolution")
_SHAPES = ("ShapeOf", "Constant", "Parameter")


def stem_names(model: Any) -> list[str]:
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


def keep_stem_exact(xml: bytes) -> bytes:
    """The same IR with everything up to its first convolutions marked to be precise.

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
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen or kinds[name] in ("ShapeOf", "Result"):
            continue
        seen.add(name)
        if kinds[name] not in _FIRST:
            pending += following.get(name, ())
    if not any(kinds[name] in _FIRST for name in seen):
        raise Refusal("this network begins with no convolution, so its first layer stays unknown.")
    return [name for name in kinds if name in seen and kinds[name] not in _SHAPES]


def _mark(layer: ET.Element) -> None:
    facts = layer.find("rt_info")
    if facts is None:
        facts = ET.Element("rt_info")
        layer.insert(0 if layer.find("data") is None else 1, facts)
    ET.SubElement(facts, "attribute", {"name": "precise", "version": "0"})
