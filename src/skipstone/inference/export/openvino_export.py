"""Export to OpenVINO: a float32 program, and bfloat16 as a mode of the same files."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skipstone.bundle.files import read_bundle_json, read_file
from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import resolve_bundle
from skipstone.core import events
from skipstone.core.disk import scratch_folder
from skipstone.core.errors import Refusal
from skipstone.core.registry import HEADS
from skipstone.inference.backends.libraries import import_openvino
from skipstone.inference.backends.onnx_check import check_onnx
from skipstone.inference.backends.openvino_backend import OpenVinoRuntime
from skipstone.inference.export.onnx_export import ONNX_FILE as ONNX_MODEL
from skipstone.inference.export.onnx_export import export_onnx
from skipstone.inference.programs import Program, add_program
from skipstone.inference.restore import restore_input

#: Layer types that end the stem, as the IR names them.
_FIRST = ("Convolution", "GroupConvolution")
_SHAPES = ("ShapeOf", "Constant", "Parameter")
#: Types of layers with weights; a Gather has some if it reads a constant table.
_WEIGHTED = {
    *("MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData"),
    *("GroupConvolutionBackpropData", "RNNSequence", "LSTMSequence", "GRUSequence"),
}


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


def list_tail_names(model: Any) -> list[str]:
    """Names of the operations of an openvino.Model that compute coordinates: those that follow its
    last layers with weights, and those between such a layer and the regions of a ROIAlign."""
    nodes = model.get_ordered_ops()
    kinds = {node.get_friendly_name(): str(node.get_type_name()) for node in nodes}
    sources = {
        node.get_friendly_name(): [
            value.get_source_output().get_node().get_friendly_name() for value in node.inputs()
        ]
        for node in nodes
    }
    return _tail(kinds, sources)


def mark_stem_precise(xml: bytes) -> bytes:
    """The same IR with every layer up to the first convolutions marked as precise: the plugin
    computes it in float32 under any precision hint (OpenVINO's own DisableFP16Compression). For
    inputs whose values need more than bfloat16's 8 bits.

    Raises:
        Refusal: no convolution follows the inputs.
    """
    return _mark_layers(xml, lambda kinds, following, sources: _stem(kinds, following))


def mark_tail_precise(xml: bytes) -> bytes:
    """The same IR with the layers of `list_tail_names` marked as precise: for coordinates of boxes,
    which need more than bfloat16's 8 bits."""
    return _mark_layers(xml, lambda kinds, following, sources: _tail(kinds, sources))


def _mark_layers(xml: bytes, choose: Callable[..., list[str]]) -> bytes:
    root = ET.fromstring(xml)
    layers = {layer.attrib["id"]: layer for layer in root.iter("layer")}
    following: dict[str, list[str]] = defaultdict(list)
    sources: dict[str, list[str]] = defaultdict(list)
    for edge in sorted(root.iter("edge"), key=lambda edge: int(edge.attrib["to-port"])):
        following[edge.attrib["from-layer"]].append(edge.attrib["to-layer"])
        sources[edge.attrib["to-layer"]].append(edge.attrib["from-layer"])
    kinds = {id: layer.attrib["type"] for id, layer in layers.items()}
    for id in choose(kinds, following, sources):
        _mark(layers[id])
    text: str = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0"?>{text}'.encode()


def _tail(kinds: Mapping[str, str], sources: Mapping[str, Sequence[str]]) -> list[str]:
    def collect_sources(names: Iterable[str], end: frozenset[str] = frozenset()) -> frozenset[str]:
        """The operations and all that they read, back to those in `end`, which are left out."""
        pending, found = list(names), set(end)
        while pending:
            if (name := pending.pop()) not in found:
                found.add(name)
                pending += sources.get(name, ())
        return frozenset(found) - end

    def has_weights(name: str) -> bool:
        if kinds[name] == "Gather":
            table = collect_sources(sources[name][:1])
            return not any(kinds[source] == "Parameter" for source in table)
        return kinds[name] in _WEIGHTED

    weighted = frozenset(name for name in kinds if has_weights(name))
    before = collect_sources(weighted)
    regions = [
        source for name, kind in kinds.items() if kind == "ROIAlign" for source in sources[name][1:]
    ]
    coordinates = collect_sources(regions, weighted)
    skipped = (*_SHAPES, "Result")
    return [
        name
        for name, kind in kinds.items()
        if kind not in skipped and (name not in before or name in coordinates)
    ]


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


OPENVINO_FILES = {"model": "exports/openvino/model.xml", "weights": "exports/openvino/model.bin"}


def export_openvino(path: Path | str) -> Path:
    """Add the programs "openvino-f32" and "openvino-bf16" to a bundle; returns the .xml.

    Converted from the ONNX program, which is exported first if it is missing. Both modes use the
    same two files; their weights stay float32. If bfloat16 is too coarse for the network, that
    mode is left out with a warning.

    Raises:
        Refusal: the float32 program's outputs differ from the network's.
    """
    folder = resolve_bundle(path)
    if ONNX_MODEL not in read_bundle_json(folder)["files"]:
        export_onnx(folder)
    xml, weights = serialize_ir(load_onnx_as_openvino(folder))
    bundle = Bundle.load(folder)
    if restore_input(bundle).feature_spec().requires_float32:
        xml = mark_stem_precise(xml)
    if any(HEADS[network.head.name].decodes_boxes for network in bundle.arch.networks):
        xml = mark_tail_precise(xml)
    content = {"model": xml, "weights": weights}
    exact = OpenVinoRuntime(xml, weights, precision="f32")
    add_program(folder, Program("openvino-f32", "openvino", "f32", OPENVINO_FILES), content, exact)
    coarse = OpenVinoRuntime(xml, weights, precision="bf16")
    try:
        add_program(
            folder, Program("openvino-bf16", "openvino", "bf16", OPENVINO_FILES), {}, coarse
        )
    except Refusal as refusal:
        events.emit_warning(f"No bfloat16 program: {refusal.message}")
    return folder / OPENVINO_FILES["model"]


def load_onnx_as_openvino(folder: Path) -> Any:
    """The bundle's ONNX program as an openvino.Model, for conversion and quantization."""
    data = read_file(folder, ONNX_MODEL)
    check_onnx(data)
    return import_openvino().Core().read_model(data, b"")


def convert_onnx_to_ir(program: bytes) -> tuple[bytes, bytes]:
    """An ONNX program as the contents of the IR's two files."""
    return serialize_ir(import_openvino().Core().read_model(program, b""))


def serialize_ir(model: Any) -> tuple[bytes, bytes]:
    """An openvino.Model as the contents of its .xml and .bin, without converting weights."""
    library = import_openvino()
    with scratch_folder() as temporary:
        xml = Path(temporary, "model.xml")
        library.save_model(model, xml, compress_to_fp16=False)
        return xml.read_bytes(), xml.with_suffix(".bin").read_bytes()
