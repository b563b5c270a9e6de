"""Parts of a data set are never classes without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipstone.core.errors import UsageError
from skipstone.data.hint_commands import choose_training_part
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from tests.hints import follow_hint
from tests.photos import make_photo, save_photo


def write_photos(root: Path, folders: Sequence[str]) -> Path:
    for number, folder in enumerate(folders):
        for name in "ab":
            save_photo(make_photo(number, "disc", (8, 8)), root / folder / name, 2 * number)
    return root


def write_texts(root: Path, folders: Sequence[str]) -> Path:
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        (root / folder / "1.txt").write_text(f"text {number} of {folder}")
    return root


def each(parts: Sequence[str], labels: Sequence[str]) -> list[str]:
    return [f"{part}/{label}" for part in parts for label in labels]


PARTS_WITH_SPLITS = {
    "intel": [*each(["seg_train/seg_train", "seg_test/seg_test"], ["forest", "sea"]), "seg_pred"],
    "create ml": each(["Training Data", "Testing Data"], ["forest", "sea"]),
    "cyclegan": each(["trainSet", "testSet"], ["forest", "sea"]),
    "of images": each(["my_train/images", "my_val/images", "my_test/images"], ["forest", "sea"]),
}


@pytest.mark.parametrize("name", PARTS_WITH_SPLITS)
def test_parts_that_hold_the_same_classes_get_the_names_of_splits(
    tmp_path: Path, name: str
) -> None:
    root = write_photos(tmp_path / f"my {name}", PARTS_WITH_SPLITS[name])
    with pytest.raises(UsageError, match=r"the same folders \(forest, sea\) lie in") as error:
        read_manifest(root)
    manifest = follow_hint(error.value, tmp_path)
    assert manifest.schema["classes"] == ["forest", "sea"]
    assert {"train", "test"} <= set(manifest.column_values("split"))
    labels = ReadOptions(reader="class-folders")
    assert "forest" not in read_manifest(root, labels).schema["classes"]


@pytest.mark.parametrize(
    "folders",
    [
        each(["fold1", "fold2", "fold3"], ["cat", "dog"]),
        each(["amazon/images", "dslr/images"], ["cat", "dog"]),
        each(["photo", "sketch", "cartoon"], ["cat", "dog", "emu"]),
        [*each(["site a", "site b"], ["cat", "dog"]), "site c/cat", "site c/emu"],
    ],
)
def test_parts_without_the_names_of_splits_are_given_one_by_one(
    tmp_path: Path, folders: list[str]
) -> None:
    for root in (write_photos(tmp_path / "photos", folders), write_texts(tmp_path / "t", folders)):
        with pytest.raises(
            UsageError, match=r"the same folders .* --reader class-folders"
        ) as error:
            read_manifest(root)
        assert follow_hint(error.value, tmp_path).schema["classes"][:2] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("parts", "splits"),
    [
        (["train", "test"], {"train", "test"}),
        (["Train", "Val", "Test"], {"train", "validation", "test"}),
        (["training", "dev"], {"train", "validation"}),
    ],
)
def test_classes_that_hold_parts_are_turned_round(
    tmp_path: Path, parts: list[str], splits: set[str]
) -> None:
    root = write_photos(tmp_path / "my data", each(["cat", "hot dog"], parts))
    with pytest.raises(UsageError, match="the same folders") as error:
        read_manifest(root)
    manifest = follow_hint(error.value, tmp_path)
    assert manifest.schema["classes"] == ["cat", "hot dog"]
    assert set(manifest.column_values("split")) == splits
    assert len(manifest) == 4 * len(parts)


def test_classes_that_hold_the_same_sessions_are_asked_about(tmp_path: Path) -> None:
    root = write_photos(tmp_path / "photos", each(["cat", "dog"], ["2019", "2020"]))
    with pytest.raises(UsageError, match=r"the same folders \(2019, 2020\) lie in cat, dog"):
        read_manifest(root)
    manifest = read_manifest(root, ReadOptions(reader="class-folders"))
    assert Counter(manifest.column_values("target")) == {"cat": 4, "dog": 4}


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (["cat/images", "dog/images"], ["cat", "dog"]),
        (["dog/poodle", "dog/beagle", "cat/siamese", "cat/other"], ["cat", "dog"]),
        (["bus", "train", "tram"], ["bus", "train", "tram"]),
        (["a/x/other", "b/y", "c/z", "d/other", "e/other"], ["a", "b", "c", "d", "e"]),
        (["test tube", "train station"], ["test tube", "train station"]),
    ],
)
def test_classes_with_folders_of_their_own_are_read(
    tmp_path: Path, folders: list[str], classes: list[str]
) -> None:
    root = write_photos(tmp_path / "photos", folders)
    assert read_manifest(root).schema["classes"] == classes


@pytest.mark.parametrize(
    "folders",
    [
        ["train/pos", "train/neg", "train/unsup", "test/pos", "test/neg"],
        ["pos", "neg", "unlabeled"],
        ["pos", "neg", "test_set"],
        ["pos", "neg", "seg_pred"],
    ],
)
def test_a_part_among_classes_is_left_out_by_the_hint(tmp_path: Path, folders: list[str]) -> None:
    for root in (write_photos(tmp_path / "photos", folders), write_texts(tmp_path / "t", folders)):
        with pytest.raises(UsageError, match=r"looks like a part .* --exclude parts\.txt") as error:
            read_manifest(root)
        assert follow_hint(error.value, tmp_path).schema["classes"] == ["neg", "pos"]


@pytest.mark.parametrize("depth", ["", "train/"])
def test_a_folder_that_an_archive_holds_twice(tmp_path: Path, depth: str) -> None:
    labels = ["infected", "healthy", "other", "unclear", "none"]
    folders = [*labels, *(f"cells/{label}" for label in labels)]
    root = write_photos(tmp_path / "photos", [f"{depth}{folder}" for folder in folders])
    with pytest.raises(UsageError, match="cells holds the same folders") as error:
        read_manifest(root)
    assert follow_hint(error.value, tmp_path).schema["classes"] == sorted(labels)


@pytest.mark.parametrize("folders", [["fold1", "fold2"], ["trainA", "trainB"], ["val", "pred"]])
def test_parts_alone_are_no_classes(tmp_path: Path, folders: list[str]) -> None:
    root = write_photos(tmp_path / "photos", folders)
    with pytest.raises(UsageError, match="look like parts of a data set"):
        read_manifest(root)


@pytest.mark.parametrize(
    "names",
    [
        ("img.png", "label.png", "label_viz.png"),
        ("image.png", "mask.png"),
        ("rgb.jpg", "gt.png"),
    ],
)
def test_a_folder_per_picture_with_its_mask(tmp_path: Path, names: tuple[str, ...]) -> None:
    root = tmp_path / "my shots"
    for number in range(6):
        folder = root / f"shot{number}_json"
        folder.mkdir(parents=True)
        for name in names:
            noise = np.random.default_rng(number).integers(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(noise).save(folder / name)
        mask = np.zeros((32, 32), np.uint8)
        mask[8:20, 8:20] = 1
        Image.fromarray(mask).save(folder / names[1])
    with pytest.raises(UsageError, match=r"each folder holds .*--reader") as error:
        read_manifest(root)
    manifest = follow_hint(error.value, tmp_path)
    assert (manifest.reader, len(manifest)) == ("mask-folders", 6)


def test_a_folder_per_picture_with_folders_of_masks(tmp_path: Path) -> None:
    root = write_photos(tmp_path / "cells", each(["1f0", "2a7", "99b"], ["images", "masks"]))
    with pytest.raises(UsageError, match="each folder holds images/, masks/"):
        read_manifest(root)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["test/_classes.csv", "train/_classes.csv", "valid/_classes.csv"], "train/_classes.csv"),
        (["sample_submission.csv", "test.csv", "train.csv"], "train.csv"),
        (["dev.csv", "labels.csv"], "labels.csv"),
    ],
)
def test_a_hint_prefers_the_training_part(names: list[str], chosen: str) -> None:
    assert choose_training_part([Path(name) for name in names]) == Path(chosen)
