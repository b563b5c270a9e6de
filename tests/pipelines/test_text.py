"""Texts through the command line: train, verify, evaluate, predict, compare."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from skipstone.bundle.format import Bundle
from tests.pipelines.command import Answer, ask
from tests.text_data import WORDS, rows, write_csv

STEPS = ["--epochs", "8", "--lr", "0.02", "--batch-size", "8", "--precision", "f32"]
MODELS = {
    "gru": ["--embedding", "12", "--hidden", "8", *STEPS],
    "logistic": [],
}
TEST_ROWS = 22


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Answer]:
    """Trains each of MODELS once, on a table whose last row says what is not so."""
    root = tmp_path_factory.mktemp("texts")
    given = rows(150)
    *good, (text, label) = given
    wrong = next(other for other in WORDS if other != label)
    splits = ["train"] * (len(given) - TEST_ROWS) + ["test"] * TEST_ROWS
    table = root / "texts.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "split"])
        told = [*good, (text, wrong)]
        writer.writerows([*row, split] for row, split in zip(told, splits, strict=True))

    @cache
    def train(model: str) -> Answer:
        words = ["--model", model, "--out", root / model, *MODELS[model]]
        found = ask("train", table, *words, "--threads", "1")
        assert found.code == 0, found
        return found

    return train


@pytest.fixture(scope="module", params=MODELS)
def trained(request: pytest.FixtureRequest, training: Callable[[str], Answer]) -> Answer:
    return training(request.param)


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
    assert beside["value"]["n"] == beside["difference"]["n"] == TEST_ROWS
    score = trained.value["metrics"]["accuracy"]["value"]
    assert beside["difference"]["value"] == pytest.approx(score - beside["value"]["value"])
    assert "not better" in beside["verdict"]  # both are right nearly always
    report = (Path(trained.value["run"]) / "report.html").read_text()
    assert "Compared with the baseline" in report


def test_the_report_shows_the_words_that_an_answer_hangs_on(trained: Answer) -> None:
    """Of the row whose label is wrong, and of what else was mistaken."""
    told: Any = json.loads((Path(trained.value["run"]) / "report.json").read_text())["story"]
    (gallery,) = [block for block in told["sections"] if block["kind"] == "gallery"]
    text, label = rows(150)[-1]
    shown = {"".join(piece for piece, _ in item["words"]): item for item in gallery["items"]}
    item = shown[text]
    assert item["answer"] == label  # what it should have been
    tells, weight = max(item["words"], key=lambda pair: abs(pair[1]))
    assert tells in WORDS[label]
    assert weight > 0
    page = (Path(trained.value["run"]) / "report.html").read_text()
    assert "<mark class=" in page


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


def test_two_models_are_compared_on_a_table_that_needs_flags(
    training: Callable[[str], Answer], tmp_path: Path
) -> None:
    """Which column holds the texts, and how letters are stored."""
    table = tmp_path / "odd.csv"
    lines = [f"how is it,{text} caf\xe9,{label}" for text, label in rows(60, seed=5)]
    table.write_bytes("\n".join(["question,comment,label", *lines]).encode("cp1252", "ignore"))
    runs = [training(model).value["run"] for model in MODELS]
    how = ["--text-column", "comment", "--encoding", "cp1252"]
    assert ask("compare", *runs, "--data", table).code == 2
    done = ask("compare", *runs, "--data", table, *how)
    assert done.code == 0, done
    first, other = done.value["models"]
    scores = [ask("evaluate", run, table, *how).value["metrics"]["accuracy"] for run in runs]
    assert [first["accuracy"], other["accuracy"]] == scores
    assert first["difference"] is None
    gap = 100 * (scores[1]["value"] - scores[0]["value"])
    assert other["difference"]["value"] == pytest.approx(gap)
    assert other["difference"]["n"] == 60
    assert other["scored_on"] == str(table)
