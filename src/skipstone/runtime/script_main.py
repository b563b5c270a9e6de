"""The last part of the stand-alone script; `standalone` puts decoding and answers before it.

Needs numpy and onnxruntime, and two functions from the parts before it: `decode(bytes, spec)`
gives an array (or several, by name), `answer(outputs, schema, options, post)` a dict a sample.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Decode = Callable[[bytes, Any], Any]
Answer = Callable[..., list[dict[str, Any]]]


def predict_files(
    paths: list[Path], model: Path, decode: Decode, answer: Answer
) -> list[dict[str, Any]]:
    """One row a file: what the model answers, or an "error"."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it would upload what it runs
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    stored = session.get_modelmeta().custom_metadata_map
    facts = {name: json.loads(stored[f"skipstone.{name}"]) for name in ("task", "post", "spec")}
    inputs = [item.name for item in session.get_inputs()]
    outputs = [item.name for item in session.get_outputs()]
    rows: list[dict[str, Any]] = []
    for path in paths:
        try:
            value = decode(path.read_bytes(), facts["spec"])
        except (OSError, ValueError) as error:
            rows.append({"path": str(path), "error": str(error)})
            continue
        arrays = value if isinstance(value, dict) else {inputs[0]: value}
        feed = {name: np.ascontiguousarray(array)[None] for name, array in arrays.items()}
        found = dict(zip(outputs, session.run(outputs, feed), strict=True))
        task = facts["task"]
        fields = answer(found, task["schema"], task["options"], facts["post"])[0]
        rows.append({"path": str(path), **fields})
    return rows


def main(decode: Decode, answer: Answer) -> int:
    parser = argparse.ArgumentParser(description="Answers for files, by the model.onnx beside me.")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    rows = predict_files(arguments.files, Path(__file__).with_name("model.onnx"), decode, answer)
    if arguments.json:
        print(json.dumps({"predictions": rows}))
    else:
        for row in rows:
            print(f"{row['path']}: {row.get('error') or row['label']} {row.get('probability', '')}")
    return 1 if any("error" in row for row in rows) else 0
