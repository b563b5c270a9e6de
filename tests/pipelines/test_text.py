"""Texts through the command line: train, verify, evaluate, predict."""

from __future__ import annotations

from pathlib import Path

import pytest

from skipstone.bundle.format import Bundle
from tests.pipelines.command import Answer, ask
from tests.text_data import rows, write_csv

STEPS = ["--epochs", "8", "--lr", "0.02", "--batch-size", "8", "--precision", "f32"]
MODELS = {
    "textcnn": ["--embedding", "12", "--maps", "8", *STEPS],
    "lstm": ["--embedding", "12", "--hidden", "8", "--word-mixup", "0.2", *STEPS],
    "logistic": [],
}


@pytest.fixture(scope="module", params=MODELS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Answer:
    root = tmp_path_factory.mktemp(request.param)
    table = write_csv(root / "texts.csv", rows(150))
    words = ["--model", request.param, "--out", root / "runs", *MODELS[request.param]]
    found = ask("train", table, *words, "--threads", "1")
    assert found.code == 0, found
    return found


def test_it_learns_and_every_runtime_agrees(trained: Answer) -> None:
    assert trained.value["verified"]
    assert trained.value["metrics"]["accuracy"]["value"] >= 0.9


def test_it_is_shown_beside_the_baseline(trained: Answer) -> None:
    beside = trained.value["baseline"]
    if beside is None:
        name = Bundle.load(trained.value["bundle"]).arch.backbone.name
        assert name == "logistic"
        return
    assert beside["model"] == "logistic"
    assert beside["value"]["n"] == beside["difference"]["n"] == 22
    score = trained.value["metrics"]["accuracy"]["value"]
    assert beside["difference"]["value"] == pytest.approx(score - beside["value"]["value"])
    assert "not better" in beside["verdict"]  # both are right nearly always
    report = (Path(trained.value["run"]) / "report.html").read_text()
    assert "Beside the baseline" in report


def test_its_bundle_names_no_text_of_the_user(trained: Answer) -> None:
    bundle = Bundle.load(trained.value["bundle"])
    assert "vocabulary" in " ".join(bundle.input_arrays)
    assert rows(1)[0][0] not in str(bundle.input)


def test_other_data_is_scored_and_files_are_answered(trained: Answer, tmp_path: Path) -> None:
    other = write_csv(tmp_path / "other.csv", rows(30, seed=5))
    scored = ask("evaluate", trained.value["run"], other)
    assert scored.value["metrics"]["accuracy"]["value"] >= 0.9
    (tmp_path / "a.txt").write_text("we saw the dog and a horse")
    (tmp_path / "b.txt").write_bytes(b"caf\xe9 au lait")
    answer = ask("predict", trained.value["run"], tmp_path / "a.txt", tmp_path / "b.txt")
    good, bad = answer.value["predictions"]
    assert answer.code == 1
    assert good["label"] == "animal"
    assert "line 1, byte 4" in bad["error"]
