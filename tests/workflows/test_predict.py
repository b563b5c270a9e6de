"""predict takes data as people have it: tables, lines, texts as they are; bad rows are named."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import skipstone
from skipstone.cli.main import main
from skipstone.core.errors import DamagedError, StorageError, UsageError
from skipstone.data.samples import SampleMeta
from skipstone.data.sources import FileRef, Inline, Source
from skipstone.inference.predictor import Failure, Predictor
from skipstone.tasks.base import Prediction
from skipstone.workflows.prediction_files import (
    PartialPredictions,
    prediction_key,
    write_predictions,
)
from tests.cli.conftest import Run, run
from tests.photos import write_class_folder
from tests.small_bundles import write_small
from tests.small_texts import write_small_text
from tests.text_data import rows, write_csv, write_jsonl

__all__ = ["run"]

TEXTS = [text for text, _ in rows(12, seed=5)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_text(tmp_path_factory.mktemp("texts") / "bundle", goldens=False)


@pytest.fixture(scope="module")
def expected(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Answers to the texts as files of their own."""
    folder = tmp_path_factory.mktemp("files")
    for number, text in enumerate(TEXTS):
        (folder / f"{number:02d}.txt").write_text(text, encoding="utf-8")
    told = skipstone.predict(model, [folder]).to_json()["predictions"]
    assert len({row["label"] for row in told}) == 3
    return [row["label"] for row in told]


def test_a_table_has_an_answer_a_row(model: Path, expected: list[str], tmp_path: Path) -> None:
    labelled = [(text, "whatever") for text in TEXTS]
    for table in (
        write_csv(tmp_path / "t.csv", labelled),
        write_jsonl(tmp_path / "t.jsonl", labelled),
    ):
        told = skipstone.predict(model, [table]).to_json()["predictions"]
        assert [row["label"] for row in told] == expected
        assert [row["path"] for row in told] == [f"{table}#{n}" for n in range(12)]
        assert [row["row"] for row in told] == list(range(12))


def test_one_column_and_a_named_one(model: Path, expected: list[str], tmp_path: Path) -> None:
    lone = tmp_path / "lone.csv"
    lone.write_text("whatever it is called\n" + "".join(f'"{text}"\n' for text in TEXTS))
    told = skipstone.predict(model, [lone]).to_json()["predictions"]
    assert [row["label"] for row in told] == expected
    two = write_csv(
        tmp_path / "two.csv", [(t, f"some other words {n}") for n, t in enumerate(TEXTS)], "mine,x"
    )
    with pytest.raises(UsageError, match="--text-column"):
        skipstone.predict(model, [two])
    told = skipstone.predict(model, [two], text_column="mine").to_json()["predictions"]
    assert [row["label"] for row in told] == expected


def test_texts_as_they_are(model: Path, expected: list[str], run: Run) -> None:
    told = skipstone.predict(model, texts=TEXTS).to_json()["predictions"]
    assert [row["label"] for row in told] == expected
    code, out, _ = run("predict", model, "--text", TEXTS[0], "--text", TEXTS[1], "--json")
    found = json.loads(out)["predictions"]
    assert code == 0
    assert not any(answer.scores for answer in skipstone.predict(model, texts=TEXTS).predictions)
    assert [row["label"] for row in found] == expected[:2]
    assert {"path", "label", "probability"} <= set(found[0])


def test_lines_of_standard_input(
    model: Path,
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = "\n".join(TEXTS).encode() + b"\r\n\nbroken \xff here\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    code = main(["predict", str(model), "-", "--json"])
    told = json.loads(capsys.readouterr().out)["predictions"]
    assert code == 1
    assert [row.get("label") for row in told] == [*expected, None, None]
    assert told[12] == {"path": "line 13", "error": "holds no text"}
    assert "0xff is not UTF-8" in told[13]["error"]


def test_bad_rows_are_named_and_the_rest_goes_on(model: Path, tmp_path: Path, run: Run) -> None:
    table = write_csv(
        tmp_path / "t.csv", [(TEXTS[0], "x"), ("", "x"), ("letter", "x"), ("ab", "y")]
    )
    table.write_bytes(table.read_bytes().replace(b"letter", b"l\xe9tter"))
    out = tmp_path / "answers.csv"
    code, shown, _ = run("predict", model, table, "--out", out)
    assert code == 1
    assert "holds no text" in shown
    with out.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["row"] for row in found] == ["0", "1", "2", "3"]
    assert [bool(row["label"]) for row in found] == [True, False, False, True]
    assert [bool(row["error"]) for row in found] == [False, True, True, False]
    assert "0xe9 is not UTF-8" in found[2]["error"]
    assert 0 < float(found[0]["probability"]) <= 1
    best, *others = (answer.split("=") for answer in found[0]["top"].split(";"))
    assert best == [found[0]["label"], found[0]["probability"]]
    assert len(others) == 2
    with pytest.raises(UsageError, match="exists; nothing is overwritten"):
        skipstone.predict(model, [table], out=out)


def test_a_name_that_is_no_utf8_stands_in_the_table(model: Path, tmp_path: Path) -> None:
    file, out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")), tmp_path / "out.csv"
    file.write_text(TEXTS[0])
    skipstone.predict(model, [file], out=out)
    with out.open(encoding="utf-8", newline="") as table:
        (row,) = csv.DictReader(table)
    assert row["path"] == f"{tmp_path}/caf\\udce9.txt"
    assert row["label"]


class Answering:
    """A predictor that ends by each of `ends`, at its second source."""

    def __init__(self, *ends: BaseException) -> None:
        self.ends, self.asked = list(ends), list[str]()
        self.picture = np.zeros((4, 4, 3), np.uint8)
        self.input = SimpleNamespace(decode=lambda source: SimpleNamespace(value=self.picture))
        self.task = SimpleNamespace(render_files=lambda shown, answer: {"mask": (".png", b"png")})

    def list_sources(self, *names: str) -> list[tuple[Source, Path]]:
        return [(Inline(self.picture, name), Path(name)) for name in names]

    def stream_predictions(self, sources: list[Inline]) -> Iterator[Prediction]:
        for number, source in enumerate(sources):
            if number and self.ends:
                raise self.ends.pop(0)
            self.asked.append(source.name)
            yield Prediction(SampleMeta(number, source.name), {"label": "x"}, {})


def test_files_of_answers_are_there_once_all_are(tmp_path: Path) -> None:
    """Ctrl-C, a full disk: what was answered is kept, and the same command goes on."""
    out, names = tmp_path / "masks", ("a.jpg", "a.png", "in/b.png", "c.png")
    predictor: Any = Answering(KeyboardInterrupt(), OSError(errno.ENOSPC, "full"))
    named = predictor.list_sources(*names)
    to = {"model": "one"}
    for end in (KeyboardInterrupt, StorageError):
        with pytest.raises(end):
            write_predictions(predictor, named, out, PartialPredictions(out, to, 4, files=True))
        assert not out.exists()
    answers = write_predictions(predictor, named, out, PartialPredictions(out, to, 4, files=True))
    assert predictor.asked == list(names)
    files = [str(answer.fields["mask"]) for answer in answers if isinstance(answer, Prediction)]
    assert files == [str(out / name) for name in ("a.png", "a-2.png", "in/b.png", "c.png")]
    assert all(Path(file).read_bytes() == b"png" for file in files)
    assert [path.name for path in tmp_path.iterdir()] == ["masks"]


def test_an_empty_folder_is_filled_at_once_or_stays_empty(tmp_path: Path) -> None:
    predictor: Any = Answering(KeyboardInterrupt())
    named = predictor.list_sources("a.jpg", "b.jpg")
    (tmp_path / "masks").mkdir()
    out = tmp_path / "masks"
    with pytest.raises(KeyboardInterrupt):
        write_predictions(predictor, named, out, PartialPredictions(out, {}, 2, files=True))
    assert [*tmp_path.rglob("*")] == [out]
    write_predictions(predictor, named, out, PartialPredictions(out, {}, 2, files=True))
    assert [path.name for path in sorted(out.iterdir())] == ["a.png", "b.png"]


def test_answers_to_something_else_are_not_taken(tmp_path: Path) -> None:
    out = tmp_path / "masks"
    predictor: Any = Answering(KeyboardInterrupt())
    named = predictor.list_sources("a.jpg", "b.jpg")
    with pytest.raises(KeyboardInterrupt):
        write_predictions(
            predictor, named, out, PartialPredictions(out, {"model": "one"}, 2, files=True)
        )
    write_predictions(
        predictor, named, out, PartialPredictions(out, {"model": "two"}, 2, files=True)
    )
    assert predictor.asked == ["a.jpg", "a.jpg", "b.jpg"]


def test_answers_whose_files_are_gone_are_given_again(tmp_path: Path) -> None:
    out = tmp_path / "masks"
    predictor: Any = Answering(KeyboardInterrupt())
    named = predictor.list_sources("a.jpg", "b.jpg")
    with pytest.raises(KeyboardInterrupt):
        write_predictions(
            predictor, named, out, PartialPredictions(out, {"model": "one"}, 2, files=True)
        )
    shutil.rmtree(tmp_path / "masks.unfinished")
    write_predictions(
        predictor, named, out, PartialPredictions(out, {"model": "one"}, 2, files=True)
    )
    assert [path.name for path in sorted(out.iterdir())] == ["a.png", "b.png"]


def test_what_somebody_else_keeps_there_is_left_alone(tmp_path: Path) -> None:
    out, theirs = tmp_path / "masks", tmp_path / "masks.unfinished"
    theirs.mkdir()
    (theirs / "mine.png").write_bytes(b"mine")
    predictor: Any = Answering()
    named = predictor.list_sources("a.jpg", "b.jpg")
    with pytest.raises(UsageError, match=r"masks\.unfinished is in the way"):
        write_predictions(
            predictor, named, out, PartialPredictions(out, {"model": "one"}, 2, files=True)
        )
    (tmp_path / "masks.unfinished.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(DamagedError, match=r"masks\.unfinished\.jsonl is damaged"):
        write_predictions(
            predictor, named, out, PartialPredictions(out, {"model": "one"}, 2, files=True)
        )
    assert (theirs / "mine.png").read_bytes() == b"mine"
    assert not out.exists()


def test_a_stopped_table_goes_on(
    model: Path, expected: list[str], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_csv(tmp_path / "t.csv", [(text, "x") for text in TEXTS])
    out, kept = tmp_path / "answers.csv", tmp_path / "answers.csv.unfinished.jsonl"
    whole = Predictor.stream_predictions
    asked: list[int] = []

    def stopped(self: Predictor, sources: list[Source]) -> Iterator[Prediction | Failure]:
        asked.append(len(sources))
        for number, answer in enumerate(whole(self, sources)):
            if number == 5 and len(asked) < 3:
                raise KeyboardInterrupt
            yield answer

    monkeypatch.setattr(Predictor, "stream_predictions", stopped)
    for done in (5, 10):
        code, _, told = run("predict", model, table, "--out", out)
        assert code == 130
        assert not out.exists()
        assert f"{done} of 12 predictions are kept ({kept.name})" in " ".join(told.split())
    code, _, told = run("predict", model, table, "--out", out)
    assert code == 0
    assert "Resuming after 10 of 12 predictions" in " ".join(told.split())
    assert asked == [12, 7, 2]
    with out.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["label"] for row in found] == expected
    assert not kept.exists()
    monkeypatch.undo()
    run("predict", model, table, "--out", tmp_path / "at-once.csv")
    assert out.read_bytes() == (tmp_path / "at-once.csv").read_bytes()


def test_a_changed_file_or_row_begins_anew(tmp_path: Path) -> None:
    model = write_small(tmp_path / "bundle", goldens=False)
    file = tmp_path / "a.txt"
    file.write_text("one")
    first = prediction_key(model, "torch", [FileRef(file), Inline("text", "1")])
    assert prediction_key(model, "torch", [FileRef(file), Inline("text", "1")]) == first
    assert prediction_key(model, "onnx", [FileRef(file), Inline("text", "1")]) != first
    assert prediction_key(model, "torch", [FileRef(file), Inline("texts", "1")]) != first
    assert prediction_key(model, "torch", [FileRef(file, 1), Inline("text", "1")]) != first
    file.write_text("three")
    assert prediction_key(model, "torch", [FileRef(file), Inline("text", "1")]) != first


@pytest.mark.parametrize("end", ["killed", "two at once", "damaged"])
def test_what_is_kept_survives_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr("skipstone.workflows.prediction_files._SAVE_SECONDS", -1.0)
    out = tmp_path / "answers.csv"
    answers = [
        Prediction(SampleMeta(n, f"{n}.jpg", size=(4, 4)), {"label": str(n)}, {}) for n in (0, 1)
    ]
    bad = Failure("2.jpg", "damaged")
    first, second = (PartialPredictions(out, {"model": "one"}, 4, files=False) for _ in range(2))
    first.__enter__()  # and never left
    for answer in (*answers, bad):
        first.add_prediction(answer)
    (file,) = tmp_path.iterdir()
    if end == "two at once":
        with file.open("a") as lines:
            lines.write('{"from": 1, "answers": [{"name": "1.jpg", "error": "another\'s"}]}\n')
    if end == "damaged":
        file.write_bytes(file.read_bytes().replace(b'"fields"', b'"field"'))
        with pytest.raises(DamagedError, match=r"answers.csv.unfinished.jsonl is damaged"):
            second.__enter__()
        return
    with second:
        assert second.predictions == [*answers, replace(bad, index=2)]


def test_a_table_of_pictures(tmp_path: Path) -> None:
    photos = write_class_folder(tmp_path / "photos", 3) or tmp_path / "photos"
    model = write_small(tmp_path / "bundle", goldens=False)
    files = sorted((tmp_path / "photos").rglob("*.*"))
    names = [str(file.relative_to(tmp_path)) for file in files if file.is_file()]
    table = write_csv(tmp_path / "photos.csv", [(name, "?") for name in names], "path,label")
    told = skipstone.predict(model, [table]).to_json()["predictions"]
    alone = skipstone.predict(model, [tmp_path / name for name in names]).to_json()["predictions"]
    assert photos
    assert [row["label"] for row in told] == [row["label"] for row in alone]
    assert [row["row"] for row in told] == list(range(len(names)))
    assert told[0]["path"] == str(tmp_path / names[0])
    gone = write_csv(tmp_path / "gone.csv", [(names[0], "?"), (names[1], "?"), ("no.jpg", "?")])
    gone.write_text(gone.read_text().replace("text,label", "path,label"))
    result = skipstone.predict(model, [gone], path_column="path")
    assert result.exit_code == 1
    assert "error" in result.to_json()["predictions"][2]
    with pytest.raises(UsageError, match="this model's input is image"):
        skipstone.predict(model, texts=["a text"])


def test_nothing_is_refused(model: Path) -> None:
    with pytest.raises(UsageError, match="nothing to predict"):
        skipstone.predict(model)


def test_a_text_in_the_place_of_a_file_says_the_flag(model: Path, run: Run) -> None:
    found = run("predict", model, "Where is Paris?")
    assert found.code == 2
    assert "the file 'Where is Paris?' does not exist" in found.err
    assert "--text 'Where is Paris?'" in found.err


def test_a_folder_of_the_wrong_kind_is_one_sentence(
    model: Path, photo_folder: Path, run: Run
) -> None:
    found = run("predict", model, photo_folder)
    assert found.code == 2
    assert re.search(r"holds only \d+ files that are not text; nothing to predict", found.err)
    assert len(found.err.splitlines()) <= 3
