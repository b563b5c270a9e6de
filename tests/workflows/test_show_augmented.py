"""--show-augmented writes one picture and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Run, run
from tests.text_data import rows, write_csv

__all__ = ["run"]


def test_a_contact_sheet(
    run: Run, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("train", photo_folder, "--model", "resnet20", "--size", 24, "--augment", "strong")
    done = run(*words, "--show-augmented", "sheet.png", "--json")
    assert done.code == 0, done.err
    assert done.json["file"] == "sheet.png"
    assert min(Image.open("sheet.png").size) > 200
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    assert "sheet.png" in run(*words, "--show-augmented", "sheet.png").out


def test_never_in_the_data(run: Run, photo_folder: Path) -> None:
    done = run("train", photo_folder, "--show-augmented", photo_folder / "sheet.png")
    assert done.code == 2
    assert "lies inside the data" in done.err


def test_a_page_of_texts(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    table = write_csv(tmp_path / "data/texts.csv", [("we <b>saw</b> " + t, c) for t, c in rows(30)])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "synonyms.csv").write_text("saw,met\n")
    words = ("train", table, "--model", "textcnn", "--synonym-table", "synonyms.csv")
    done = run(*words, "--synonyms", 1, "--show-augmented", "texts.html", "--json")
    assert done.code == 0, done.err
    assert done.json["augmentation"] == "augmentation 'none': synonyms 1"
    page = (tmp_path / "texts.html").read_text()
    assert page.count("<li><figure>") == 12
    assert page.count('<mark class="for s3">met</mark>') >= 12 * 4
    assert page.count('<del><mark class="against s1">saw</mark></del>') >= 12 * 4
    assert "&lt;b&gt;saw" not in page.replace("&lt;b&gt;saw&lt;/b&gt;", "")  # text, not markup
    assert "<b>saw" not in page
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "data",
        "synonyms.csv",
        "texts.html",
    ]
    picture = run(*words, "--show-augmented", "texts.png")
    assert picture.code == 2
    assert "--show-augmented texts.html" in picture.err


def test_models_that_are_solved_take_no_augmentation(run: Run, tmp_path: Path) -> None:
    table = write_csv(tmp_path / "texts.csv", rows(30))
    done = run("train", table, "--model", "logistic", "--augment", "light", "--out", tmp_path / "r")
    assert done.code == 2
    assert "logistic is solved at once" in done.err
    wrong = run("train", table, "--model", "textcnn", "--flip", 0.5, "--out", tmp_path / "r")
    assert wrong.code == 2
    assert "--flip is an option of augmentation of input image" in wrong.err
