"""Any number of labels a text: train, verify, report, INT8, evaluate, compare, predict, export."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.pipelines.command import Answer, ask, script_answers
from tests.text_data import FILLER, WORDS, write_csv

MODEL = [
    *("--model", "textcnn", "--embedding", "12", "--maps", "8"),
    *("--subwords", "3-4", "--subword-bits", "8"),
    *("--epochs", "8", "--lr", "0.02", "--batch-size", "8", "--precision", "f32"),
]


def tagged_rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """(text, tags split by |): each text has words of its tags, and some have none."""
    dice = random.Random(seed)
    found = []
    for number in range(count):
        tags = [tag for tag in WORDS if dice.random() < 0.5]
        words = dice.choices(FILLER, k=6) + [dice.choice(WORDS[tag]) for tag in tags]
        dice.shuffle(words)
        found.append((" ".join(words) + f" {number}", "|".join(tags)))
    return found


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("tags") / "t.csv", tagged_rows(150), "text,tags")


@pytest.fixture(scope="module")
def trained(table: Path) -> Answer:
    found = ask("train", table, "--out", table.parent / "runs", *MODEL, "--threads", "1")
    assert found.code == 0, found
    return found


@pytest.fixture(scope="module")
def shrunk(trained: Answer) -> Answer:
    found = ask("shrink", trained.value["run"], "--max-drop", "100")
    assert found.code == 0, found
    return found


def test_it_learns_and_every_runtime_agrees(trained: Answer) -> None:
    assert trained.value["verified"]
    figures = trained.value["metrics"]
    assert figures["map"]["value"] > 0.8  # random scores give about the share of tags, a half
    assert figures["micro_f1"]["value"] > 0.7
    beside = trained.value["baseline"]
    assert (beside["model"], beside["metric"]) == ("logistic", "map")
    assert beside["value"]["value"] > 0.8


def test_the_report_shows_tags_and_words(trained: Answer) -> None:
    told = json.loads((Path(trained.value["run"]) / "report.json").read_text())["story"]
    assert {row["name"] for row in told["classes"]} == set(WORDS)
    items = [
        item for block in told["sections"] if block["kind"] == "gallery" for item in block["items"]
    ]
    wrong = trained.value["metrics"]["accuracy"]["value"] < 1
    assert bool(items) == wrong
    assert all(item["words"] for item in items)


def test_int8_is_scored_and_compared(trained: Answer, shrunk: Answer, table: Path) -> None:
    assert shrunk.value["proven"]
    receipt = shrunk.value["receipt"]
    assert receipt["metric"] == "map"
    assert receipt["sizes"]["default"] == "openvino-int8"
    models = [trained.value["run"], shrunk.value["bundle"]]
    first, other = ask("compare", *models, "--data", table, "--separator", "|").value["models"]
    assert first["metric"] == other["metric"] == "map"
    before, after = first["accuracy"]["value"], other["accuracy"]["value"]
    assert before > 0.8
    assert after == pytest.approx(before, abs=0.05)
    assert other["difference"]["value"] == pytest.approx(100 * (after - before))
    assert other["runtime"] == "openvino-int8"


def test_texts_get_their_tags_also_of_the_exported_script(trained: Answer, tmp_path: Path) -> None:
    for name, text in (("both", "we saw the dog is red"), ("none", "it is very")):
        (tmp_path / f"{name}.txt").write_text(text)
    files = [tmp_path / "both.txt", tmp_path / "none.txt"]
    rows = ask("predict", trained.value["run"], *files).value["predictions"]
    both, none = rows
    assert "colour" in both["label"]
    assert set(both["probabilities"]) == set(WORDS)
    assert both["probabilities"]["colour"] > none["probabilities"]["colour"]
    assert ask("export", trained.value["run"], "--out", tmp_path / "out").code == 0
    for row, ours in zip(script_answers(tmp_path / "out", rows), rows, strict=True):
        assert row["label"] == ours["label"]
        assert row["probabilities"] == pytest.approx(ours["probabilities"], abs=1e-4)
