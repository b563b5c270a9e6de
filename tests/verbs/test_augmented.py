"""--show-augmented writes one picture and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Run, run

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
