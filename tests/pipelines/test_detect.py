"""The whole chain on boxes: squares and discs in pictures of 64 pixels."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.inference.open_model import open_model
from skipstone.report.report_schema import ReportData
from skipstone.report.verdict import build_verdict
from tests.box_data import make_scenes, write_voc
from tests.pipelines.command import Answer, ask, script_answers

#: Learns to find them in half a minute.
TINY = [
    *("--model", "resnet20", "--weights", "none", "--size", "64", "--augment", "none"),
    *("--pyramid-channels", "32", "--branch-layers", "1", "--epochs", "12", "--batch-size", "8"),
    *("--threads", "1", "--precision", "f32", "--channels-last", "--seed", "3"),
]


@dataclass(frozen=True)
class Boxes:
    data: Path
    run: Path
    answer: Answer


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Boxes:
    root = tmp_path_factory.mktemp("boxes")
    data = root / "data"
    for split, count, seed in (("train", 40, 0), ("val", 12, 1)):
        scenes = make_scenes(count, seed=seed)
        write_voc(data, scenes, f"{split}/images", f"{split}/annotations")
    answer = ask("train", data, "--out", root / "runs", *TINY)
    assert answer.code == 0, answer
    return Boxes(data, Path(answer.value["run"]), answer)


def test_training_proves_what_ships(boxes: Boxes) -> None:
    value = boxes.answer.value
    assert value["verified"]
    assert list(value["metrics"])[:2] == ["map50", "map"]
    assert value["metrics"]["map50"]["value"] > 0.6
    assert value["metrics"]["map50"]["n"] == 12
    for figure in value["metrics"].values():
        assert figure["low"] <= figure["value"] <= figure["high"]


def test_the_graph_has_two_outputs_in_every_runtime(boxes: Boxes) -> None:
    for runtime in ("torch", "onnxruntime", "openvino-f32"):
        predictor = open_model(boxes.run, runtime)
        outputs = predictor.runtime.run(predictor.input.make_example(2))
        assert set(outputs) == {"boxes", "scores"}
        assert outputs["boxes"].shape == (2, 16 * 16 + 8 * 8, 4)
        assert outputs["scores"].shape == (2, 16 * 16 + 8 * 8, 2)


def test_the_script_predicts_the_same_boxes(boxes: Boxes, tmp_path: Path) -> None:
    assert ask("export", boxes.run, "--to", "onnx", "--out", tmp_path / "onnx").code == 0
    photos = sorted((boxes.data / "val" / "images").iterdir())[:3]
    answers = ask("predict", boxes.run, *photos, "--runtime", "onnxruntime").value["predictions"]
    for own, other in zip(answers, script_answers(tmp_path / "onnx", answers), strict=True):
        assert own["label"] == other["label"]
        np.testing.assert_allclose(own["box"], other["box"], atol=0.02)
        np.testing.assert_allclose(own["probability"], other["probability"], atol=1e-4)


def test_predictions_become_labels(boxes: Boxes, tmp_path: Path) -> None:
    photos = boxes.data / "val" / "images"
    assert ask("predict", boxes.run, photos, "--out", tmp_path / "boxes.json").code == 0
    shutil.copytree(photos, tmp_path / "images")
    manifest = read_manifest(tmp_path, ReadOptions(reader="coco"))
    assert len(manifest) == 12
    assert ask("predict", boxes.run, photos, "--out", tmp_path / "folder").code == 0
    names = {path.suffix for path in (tmp_path / "folder").rglob("*") if path.is_file()}
    assert names == {".jpg", ".xml", ".txt"}


def test_the_report_draws_boxes(boxes: Boxes) -> None:
    story = json.loads((boxes.run / "report.json").read_text())["story"]
    blocks = {block["title"]: block for block in story["sections"]}
    assert {"Worst photos", "Best photos", "Confusion", "Sizes of what was missed"} <= set(blocks)
    assert blocks["Best photos"]["items"][0]["picture"].startswith("data:image/")
    assert blocks["Confusion"]["classes"][-1] == "missed / nothing there"
    table = blocks["By class, weakest first"]
    assert {row[1] for row in table["rows"]} == {"ap50:disc", "ap50:square"}
    recall = next(row for row in story["metrics"] if row["name"] == "recall")
    verdict = build_verdict(ReportData.from_json(story))
    wrong = f"about {100 * (1 - recall['value']):.0f} are missed or get a wrong label"
    assert wrong in verdict["sentences"][0] or recall["value"] > 0.99
    assert verdict["majority"] == ["no box at all", 0.0]


def test_int8_keeps_the_boxes(boxes: Boxes) -> None:
    shrunk = ask("shrink", boxes.run, "--plan", "int8", "--max-drop", "100")
    assert shrunk.code == 0, shrunk
    receipt = shrunk.value["receipt"]
    assert receipt["metric"] == "map50"
    assert receipt["val"]["drop"]["value"] < 15
