"""One small data set and one trained model, which every page's commands begin with."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from skipstone.audio.goldens import write_wav
from tests.box_data import make_scenes, write_voc
from tests.hf_models import write_encoder
from tests.high_depth_pictures import write_stripes
from tests.mask_data import write_scenes
from tests.photos import CLASSES, make_photo, save_photo, write_idx_folder, write_tag_table
from tests.pipelines.command import SMALL, Answer, ask
from tests.recordings import RATE, make_recording, write_recording, write_recording_folders
from tests.text_data import FILLER, rows, write_csv
from tests.vector_data import glove, table


@dataclass(frozen=True)
class Trained:
    """A run, the answer of `skipstone train` with `--json`, and its data."""

    data: Path
    run: Path
    answer: Answer


@pytest.fixture(autouse=True, scope="session")
def _quick(short_races: None) -> None:
    """The machine may be busy with other tests."""


def write_photos(root: Path, train: int, validation: int) -> Path:
    """train/<class>/ and validation/<class>/ with so many coloured photos each."""
    for kind in CLASSES:
        for number in range(train):
            save_photo(make_photo(number, kind), root / "train" / kind / f"{number:02d}", number)
        for number in range(validation):
            photo = make_photo(500 + number, kind)
            save_photo(photo, root / "validation" / kind / f"{number:02d}", number)
    return root


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Sure of its answers, so that INT8 changes none of them."""
    root = tmp_path_factory.mktemp("trained")
    data = write_photos(root / "photos", 16, 4)
    answer = ask("train", data, "--out", root / "runs", *SMALL, "--epochs", "12")
    assert answer.code == 0, answer
    return Trained(data, Path(answer.value["run"]), answer)


@pytest.fixture
def workplace(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a page, as `write_workplace` makes it."""
    write_workplace(tmp_path, trained)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_workplace(root: Path, trained: Trained) -> None:
    """photos/, photo.jpg, labels.csv, tags.csv, mnist/, cells/, scenes/, shelves/, sounds/,
    sound.wav, long.wav, texts.csv, vectors.txt, words.csv, encoder/, letter.txt, runs/001."""
    write_photos(root / "photos", 6, 2)
    save_photo(make_photo(9, "disc"), root / "photo")
    _write_tables(root)
    write_idx_folder(root / "mnist", 24, 12)
    write_stripes(root / "cells", 16)
    write_scenes(root / "scenes", 8)
    write_voc(root / "shelves", make_scenes(24))
    write_recording_folders(root / "sounds", 16)
    write_recording(root / "sound.wav", 99, "low")
    long = [
        make_recording(number, kind) for number, kind in enumerate(("low", "high", "low", "high"))
    ]
    (root / "long.wav").write_bytes(write_wav(np.concatenate(long), RATE))
    write_csv(root / "texts.csv", rows(60))
    glove(root / "vectors.txt", table(FILLER, 8))
    (root / "words.csv").write_text("saw,met,noticed\ntoday,now\n")
    write_encoder(root / "encoder")
    (root / "letter.txt").write_text("we saw the dog and a horse")
    shutil.copytree(trained.run, root / "runs" / "001")


def _write_tables(root: Path) -> None:
    write_tag_table(root, 24, separator=";").rename(root / "tags.csv")
    rows = ["path,label,patient"]
    for path in sorted((root / "photos" / "train").rglob("*.*")):
        rows.append(f"{path.relative_to(root).as_posix()},{path.parent.name},{path.stem}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
