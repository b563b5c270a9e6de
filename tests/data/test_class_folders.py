"""Class folders and split folders: what is read, what is passed over, what is refused."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from skipstone.core.errors import UsageError
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from tests.photos import make_photo, save_photo, write_class_folder


def photo(path: Path, seed: int = 0) -> Path:
    return save_photo(make_photo(seed, "disc", (8, 8)), path)


def test_flat_class_folders(flat_photo_folder: Path) -> None:
    manifest = read_manifest(flat_photo_folder)
    assert (manifest.reader, manifest.input, manifest.task) == (
        "class-folders",
        "image",
        "classify",
    )
    assert manifest.schema == {"classes": ["disc", "square", "stripes"]}
    assert Counter(manifest.column_values("target")) == {"disc": 20, "square": 20, "stripes": 20}
    assert set(manifest.column_values("split")) == {""}
    assert all(source.path.is_file() for source in manifest.list_sources())
    assert "60 pictures in 3 classes (disc, square, stripes)" in manifest.notes[0]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train", "validation"), {"train", "validation"}),
        (("Train", "VAL", "Test"), {"train", "validation", "test"}),
        (("training", "valid"), {"train", "validation"}),
        (("test",), {"test"}),
    ],
)
def test_split_folders_by_any_of_their_names(
    tmp_path: Path, names: tuple[str, ...], splits: set[str]
) -> None:
    for number, name in enumerate(names):
        photo(tmp_path / name / "cat" / "1", number)
        photo(tmp_path / name / "dog" / "1", number + 10)
    manifest = read_manifest(tmp_path)
    assert manifest.reader == "split-folders"
    assert set(manifest.column_values("split")) == splits
    assert len(manifest) == 2 * len(names)


def test_split_folders_whose_classes_are_links(tmp_path: Path) -> None:
    for number, (split, name) in enumerate((("train", "cat"), ("train", "dog"), ("test", "cat"))):
        photo(tmp_path / "all" / str(number) / "1", number)
        (tmp_path / "data" / split).mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / split / name).symlink_to(tmp_path / "all" / str(number))
    manifest = read_manifest(tmp_path / "data")
    assert manifest.reader == "split-folders"
    assert manifest.column_values("path") == [
        "train/cat/1.jpg",
        "train/dog/1.jpg",
        "test/cat/1.jpg",
    ]


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "valid"):
        photo(tmp_path / name / "cat" / "1")
    with pytest.raises(UsageError, match=r"both val and valid.*Merge"):
        read_manifest(tmp_path)


def test_a_class_named_train_is_a_class(tmp_path: Path) -> None:
    for name in ("bus", "train", "tram"):
        photo(tmp_path / name / "1")
    manifest = read_manifest(tmp_path)
    assert manifest.reader == "class-folders"
    assert manifest.schema["classes"] == ["bus", "train", "tram"]


def test_split_folders_beside_class_folders_need_a_decision(tmp_path: Path) -> None:
    for name in ("train/cat", "train/dog", "cat", "dog"):
        photo(tmp_path / name / "1")
    with pytest.raises(UsageError, match=r"--reader class-folders.*--reader split-folders"):
        read_manifest(tmp_path)
    flat = read_manifest(tmp_path, ReadOptions(reader="class-folders"))
    assert flat.schema["classes"] == ["cat", "dog", "train"]
    photo(tmp_path / "loose")
    split = read_manifest(tmp_path, ReadOptions(reader="split-folders"))
    assert len(split) == 2
    assert split.skipped_counts == {
        "pictures outside the split folders": 2,
        "pictures outside class folders": 1,
    }


def test_classes_sort_naturally_and_rows_do_not_depend_on_the_disk(tmp_path: Path) -> None:
    for name in ("c10", "c9", "C1", "a"):
        for number in (10, 2, 1):
            photo(tmp_path / name / f"img{number}")
    manifest = read_manifest(tmp_path)
    assert manifest.schema["classes"] == ["a", "C1", "c9", "c10"]
    assert manifest.column_values("path")[:3] == ["a/img1.jpg", "a/img2.jpg", "a/img10.jpg"]


def test_one_label_in_two_unicode_forms_is_one_class(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    photo(tmp_path / "train" / composed / "1")
    photo(tmp_path / "val" / decomposed / "1")
    photo(tmp_path / "train" / "tea" / "1")
    manifest = read_manifest(tmp_path)
    assert manifest.schema["classes"] == [composed, "tea"]
    assert all(source.path.is_file() for source in manifest.list_sources())


def test_types_come_from_bytes_and_the_rest_is_counted(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        photo(tmp_path / name / "1")
    cat = tmp_path / "cat"
    (cat / "1.jpg").rename(cat / "no_extension")
    photo(cat / "png", 3).rename(cat / "really.txt")
    (cat / ".DS_Store").write_bytes(b"x")
    (cat / "._1.jpg").write_bytes(b"x")
    (cat / "Thumbs.db").write_bytes(b"x")
    (cat / ".hidden.jpg").write_bytes((cat / "no_extension").read_bytes())
    (cat / ".git").mkdir()
    (cat / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    (cat / "video.jpg").write_bytes(b"\0\0\0\x18ftypisom")
    (cat / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic")
    (cat / "web.avif").write_bytes(b"\0\0\0\x18ftypavif")
    (cat / "anim.gif").write_bytes(b"GIF89a")
    (cat / "1.json").write_text("{}")
    (cat / "1.xml").write_text("<a/>")
    (cat / "model.bin").write_bytes(b"BM is how this begins")
    (cat / "camera.nef").write_bytes(b"MM\0*")
    (cat / "canon.tif").write_bytes(b"II*\0\x10\0\0\0CR\2\0")
    (cat / "canon.cr3").write_bytes(b"\0\0\0\x18ftypcrx ")
    (cat / "fuji.raf").write_bytes(b"FUJIFILMCCD-RAW 0201")
    (cat / "empty.jpg").write_bytes(b"")
    photo(tmp_path / "loose")
    manifest = read_manifest(tmp_path)
    # An empty .jpg claims to be a picture: it stays a row, and the audit names it.
    assert manifest.column_values("path") == [
        "cat/empty.jpg",
        "cat/no_extension",
        "cat/phone.jpg",
        "cat/really.txt",
        "dog/1.jpg",
    ]
    assert manifest.skipped_counts == {
        "system files (.DS_Store, ._*, Thumbs.db)": 3,
        "hidden files": 2,
        "videos": 2,
        "camera RAW photos (not read: export them as JPEG or TIFF)": 4,
        "AVIF pictures (not read: save them as JPEG)": 1,
        "GIF pictures (not read: save them as PNG)": 1,
        "sidecar files (text, JSON, XML, CSV)": 2,
        "other files": 1,
        "pictures outside class folders": 1,
    }


def test_deeper_folders_count_to_their_class_and_circles_of_links_end(tmp_path: Path) -> None:
    photo(tmp_path / "cat" / "indoor" / "1")
    photo(tmp_path / "cat" / "2")
    photo(tmp_path / "dog" / "1")
    (tmp_path / "dog" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "dog" / "cats").symlink_to(tmp_path / "cat")
    (tmp_path / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "dog" / "self").symlink_to(tmp_path / "dog" / "self")
    manifest = read_manifest(tmp_path)
    assert Counter(manifest.column_values("target")) == {"cat": 2, "dog": 1}
    assert any("deeper folders" in note for note in manifest.notes)


def test_an_empty_class_folder_is_said_and_no_class(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        photo(tmp_path / name / "1")
    (tmp_path / "emu").mkdir()
    manifest = read_manifest(tmp_path)
    assert manifest.schema["classes"] == ["cat", "dog"]
    assert "Folders without pictures are skipped: emu." in manifest.notes


def test_classes_that_a_split_lacks_are_said(tmp_path: Path) -> None:
    for name in ("train/cat", "train/dog", "val/cat", "val/emu"):
        photo(tmp_path / name / "1")
    notes = read_manifest(tmp_path).notes
    assert "train has no pictures of emu." in notes
    assert "validation has no pictures of dog." in notes


def test_an_unlabelled_test_folder_is_passed_over_and_said(tmp_path: Path) -> None:
    for name in ("train/cat/1", "train/dog/1", "test/1", "test/2"):
        photo(tmp_path / name)
    manifest = read_manifest(tmp_path)
    assert set(manifest.column_values("split")) == {"train"}
    assert manifest.skipped_counts == {"unlabelled pictures in a split folder": 2}
    assert any("2 pictures directly in a split folder" in note for note in manifest.notes)


def test_class_folders_may_be_read_as_tags(flat_photo_folder: Path) -> None:
    manifest = read_manifest(flat_photo_folder, ReadOptions(task="tag"))
    assert manifest.task == "tag"
    assert manifest.column_values("target")[0] == ["disc"]


def test_pictures_with_masks_are_not_two_classes(tmp_path: Path) -> None:
    for name in ("train/images", "train/masks"):
        photo(tmp_path / name / "1")
    with pytest.raises(UsageError, match="can be read; the first"):
        read_manifest(tmp_path)
    assert len(read_manifest(tmp_path, ReadOptions(reader="split-folders"))) == 2


def test_a_folder_of_data_sets_is_not_one(tmp_path: Path) -> None:
    for name in ("pets", "cars"):
        write_class_folder(tmp_path / name / "train", 1)
    with pytest.raises(UsageError, match=r"looks like a data set.*Give its path: .*cars"):
        read_manifest(tmp_path)


def test_folders_of_pictures_beside_a_table_are_no_classes(tmp_path: Path) -> None:
    """As competitions hand them out."""
    for folder in ("train_images", "test_images"):
        photo(tmp_path / folder / f"{folder[:2]}1")
        photo(tmp_path / folder / f"{folder[:2]}2")
    with pytest.raises(UsageError, match=r"look like parts of a data set.*--reader class-folders"):
        read_manifest(tmp_path)
    (tmp_path / "train.csv").write_text("id_code,diagnosis\ntr1,a\ntr2,b\n")
    table = tmp_path / "train.csv"
    with pytest.raises(
        UsageError, match=f"Give the table: skipstone train {re.escape(str(table))}"
    ):
        read_manifest(tmp_path)
    assert len(read_manifest(table)) == 2
    assert len(read_manifest(tmp_path, ReadOptions(reader="class-folders"))) == 4
    (tmp_path / "test_images").rename(tmp_path / "cat")
    with pytest.raises(UsageError, match=r"train_images looks like a part .* --exclude parts\.txt"):
        read_manifest(tmp_path)
