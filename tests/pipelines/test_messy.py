"""Training on folders as they are: unreadable files are listed and left out, or stop it early."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from skipstone.core.errors import Interrupted
from skipstone.data.manifest import load_manifest
from skipstone.datasets.cache import RecordCache
from skipstone.training import learner
from skipstone.workflows import train_model
from tests.photos import make_photo, save_photo, write_class_folder
from tests.pipelines.command import SMALL, Answer, ask, tree


@pytest.fixture
def hurt(tmp_path: Path) -> Path:
    """45 photos, of which three cannot be read."""
    photos = write_class_folder(tmp_path / "photos", 15)
    for number, path in enumerate(sorted(photos.glob("disc/*"))[3:6]):
        path.write_bytes([b"", b"<html>", path.read_bytes()[:50]][number])
    return photos


def train(photos: Path, *words: object) -> Answer:
    return ask("train", photos, "--out", photos.parent / "runs", *SMALL, "--epochs", "1", *words)


def test_it_goes_on_without_unreadable_files_and_lists_them(hurt: Path) -> None:
    before = tree(hurt)
    answer = train(hurt, "--max-bad", "10%")
    assert answer.code == 0, answer
    assert answer.value["unreadable"] == 3
    run = Path(answer.value["run"])
    assert f"3 of 45 files are unreadable and left out, listed in {run}/unreadable.csv" in (
        answer.err.replace("\n", " ")
    )
    with (run / "unreadable.csv").open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert sorted(row["path"] for row in listed) == sorted(
        str(path.relative_to(hurt)) for path in sorted(hurt.glob("disc/*"))[3:6]
    )
    assert "3 of 45 files are unreadable" in (run / "report.html").read_text(encoding="utf-8")
    assert tree(hurt) == before
    (hurt / listed[0]["path"]).unlink()  # nobody needs it any more
    shrunk = ask("shrink", run, "--max-drop", "100")
    assert shrunk.code == 0, shrunk


def interrupted(*_: Any, **__: Any) -> Any:
    raise Interrupted("stopped", signal_number=15)


def test_it_stops_before_training_where_they_are_too_many(
    hurt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = train(hurt)
    assert answer.code == 2
    words = str(answer.value)
    assert "3 of 45 files are unreadable, more than --max-bad 1% allows (0 of 45)" in words
    assert "unreadable.csv" in words
    run = hurt.parent / "runs" / "001"
    assert len((run / "unreadable.csv").read_text().splitlines()) == 4
    assert not (run / "journal.jsonl").exists(), "it began to train"
    # What the message says to type works, in the same run.
    assert "--max-bad 6.7%" in words
    monkeypatch.setattr(learner, "fit", interrupted)
    assert train(hurt, "--max-bad", "6.7%").code == 143
    assert "decision" in (run / "journal.jsonl").read_text()


def test_a_resumed_run_leaves_out_what_it_left_out(
    hurt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "fit", interrupted)
    words = ("--normalize", "imagenet")  # "fit" would measure other pictures: another run
    assert train(hurt, "--max-bad", "3", *words).code == 143
    manifest = load_manifest(hurt.parent / "runs/001/manifest.parquet")
    bad = sorted(hurt.glob("disc/*"))[3]
    save_photo(make_photo(3, "disc"), bad.with_suffix(""), variant=3).rename(bad)
    sound = hurt / "square" / "000.jpg"
    held = sound.read_bytes()
    sound.write_bytes(b"")
    answer = train(hurt, "--max-bad", "3", *words)
    assert answer.code == 2
    assert "000.jpg" in str(answer.value)
    assert "was readable when" in str(answer.value)
    sound.write_bytes(held)
    assert train(hurt, "--max-bad", "0", *words).code == 143  # what was decided stays decided
    again = load_manifest(hurt.parent / "runs/001/manifest.parquet")
    assert len(again.rows_with_role("unreadable")) == 3  # one of them is readable by now
    tables = [part.table.drop_columns(["content"]) for part in (again, manifest)]
    assert tables[0].equals(tables[1])  # one file has new bytes
    assert not (hurt.parent / "runs/002").exists()


def test_files_that_vanish_while_training_are_counted_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_class_folder(tmp_path / "photos", 15)
    run, fit = tmp_path / "runs" / "001", learner.fit
    most = 0

    def fit_and_lose(*words: Any, **options: Any) -> Any:
        result = fit(*words, **options)
        test_rows = load_manifest(run / "manifest.parquet").rows_with_role("test")
        for path in test_rows.column_values("path")[:most]:
            (photos / path).rename(photos / f"{path}.gone")
        return result

    monkeypatch.setattr(learner, "fit", fit_and_lose)
    # a cache that holds all records needs no file a second time
    monkeypatch.setattr(train_model, "RecordCache", partial(RecordCache, limit=0))
    for lost, allowed, code in ((3, "1%", 2), (99, "100%", 2), (1, "50%", 0)):
        most = lost
        answer = train(photos, "--max-bad", allowed)
        gone = list(photos.rglob("*.gone"))
        for path in gone:
            path.rename(path.with_suffix(""))
        assert answer.code == code, answer
        if code:
            assert f"{len(gone)} of" in str(answer.value)
            assert "test rows can no longer be read" in str(answer.value)
            assert any(path.stem in str(answer.value) for path in gone)
    assert Path(answer.value["run"]) == run, "the same run, resumed"
    assert "1 of " in answer.err
    assert "rows unreadable" in answer.value["split"]
    assert "rows unreadable" in (run / "report.html").read_text(encoding="utf-8")
