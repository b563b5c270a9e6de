"""Models of the same data that answer together: one model from there on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import skipstone
from tests.pipelines.command import SMALL, Answer, ask, script_answers
from tests.pipelines.conftest import Trained
from tests.text_data import rows, write_csv

pytestmark = pytest.mark.proof  # minutes

MEMBERS = {
    "logistic": ["--folds", "0"],
    "textcnn": [
        *("--embedding", "64", "--maps", "32", "--epochs", "4", "--lr", "0.02"),
        *("--batch-size", "8", "--precision", "f32"),
    ],
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("texts") / "texts.csv", rows(150))


@pytest.fixture(scope="module")
def members(table: Path) -> list[str]:
    """Runs of two unlike models, with another seed each, and the same rows kept apart."""
    found = []
    for seed, (model, options) in enumerate(MEMBERS.items()):
        words = ["--model", model, "--seed", seed, "--split-seed", 7, *options]
        done = ask("train", table, "--out", table.parent / "runs", *words, "--threads", "1")
        assert done.code == 0, done
        found.append(done.value["run"])
    return found


@pytest.fixture(scope="module")
def together(members: list[str], table: Path) -> Answer:
    done = ask("ensemble", *members, "--out", table.parent / "runs")
    assert done.code == 0, done
    return done


def test_it_is_a_run_with_proof_and_report(together: Answer, members: list[str]) -> None:
    value = together.value
    assert value["verified"]
    assert value["role"] == "test"
    assert Path(value["run"]).name == "003"
    assert value["metrics"]["accuracy"]["n"] == 22  # all that the members had kept apart
    assert [member["model"] for member in value["members"]] == members
    for member in value["members"]:
        gap = value["metrics"]["accuracy"]["value"] - member["value"]["value"]
        assert member["difference"]["value"] == pytest.approx(gap)
    assert "by more than chance" in value["verdict"]  # each is right nearly always
    page = Path(value["report"]).read_text()
    assert "Compared with its members" in page
    assert "ensemble of logistic and textcnn" in page


def test_it_answers_the_mean_of_what_its_members_answer(
    together: Answer, members: list[str]
) -> None:
    """Before its own temperature, which is divided out here."""
    text = "we saw the dog and a red horse"
    answers = [skipstone.load(model).predict([text.encode()])[0] for model in members]
    expected = np.mean([answer.scores["probability"] for answer in answers], axis=0)
    post = json.loads((Path(together.value["bundle"]) / "bundle.json").read_text())["post"]
    (answer,) = skipstone.load(together.value["run"]).predict([text.encode()])
    powered = answer.scores["probability"] ** post["temperature"]
    assert powered / powered.sum() == pytest.approx(expected, abs=1e-5)


def test_it_exports_verifies_and_compares(
    together: Answer, members: list[str], table: Path, tmp_path: Path
) -> None:
    run = together.value["run"]
    assert ask("verify", run).value["ok"]
    done = ask("export", run, "--out", tmp_path / "out")
    assert done.code == 0
    assert "comes without a script" in done.err
    assert set(done.value["files"]) == {"model.onnx"}
    compared = ask("compare", run, members[0], "--data", table).value["models"]
    assert compared[0]["parameters"] > compared[1]["parameters"]
    again = ask("ensemble", *members, "--out", table.parent / "more")
    assert again.value["metrics"] == together.value["metrics"]


def test_int8_makes_it_smaller(together: Answer) -> None:
    done = ask("shrink", together.value["run"], "--max-drop", "100")
    assert done.code == 0, done
    assert done.value["accepted"]
    assert done.value["receipt"]["sizes"]["default"] == "openvino-int8"
    assert done.value["receipt"]["sizes"]["smaller"] > 1


def test_what_works_on_one_network_is_refused(
    together: Answer, members: list[str], table: Path
) -> None:
    run = together.value["run"]
    for plan in ("prune, int8", "vocabulary, int8", "resolution"):
        done = ask("shrink", run, "--plan", plan)
        assert done.code == 1
        assert "needs a single network, and this model is an ensemble of" in done.value["error"]
    for words in (("train", table, "--from", run), ("audit", table, "--model", run)):
        done = ask(*words)
        assert done.code == 1
        assert "needs a single network" in done.value["error"], done
    done = ask("ensemble", run, members[0])
    assert "is already an ensemble of logistic and textcnn" in done.value["error"]


def test_only_models_of_one_question_and_one_data_set_are_joined(
    members: list[str], classified: Trained, table: Path, tmp_path: Path
) -> None:
    for words, message in (
        ([members[0]], "an ensemble needs 2 to 64 models; named: 1."),
        ([members[0], members[0]], "are the same model"),
        ([members[0], classified.run], "have different inputs: text and image"),
    ):
        done = ask("ensemble", *words)
        assert done.code == 2
        assert message in done.value["error"]
    fewer = write_csv(tmp_path / "fewer.csv", rows(120))
    other = ask("train", fewer, "--model", "logistic", "--folds", 0, "--out", tmp_path / "runs")
    done = ask("ensemble", members[0], other.value["run"])
    assert "were trained on different data" in done.value["error"]


def test_rows_that_a_member_has_learnt_from_are_no_evidence(
    members: list[str], table: Path, tmp_path: Path
) -> None:
    """Split by another seed, few rows are new to both."""
    other = ask(
        "train", table, "--model", "nbsvm", "--folds", 0, "--seed", 3, "--out", tmp_path / "runs"
    )
    done = ask("ensemble", members[0], other.value["run"], "--out", tmp_path / "runs")
    if done.code == 0:
        assert done.value["metrics"]["accuracy"]["n"] < 22
        assert "was split differently" in done.err
    else:
        assert "no validation row remains" in done.value["error"]


def test_photos_that_are_prepared_in_two_ways_have_no_script(
    classified: Trained, tmp_path: Path
) -> None:
    words = [*SMALL, "--epochs", "1", "--split-seed", "3"]
    words[words.index("--size") + 1] = "32"
    other = ask("train", classified.data, "--out", tmp_path / "runs", *words)
    done = ask("ensemble", classified.run, other.value["run"], "--out", tmp_path / "runs")
    assert done.code == 0, done
    assert done.value["verified"]
    exported = ask("export", done.value["run"], "--out", tmp_path / "out")
    assert "the input 'image' has no stand-alone form" in exported.err


def test_photos_of_one_input_keep_their_script(classified: Trained, tmp_path: Path) -> None:
    """Members that prepare photos alike share one input, so what is exported stands alone."""
    words = [*SMALL, "--epochs", "2", "--split-seed", "3"]
    words[words.index("--seed") + 1] = "1"
    other = ask("train", classified.data, "--out", tmp_path / "runs", *words)
    assert other.code == 0, other
    done = ask("ensemble", classified.run, other.value["run"], "--out", tmp_path / "runs")
    assert done.code == 0, done
    photos = classified.data / "validation"
    answers = ask("predict", done.value["run"], photos).value["predictions"]
    assert ask("export", done.value["run"], "--out", tmp_path / "out").code == 0
    for row, ours in zip(script_answers(tmp_path / "out", answers), answers, strict=True):
        assert row["label"] == ours["label"]
        assert row["probability"] == pytest.approx(ours["probability"], abs=1e-4)
