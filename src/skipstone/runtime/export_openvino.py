"""Export to OpenVINO: a float32 program, and bfloat16 as a mode of the same files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from skipstone import events
from skipstone.bundle.files import read_file, read_record
from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import bundle_of
from skipstone.errors import Refusal
from skipstone.runtime.export_onnx import MODEL as ONNX_MODEL
from skipstone.runtime.export_onnx import export_onnx
from skipstone.runtime.libraries import import_openvino
from skipstone.runtime.onnx_check import check_onnx
from skipstone.runtime.openvino_runtime import OpenVinoRuntime
from skipstone.runtime.openvino_stem import keep_stem_exact
from skipstone.runtime.parts import input_of
from skipstone.runtime.programs import Program, add_program

FILES = {"model": "exports/openvino/model.xml", "weights": "exports/openvino/model.bin"}


def export_openvino(path: Path | str) -> Path:
    """Add the programs "openvino-f32" and "openvino-bf16" to a bundle; returns the .xml.

    Converted from the ONNX program, which is exported first if it is missing. Both modes use the
    same two files; their weights stay float32. If bfloat16 is too coarse for the network, that
    mode is left out with a warning.

    Raises:
        Refusal: the float32 program's outputs differ from the network's.
    """
    folder = bundle_of(path)
    if ONNX_MODEL not in read_record(folder)["files"]:
        export_onnx(folder)
    xml, weights = ir_bytes(read_onnx(folder))
    if input_of(Bundle.load(folder)).emits().exact:
        xml = keep_stem_exact(xml)
    content = {"model": xml, "weights": weights}
    exact = OpenVinoRuntime(xml, weights, precision="f32")
    add_program(folder, Program("openvino-f32", "openvino", "f32", FILES), content, exact)
    coarse = OpenVinoRuntime(xml, weights, precision="bf16")
    try:
        add_program(folder, Program("openvino-bf16", "openvino", "bf16", FILES), {}, coarse)
    except Refusal as refusal:
        events.warn(f"No bfloat16 program: {refusal.message}")
    return folder / FILES["model"]


def read_onnx(folder: Path) -> Any:
    """The bundle's ONNX program as an openvino.Model, for conversion and quantization."""
    data = read_file(folder, ONNX_MODEL)
    check_onnx(data)
    return import_openvino().Core().read_model(data, b"")


def ir_of_onnx(program: bytes) -> tuple[bytes, bytes]:
    """An ONNX program as the contents of the IR's two files."""
    return ir_bytes(import_openvino().Core().read_model(program, b""))


def ir_bytes(model: Any) -> tuple[bytes, bytes]:
    """An openvino.Model as the contents of its .xml and .bin, without converting weights."""
    library = import_openvino()
    with tempfile.TemporaryDirectory() as temporary:
        xml = Path(temporary, "model.xml")
        library.save_model(model, xml, compress_to_fp16=False)
        return xml.read_bytes(), xml.with_suffix(".bin").read_bytes()
