"""train -> evaluate -> predict -> export -> verify -> shrink -> compare, on class folders."""

from __future__ import annotations

from pathlib import Path

import pytest

import skipstone
from tests.pipelines.command import Answer, ask, assert_same_answers, script_answers, tree
from tests.pipelines.conftest import Trained


def test_train(classified: Trained) -> None:
    value = classified.value
    assert Path(value["bundle"]).parent == classified.run
    assert classified.run.name == "001"
    assert value["verified"] is True
    assert value["role"] == "test"
    assert value["split"] == "the validation split of the data, scored once"
    accuracy = value["metrics"]["accuracy"]
    assert set(accuracy) == {"value", "low", "high", "n"}
    assert accuracy["n"] == 12
    assert accuracy["value"] > 1 / 3 + 0.2  # better than one class for all
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert "balanced_accuracy" in value["metrics"]
    report = Path(value["report"]).read_text(encoding="utf-8")
    assert "skipstone train" in report


def test_what_the_temperature_did_is_stated(classified: Trained) -> None:
    gain = classified.value["calibration"]
    assert gain["after"]["value"] == classified.value["metrics"]["ece"]["value"]
    assert gain["halved"] == (gain["after"]["value"] <= gain["before"]["value"] / 2)
    page = (classified.run / "report.html").read_text()
    assert f"Temperature scaling: ECE {gain['before']['value']:.4f} before" in page


def test_nothing_is_written_in_the_data(classified: Trained) -> None:
    assert not classified.touched


def test_progress_in_a_log_is_short(classified: Trained) -> None:
    lines = classified.answer.err.splitlines()
    assert not [line for line in lines if line.startswith("predicting")]
    assert len(lines) < 40


def test_evaluate_gives_the_test_score_again_in_every_runtime(classified: Trained) -> None:
    for runtime in ("auto", "onnxruntime", "openvino-f32"):
        words = (classified.run, classified.data, "--split", "val", "--seed", "3")
        found = ask("evaluate", *words, "--runtime", runtime)
        assert found.code == 0
        assert found.value["metrics"]["accuracy"] == classified.value["metrics"]["accuracy"]


def test_evaluate_data_without_splits(classified: Trained) -> None:
    found = ask("evaluate", classified.run.parent, classified.data / "validation")
    assert found.value["metrics"]["accuracy"] == classified.value["metrics"]["accuracy"]
    assert "newest" in found.err
    assert "was made with" not in found.err
    seen = ask("evaluate", classified.run, classified.data)  # its training part as well
    assert "was made with 36 of the 48 rows that it is scored on" in " ".join(seen.err.split())


def test_predict_export_and_the_script_agree(
    classified: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From inside the data, where nothing may land: the script is written beside it."""
    folder = classified.data / "validation"
    rows = ask("predict", classified.run, folder).value["predictions"]
    assert len(rows) == 12
    right = sum(Path(row["path"]).parent.name == row["label"] for row in rows)
    assert right / 12 == pytest.approx(classified.value["metrics"]["accuracy"]["value"])

    before = tree(classified.data)
    monkeypatch.chdir(classified.data / "train")
    for words in (("export",), ("shrink", "--max-drop", "100")):
        refused = ask(words[0], classified.run, *words[1:], "--out", "here")
        assert refused.code == 2
        assert "--out here lies inside the data" in refused.value["error"]
    exported = ask("export", classified.run)
    beside = classified.data.with_name(f"{classified.data.name}-export-onnx")
    assert Path(exported.value["folder"]) == beside
    assert set(exported.value["files"]) == {"model.onnx", "predict.py"}
    assert_same_answers(script_answers(beside, rows), rows)
    assert tree(classified.data) == before


def test_export_never_overwrites(classified: Trained, tmp_path: Path) -> None:
    out = tmp_path / "ir"
    assert ask("export", classified.run, "--to", "openvino", "--out", out).code == 0
    programs = {"model.xml", "model.bin"}
    assert {path.name for path in out.iterdir()} == {*programs, "model.json", "predict.py"}
    before = tree(out)
    again = ask("export", classified.run, "--to", "openvino", "--out", out)
    assert again.code == 0
    assert "finished already" in again.value["finished"]
    again = ask("export", classified.run, "--to", "onnx", "--out", out)
    assert again.code == 2
    assert "nothing is overwritten" in again.value["error"]
    assert tree(out) == before


def test_shrink(classified: Trained, shrunk: Answer) -> None:
    assert shrunk.code == 0
    value = shrunk.value
    assert {"bundle", "receipt", "accepted", "proven"} <= set(value)
    assert value["accepted"] is True
    receipt = value["receipt"]
    assert receipt["test"]["before"] == classified.value["metrics"]["accuracy"]
    assert {row["name"] for row in receipt["latency"]["rows"]} >= {"torch-f32", "openvino-int8"}
    assert Path(value["bundle"]).parent == classified.run


def test_verify_what_ships(classified: Trained, shrunk: Answer) -> None:
    done = ask("verify", shrunk.value["bundle"])
    assert done.code == 0
    assert done.value["ok"] is True
    assert done.value["flips"] == 0 or done.value["max_difference"] > 0
    names = {row["name"] for row in done.value["rows"]}
    assert {"torch-f32", "openvino-int8"} <= names


def test_compare(classified: Trained, shrunk: Answer) -> None:
    split = classified.data / "validation"
    done = ask("compare", classified.run, shrunk.value["bundle"], "--data", split)
    first, second = done.value["models"]
    assert first["accuracy"]["value"] == classified.value["metrics"]["accuracy"]["value"]
    assert second["runtime"] == "openvino-int8"
    assert second["difference"]["n"] == 12


def test_the_same_in_python(classified: Trained, shrunk: Answer) -> None:
    model = skipstone.load(classified.run)
    file = next((classified.data / "validation" / "disc").iterdir())
    (answer,) = model.predict([file])
    row = ask("predict", classified.run, file).value["predictions"][0]
    assert answer.fields["label"] == row["label"]  # type: ignore[union-attr]
    int8 = skipstone.load(shrunk.value["bundle"])
    assert int8.runtime.name == "openvino-int8"
    found = skipstone.evaluate(classified.run, classified.data, split="validation", seed=3)
    assert found.metrics["accuracy"].to_json() == classified.value["metrics"]["accuracy"]
