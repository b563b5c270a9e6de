"""Labels that were hardly meant as they stand: said, or refused where there is nothing to learn."""

from __future__ import annotations

from pathlib import Path

import pytest

from skipstone.core.errors import UsageError
from skipstone.data.manifest import Manifest
from skipstone.data.read import read_manifest
from tests.photos import make_photo, save_photo


def labelled(root: Path, *labels: str) -> Manifest:
    """A table of photos with these labels."""
    rows = ["path,label"]
    for number, label in enumerate(labels):
        path = save_photo(make_photo(number, "disc", (8, 8)), root / str(number))
        rows.append(f"{path.name},{label}")
    (root / "t.csv").write_text("\n".join(rows) + "\n")
    return read_manifest(root / "t.csv")


def test_labels_that_look_alike_are_said(tmp_path: Path) -> None:
    """Split folders by two people; nothing is merged."""
    names = ("train/Cat", "train/t-shirt", "test/cat", "test/T_shirt", "test/cow")
    for number, name in enumerate(names):
        save_photo(make_photo(number, "disc", (8, 8)), tmp_path / name / "1")
    manifest = read_manifest(tmp_path)
    assert len(manifest.schema["classes"]) == 5
    (said,) = [note for note in manifest.notes if "letter case" in note]
    assert "'Cat' (1) and 'cat' (1), 't-shirt' (1) and 'T_shirt' (1). Rename one" in said


def test_numbers_and_words_for_a_missing_label(tmp_path: Path) -> None:
    notes = " ".join(labelled(tmp_path, "1", "1.0", "2", "nan", "nan").notes)
    assert "separate classes: '1' (1) and '1.0' (1)." in notes
    assert "'nan' is the label of 2 rows and is treated as a class." in notes


def test_labels_that_differ_are_left_in_peace(tmp_path: Path) -> None:
    assert len(labelled(tmp_path, "1-2", "12", "-1", "1", "c", "c++", "NA", "none").notes) == 1


@pytest.mark.parametrize(
    ("label", "hint"), [("{}.5", "Regression is not supported"), ("id-{}", "Labels must recur")]
)
def test_labels_that_never_recur_are_refused(tmp_path: Path, label: str, hint: str) -> None:
    labels = [label.format(max(number, 1)) for number in range(20)]  # one of them twice
    with pytest.raises(UsageError, match=r"holds 19 distinct labels in 20 rows") as caught:
        labelled(tmp_path, *labels)
    assert hint in str(caught.value.hint)
    assert len(labelled(tmp_path, *labels[:-1])) == 19  # few rows: who knows
