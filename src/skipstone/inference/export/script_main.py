"""The last part of the stand-alone script; `standalone` puts decoding and predicting before it.

Needs numpy and onnxruntime or openvino, and two functions from the parts before it:

- `decode(bytes, spec)` returns an array (or several, by name), alone or in a pair with the geometry
  of the source ({"size", "to_source"});
- `answer(outputs, schema, options, post, geometries)` returns one dict per sample; a value of type
  bytes is the content of a file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Decode = Callable[[bytes, Any], Any]
Answer = Callable[..., list[dict[str, Any]]]


Run = Callable[[dict[str, Any]], dict[str, Any]]


def open_onnx(model: Path) -> tuple[Run, list[str], dict[str, Any]]:
    """(function from arrays to outputs, names of the inputs, stored settings)."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it would upload what it runs
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    outputs = [item.name for item in session.get_outputs()]

    def run(arrays: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(outputs, session.run(outputs, arrays), strict=True))

    return (
        run,
        [item.name for item in session.get_inputs()],
        session.get_modelmeta().custom_metadata_map,
    )


def open_openvino(model: Path) -> tuple[Run, list[str], dict[str, Any]]:
    """The same for OpenVINO's files, whose settings are in model.json."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it would report usage
    import openvino

    stored = json.loads(model.with_name("model.json").read_text(encoding="utf-8"))
    core = openvino.Core()
    program = core.read_model(model)
    outputs = [port.get_any_name() for port in program.outputs]
    shapes = {port: port.partial_shape for port in program.inputs}
    for shape in shapes.values():
        shape[0] = 1  # a fixed batch is faster
    program.reshape(shapes)
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": stored["precision"]}
    compiled = core.compile_model(program, "CPU", hints)

    def run(arrays: dict[str, Any]) -> dict[str, Any]:
        results = compiled(arrays)
        return {name: results[port] for name, port in zip(outputs, compiled.outputs, strict=True)}

    return run, [port.get_any_name() for port in program.inputs], stored


def predict_paths(
    paths: list[Path], model: Path, decode: Decode, answer: Answer, out: Path | None = None
) -> list[dict[str, Any]]:
    """One row per file: the prediction or an "error". Predicted files (masks) go to `out`."""
    run, inputs, stored = (open_onnx if model.suffix == ".onnx" else open_openvino)(model)
    facts = {name: json.loads(stored[f"skipstone.{name}"]) for name in ("task", "post", "spec")}
    rows: list[dict[str, Any]] = []
    taken: set[str] = set()
    for path in paths:
        try:
            decoded = decode(path.read_bytes(), facts["spec"])
        except (OSError, ValueError) as error:
            rows.append({"path": str(path), "error": str(error)})
            continue
        value, geometry = decoded if isinstance(decoded, tuple) else (decoded, {})
        arrays = value if isinstance(value, dict) else {inputs[0]: value}
        feed = {name: np.ascontiguousarray(array)[None] for name, array in arrays.items()}
        task = facts["task"]
        fields = answer(run(feed), task["schema"], task["options"], facts["post"], [geometry])[0]
        try:
            rows.append({"path": str(path), **_with_files(fields, path, out, taken)})
        except OSError as error:
            rows.append({"path": str(path), "error": str(error)})
    return rows


def _with_files(
    fields: dict[str, Any], path: Path, out: Path | None, taken: set[str]
) -> dict[str, Any]:
    """The prediction with its images written to `out`, each path in place of the bytes; without
    `out` the images are dropped. A name `taken` by another file of this call gets a number.
    Existing files are not overwritten."""
    files = {name: value for name, value in fields.items() if isinstance(value, bytes)}
    row = {name: value for name, value in fields.items() if name not in files}
    if out is not None:
        for name, data in files.items():
            stem, number = path.stem, 1
            while stem in taken:  # a.jpg and a.png, or the same name in two folders
                number += 1
                stem = f"{path.stem}-{number}"
            taken.add(stem)
            out.mkdir(parents=True, exist_ok=True)
            target = out / f"{stem}.png"
            with target.open("xb") as file:
                file.write(data)
            row[name] = str(target)
    return row


def _text(value: Any) -> str:
    """A label or a probability, or several of them."""
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def main(decode: Decode, answer: Answer) -> int:
    parser = argparse.ArgumentParser(description="Predict with the model next to this script.")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="folder for predicted masks")
    arguments = parser.parse_args()
    names = ("model.onnx", "model-int8.xml", "model.xml")
    folder = Path(__file__).parent
    model = next((folder / name for name in names if (folder / name).is_file()), folder / names[0])
    rows = predict_paths(arguments.files, model, decode, answer, arguments.out)
    if arguments.json:
        print(json.dumps({"predictions": rows}))
    else:
        for row in rows:
            label = row.get("error") or _text(row["label"])
            line = f"{row['path']}: {label} {_text(row.get('share', row.get('probability', '')))}"
            print("".join(char if char.isprintable() else ascii(char)[1:-1] for char in line))
    return 1 if any("error" in row for row in rows) else 0
