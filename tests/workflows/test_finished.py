"""The same command after its output was complete: it says so, and neither fails nor works again."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import skipstone
from skipstone.core import events, storage
from skipstone.core.errors import FinishedAlready, UsageError
from skipstone.workflows.finished_run import have_changed
from tests.pipelines.command import ask
from tests.small_texts import write_small_text
from tests.text_data import rows, write_csv

if sys.platform != "linux":
    pytest.skip("extended attributes are Linux's", allow_module_level=True)

QUICK = ("--model", "logistic", "--char-ngrams", "none", "--word-ngrams", "1-1", "--threads", "1")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    file = write_csv(tmp_path / "data" / "texts.csv", rows(90))
    time.sleep(1.1)  # a run states the second in which it began
    return file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_small_text(tmp_path / "model")


def _notes(function: Any, *arguments: Any, **options: Any) -> tuple[Any, str]:
    heard: list[Any] = []
    with events.use_listener(heard.append):
        result = function(*arguments, **options)
    return result, " ".join(event.text for event in heard if isinstance(event, events.Note))


def test_train_returns_the_finished_run_until_the_data_changes(table: Path, tmp_path: Path) -> None:
    words = ("train", table, "--out", tmp_path / "runs", *QUICK)
    first, again = ask(*words), ask(*words)
    assert first.code == again.code == 0, again
    assert "is finished already" in again.err
    for name in set(first.value) - {"seconds"}:
        assert first.value[name] == again.value[name], name
    assert not (tmp_path / "runs" / "002").exists()
    table.write_text(table.read_text().replace("the", "a"))
    assert Path(ask(*words).value["run"]).name == "002"
    assert Path(ask(*words, "--seed", 1).value["run"]).name == "003"


def test_predictions_are_finished_until_a_source_changes(model: Path, tmp_path: Path) -> None:
    letter, out = tmp_path / "a.txt", tmp_path / "answers.csv"
    letter.write_text("a red cat")
    words = ("predict", model, letter, "--out", out)
    assert ask(*words).code == 0
    unfinished = tmp_path / "answers.csv.unfinished.jsonl"
    unfinished.write_text("")  # as a kill before its removal leaves it
    again = ask(*words)
    assert again.code == 0
    assert f"{out} is finished already" in again.value["finished"]
    assert not unfinished.exists()
    with pytest.raises(FinishedAlready):
        skipstone.predict(model, [letter], out=out)
    assert ask(*words, "--raw-cells").code == 2
    letter.write_text("a green cat")
    assert ask(*words).code == 2


def test_a_mark_is_of_one_command_and_of_no_copy(tmp_path: Path) -> None:
    origin = storage.compute_origin(command="export", model="m")
    with storage.write_folder(tmp_path / "new", must_be_new=True, origin=origin) as new:
        (new / "a").write_text("a")
    storage.write_bytes(tmp_path / "file", b"1", origin=origin)
    (tmp_path / "copy").write_bytes((tmp_path / "file").read_bytes())
    for path in (tmp_path / "new", tmp_path / "file"):
        with pytest.raises(FinishedAlready, match="the same command"):
            storage.refuse_finished(path, origin)
        storage.refuse_finished(path, storage.compute_origin(command="export", model="n"))
    for path in (tmp_path / "copy", tmp_path / "nothing"):
        storage.refuse_finished(path, origin)
    assert issubclass(FinishedAlready, UsageError)


def test_files_that_changed_later_are_found(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("1")
    moment = time.time() + 1
    assert not have_changed([old, tmp_path / "nothing", Path("x" * 5000)], moment)
    os.utime(old, (1, 1))  # a changed date does not hide a change
    assert have_changed([old], moment - 60)


@pytest.mark.proof
def test_shrink_and_ensemble_return_what_they_made(table: Path, tmp_path: Path) -> None:
    network = ("--model", "textcnn", "--embedding", "16", "--maps", "8", "--epochs", "2")
    runs = [
        ask("train", table, "--out", tmp_path / "runs", *network, "--seed", seed, "--split-seed", 0)
        for seed in range(2)
    ]
    members = [run.value["run"] for run in runs]
    first, again = (ask("ensemble", *members, "--out", tmp_path / "runs") for _ in range(2))
    assert first.value["run"] == again.value["run"]
    assert first.value["members"] == again.value["members"]
    words = ("shrink", members[0], "--max-drop", 100)
    first, again = ask(*words), ask(*words)
    assert first.value == again.value
    assert "is finished already" in again.err
    assert not Path(f"{first.value['bundle']}-2").exists()
