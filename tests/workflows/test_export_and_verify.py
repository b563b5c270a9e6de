"""export: what leaves, and what is said of what does not."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from skipstone.bundle.files import add_files, read_file
from skipstone.core import events
from skipstone.core.errors import Refusal
from skipstone.inference.open_model import open_model
from skipstone.inference.programs import EXPORTS_JSON, Programs, read_programs
from skipstone.tasks.base import Prediction
from skipstone.training import finalize as finish
from skipstone.workflows import export_and_verify as ship
from skipstone.workflows.export_and_verify import export
from tests.small_bundles import exported_small, write_small


@pytest.fixture
def int8(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose program INT8 answers by default, as `shrink` leaves it (by its list: what its
    files hold is the float32 program)."""
    folder = Path(shutil.copytree(exported_small(tmp_path_factory), tmp_path / "my model"))
    content = json.loads(read_file(folder, EXPORTS_JSON))
    (exact,) = [row for row in content["programs"] if row["name"] == "openvino-f32"]
    files = {role: f"exports/openvino-int8/{role}" for role in exact["files"]}
    row = {**exact, "name": "openvino-int8", "precision": "int8", "files": files}
    listed = {"default": "openvino-int8", "programs": [*content["programs"], row]}
    copies = {files[role]: read_file(folder, name) for role, name in exact["files"].items()}
    add_files(folder, {**copies, EXPORTS_JSON: json.dumps(listed).encode()})
    return folder


def test_a_program_that_answers_and_is_not_exported_is_named(
    int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ship, "export_argmax", lambda folder: b"made as for any other model")
    said: list[events.Event] = []
    with events.use_listener(said.append):
        plain = export(int8, to="onnx", out=tmp_path / "for you")
        inside = export(int8, argmax=True, out=tmp_path / "inside")
        whole = export(int8, to="openvino", out=tmp_path / "whole")
    assert plain.left_out == inside.left_out == ("openvino-int8",)
    assert plain.to_json()["left_out"] == ["openvino-int8"]
    assert whole.left_out == ()
    assert {"model.xml", "model-int8.xml"} <= set(whole.files)
    warnings = [e.text for e in said if isinstance(e, events.Note) and e.level == "warning"]
    assert len(warnings) == 2
    assert warnings[0].endswith(f"To export openvino-int8: skipstone export '{int8}' --to openvino")
    assert plain.next_command == f"python '{tmp_path}/for you/predict.py' photo.jpg"


def test_a_mode_of_the_float32_program_goes_with_it(int8: Path, tmp_path: Path) -> None:
    for name in ("openvino-bf16", "openvino-f32", ""):
        content = json.loads(read_file(int8, EXPORTS_JSON))
        if name in ("", *(row["name"] for row in content["programs"])):
            add_files(int8, {EXPORTS_JSON: json.dumps({**content, "default": name}).encode()})
            assert export(int8, out=tmp_path / f"out{name}").left_out == ()


def test_a_network_that_cannot_be_exported_is_a_model_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours of training would end without a report, and so would the next try."""

    def refused(folder: Path) -> None:
        raise Refusal("this network does not export to ONNX: no such operator.")

    monkeypatch.setattr(finish, "export_onnx", refused)
    here = contextlib.nullcontext(SimpleNamespace(verify=read_programs))
    monkeypatch.setattr(finish, "VerifyingProcess", lambda: here)
    said: list[events.Event] = []
    with events.use_listener(said.append):
        found: Any = finish.export_and_verify(write_small(tmp_path / "bundle", goldens=False))
    assert found == Programs({})
    (warning,) = [e.text for e in said if isinstance(e, events.Note) and e.level == "warning"]
    assert warning.startswith("The model was not exported to ONNX, and runs in torch: this network")


def test_an_export_that_fails_leaves_nothing(
    int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ship.storage, "write_text", stopped)  # model.onnx is written by then
    with pytest.raises(KeyboardInterrupt):
        export(int8, out=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["my model"]


def test_a_shrunk_model_ships_its_int8_program_alone(int8: Path, tmp_path: Path) -> None:
    """The script predicts what the model does, in a process without skipstone."""
    result = export(int8, out=tmp_path / "shipped")
    assert set(result.files) == {"model-int8.xml", "model-int8.bin", "model.json", "predict.py"}
    assert result.left_out == ()
    script = tmp_path / "shipped" / "predict.py"
    header = script.read_text().partition("from __future__")[0]
    assert "pip install numpy openvino pillow" in header
    assert "Predict with the model-int8.xml" in header
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 48, 3), np.uint8)).save(photo)
    done = subprocess.run(
        [sys.executable, "-I", str(script), "--json", str(photo)], capture_output=True, check=True
    )
    (row,) = json.loads(done.stdout)["predictions"]
    (expected,) = open_model(int8).predict([photo])
    assert isinstance(expected, Prediction)
    assert row["label"] == expected.fields["label"]
    assert row["probability"] == pytest.approx(expected.fields["probability"], abs=1e-4)


def test_without_an_int8_program_it_is_onnx(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    result = export(exported_small(tmp_path_factory), out=tmp_path / "shipped")
    assert set(result.files) == {"model.onnx", "predict.py"}
