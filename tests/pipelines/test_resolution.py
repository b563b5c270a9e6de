"""train -> shrink to smaller pictures -> export -> compare -> train --from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skipstone.bundle.format import Bundle
from skipstone.evaluation.parity import Verification
from skipstone.inference.open_model import open_model
from skipstone.inference.programs import read_programs
from skipstone.workflows import train_model as train_module
from tests.pipelines.command import Answer, ask, assert_same_answers, script_answers
from tests.pipelines.conftest import Trained


@pytest.fixture(scope="module")
def smaller(classified: Trained) -> Answer:
    """From 24 pixels to 16."""
    plan = "resolution(epochs=2)"
    return ask("shrink", classified.run, "--plan", plan, "--max-drop", "100")


def test_what_it_says(classified: Trained, smaller: Answer) -> None:
    assert smaller.code == 0
    assert Path(smaller.value["bundle"]) == classified.run / "shrunk-resolution"
    assert "Images of 16 x 16 pixels instead of 24 x 24: 4" in smaller.err
    receipt = smaller.value["receipt"]
    assert receipt["test"]["before"] == classified.value["metrics"]["accuracy"]
    assert {ratio["fast"] for ratio in receipt["latency"]["ratios"]} == {"torch-f32, shrunk"}
    programs = read_programs(Path(smaller.value["bundle"]))
    assert {"onnxruntime-f32", "openvino-f32"} <= set(programs.by_name)


def test_the_script_prepares_the_same_small_pictures(
    classified: Trained, smaller: Answer, tmp_path: Path
) -> None:
    folder = classified.data / "validation"
    rows = ask("predict", smaller.value["bundle"], folder).value["predictions"]
    exported = ask("export", smaller.value["bundle"], "--out", tmp_path / "out")
    assert exported.code == 0
    assert_same_answers(script_answers(tmp_path / "out", rows), rows)


def test_compare_counts_each_at_its_own_size(classified: Trained, smaller: Answer) -> None:
    done = ask("compare", classified.run, smaller.value["bundle"])
    first, second = done.value["models"]
    assert second["macs"] == pytest.approx((16 / 24) ** 2 * first["macs"], rel=0.02)
    assert second["parameters"] == first["parameters"]


def test_training_goes_on_at_the_small_size(
    classified: Trained, smaller: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        train_module, "export_and_verify", lambda folder: Verification(True, 0.0, 0, [])
    )
    words = (classified.data, "--from", smaller.value["bundle"], "--out", tmp_path / "runs")
    done = ask("train", *words, "--epochs", "1", "--seed", "3")
    assert done.code == 0, done
    assert Bundle.load(Path(done.value["bundle"])).input["options"]["size"] == 16


@pytest.mark.proof
def test_tags_at_a_smaller_size(tagged: Trained) -> None:
    plan = "resolution(size=20, epochs=1)"
    done = ask("shrink", tagged.run, "--plan", plan, "--max-drop", "100")
    assert done.code == 0, done
    predictor = open_model(Path(done.value["bundle"]), "onnxruntime")
    assert predictor.input.make_example(1)["image"].shape == (1, 20, 20, 3)


@pytest.mark.parametrize(
    ("plan", "code", "said"),
    [
        ("resolution(size=24)", 2, "images have 24 x 24 pixels"),
        ("resolution(size=3.5)", 2, "is not a whole number"),
        ("resolution(scale=0.5)", 2, "resolution has no option 'scale'"),
        ("resolutions", 2, "Did you mean 'resolution'"),
    ],
)
def test_what_cannot_be_is_said(classified: Trained, plan: str, code: int, said: str) -> None:
    done = ask("shrink", classified.run, "--plan", plan)
    assert done.code == code
    assert said in json.dumps(done.value, ensure_ascii=False)
