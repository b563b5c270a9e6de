"""Export to OpenVINO: a float32 program, and bfloat16 as a mode of the same files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from skipstone.bundle.files import read_bundle_json, read_file
from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import resolve_bundle
from skipstone.core import events
from skipstone.core.errors import Refusal
from skipstone.inference.backends.libraries import import_openvino
from skipstone.inference.backends.onnx_check import check_onnx
from skipstone.inference.backends.openvino_backend import OpenVinoRuntime
from skipstone.inference.backends.openvino_stem import mark_stem_precise
from skipstone.inference.export.onnx_export import ONNX_FILE as ONNX_MODEL
from skipstone.inference.export.onnx_export import export_onnx
from skipstone.inference.programs import Program, add_program
from skipstone.inference.restore import restore_input

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
    if restore_input(Bundle.load(folder)).feature_spec().requires_float32:
        xml = mark_stem_precise(xml)
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
    with tempfile.TemporaryDirectory() as temporary:
        xml = Path(temporary, "model.xml")
        library.save_model(model, xml, compress_to_fp16=False)
        return xml.read_bytes(), xml.with_suffix(".bin").read_bytes()
