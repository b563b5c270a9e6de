"""IDX files: the reader, single members, and damage."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from skipstone.core.errors import DataError, UsageError
from skipstone.data.idx_files import _read, read_idx
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.data.sources import FileRef, read_source
from tests.photos import write_idx


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)


def write_pair(root: Path, split: str, pictures: np.ndarray, suffix: str = "") -> None:
    write_idx(root / f"{split}-images-idx3-ubyte{suffix}", pictures)
    write_idx(root / f"{split}-labels-idx1-ubyte{suffix}", np.arange(len(pictures)) % 3)


def test_train_and_t10k(idx_folder: Path) -> None:
    manifest = read_manifest(idx_folder)
    assert (manifest.reader, manifest.task) == ("idx", "classify")
    assert Counter(manifest.column_values("split")) == {"train": 48, "test": 18}
    assert manifest.schema == {"classes": ["0", "1", "2"]}
    assert manifest.column_values("member")[:3] == [0, 1, 2]
    assert "48 pictures 20x16 in train" in manifest.notes[0]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("split", ["train", "t10k"])
def test_one_split_alone(tmp_path: Path, pictures: np.ndarray, split: str, suffix: str) -> None:
    write_pair(tmp_path, split, pictures, suffix)
    manifest = read_manifest(tmp_path)
    assert set(manifest.column_values("split")) == {"train" if split == "train" else "test"}
    for row, source in enumerate(manifest.list_sources()):
        member = read_source(source)
        assert isinstance(member, np.ndarray)
        assert member.shape == (5, 4, 1)
        np.testing.assert_array_equal(member[:, :, 0], pictures[row])


def test_colour_and_the_other_spelling_of_the_name(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (4, 5, 4, 3), dtype=np.uint8)
    write_idx(tmp_path / "train-images.idx4-ubyte", colour)
    write_idx(tmp_path / "train-labels.idx1-ubyte", np.arange(4) % 2)
    manifest = read_manifest(tmp_path)
    np.testing.assert_array_equal(read_source(manifest.source_at(2)), colour[2])


def test_the_path_of_one_images_file(idx_folder: Path) -> None:
    manifest = read_manifest(idx_folder / "t10k-images-idx3-ubyte.gz")
    assert (set(manifest.column_values("split")), len(manifest)) == ({"test"}, 18)


def test_two_data_sets_in_a_folder_are_refused(tmp_path: Path, pictures: np.ndarray) -> None:
    write_pair(tmp_path, "emnist-letters-train", pictures)
    write_pair(tmp_path, "emnist-digits-train", pictures)
    with pytest.raises(UsageError, match="2 data sets"):
        read_manifest(tmp_path)
    assert len(read_manifest(tmp_path / "emnist-digits-train-images-idx3-ubyte")) == 6


def test_labels_missing_or_of_another_length(tmp_path: Path, pictures: np.ndarray) -> None:
    write_pair(tmp_path, "train", pictures)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.arange(5))
    with pytest.raises(DataError, match=r"6 pictures but .* labels of shape \(5,\)"):
        read_manifest(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="no labels file") as caught:
        read_manifest(tmp_path)
    assert "Add it as train-labels-idx1-ubyte, or move" in str(caught.value.hint)
    (tmp_path / "train-images-idx3-ubyte").rename(tmp_path / "train-images-idx3-ubyt")
    write_idx(tmp_path / "T10K.labels.idx1-ubyte", np.arange(5))
    with pytest.raises(DataError, match="no images file") as caught:
        read_manifest(tmp_path)
    assert "as T10K.images-idx3-ubyte, or" in str(caught.value.hint)


def test_only_one_label_each(tmp_path: Path, pictures: np.ndarray) -> None:
    write_pair(tmp_path, "train", pictures)
    with pytest.raises(UsageError, match="--task classify"):
        read_manifest(tmp_path, ReadOptions(task="tag"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\x08\x03\0\0\0\x06\0\0\0\x05\0\0\0\x04" + b"x" * 119, "holds 119"),
        (b"\0\0\x08\x03\0\0\0\x06\0\0\0\x05\0\0\0\x04" + b"x" * 121, "holds more"),
        (b"\0\0\x08\x03\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x04", "too short"),
        (b"\0\0\x08\x03\0\0", "ends inside its header"),
        (b"\0\0\x0d\x03\0\0\0\0", "type 0x0d"),
        (b"\0\0\x08\x09\0\0\0\0", "9 dimensions"),
        (b"hello", "not an IDX file"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x05hello", mtime=0)[:-4], "cannot be read"),
        (b"\x1f\x8bnonsense", "cannot be read"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(data)
    with pytest.raises(DataError, match=words) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_members_that_do_not_exist(idx_folder: Path) -> None:
    path = idx_folder / "t10k-images-idx3-ubyte.gz"
    for member in (18, -1):
        with pytest.raises(DataError, match="does not exist"):
            read_source(FileRef(path, member))
    with pytest.raises(DataError, match="pictures have 3"):
        read_source(FileRef(idx_folder / "t10k-labels-idx1-ubyte.gz", 0))


def test_a_file_is_unpacked_once_and_again_when_it_changes(
    tmp_path: Path, pictures: np.ndarray
) -> None:
    path = write_idx(tmp_path / "a.gz", pictures)
    first = read_idx(path)
    assert read_idx(path) is first
    assert not first.flags.writeable
    write_idx(path, pictures[:3])
    assert len(read_idx(path)) == 3
    _read.cache_clear()
