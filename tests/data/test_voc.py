"""Pascal VOC files as tools and people leave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipstone.core.errors import DataError, UsageError
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.data.readers.box_rows import OTHER_SIZE, WITHOUT_BOXES, WITHOUT_PHOTO
from tests.box_data import Box, make_scenes, voc_text, write_voc

SIZE = (60, 40)  # width, height


def save_photo(path: Path, size: tuple[int, int] = SIZE, orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.full((size[1], size[0], 3), 90, np.uint8)).save(path, exif=exif)
    return path


def write_one(
    root: Path, *objects: tuple[str, Box], size: tuple[int, int] | None = SIZE, extra: str = ""
) -> Path:
    """A usual photo with its annotation, and "odd" with these objects."""
    for name, boxes in (("usual", [("cat", (1, 1, 9, 9))]), ("odd", list(objects))):
        save_photo(root / "images" / f"{name}.jpg")
        (root / "annotations").mkdir(exist_ok=True)
        text = voc_text(boxes, size, extra=extra)
        (root / "annotations" / f"{name}.xml").write_text(text)
    return root


def odd_boxes(manifest: Manifest) -> list[list[float]]:
    paths = manifest.column_values("path")
    target = manifest.column_values("target")[paths.index("images/odd.jpg")]
    return [item["box"] for item in target]


def test_folders_beside_each_other(tmp_path: Path) -> None:
    scenes = make_scenes(5)
    manifest = read_manifest(write_voc(tmp_path / "data", scenes))
    assert (manifest.reader, manifest.input, manifest.task) == ("voc", "image", "detect")
    assert dict(manifest.schema) == {"classes": ["disc", "square"]}
    assert len(manifest) == 5
    for path, target in zip(
        manifest.column_values("path"), manifest.column_values("target"), strict=True
    ):
        objects = scenes[Path(path).stem].objects
        assert [(item["label"], tuple(item["box"])) for item in target] == list(objects)
    assert "Read as Pascal VOC: 5 photos" in manifest.notes[0]


@pytest.mark.parametrize("inner", ["{}/images {}/annotations", "{} {}", "images/{} labels/{}"])
def test_splits_are_named_by_folders(tmp_path: Path, inner: str) -> None:
    for split, count in (("train", 4), ("val", 2), ("test", 1)):
        photos, boxes = inner.format(split, split).split()
        write_voc(tmp_path, make_scenes(count), photos, boxes)
    manifest = read_manifest(tmp_path)
    splits = manifest.column_values("split")
    assert [splits.count(name) for name in ("train", "validation", "test")] == [4, 2, 1]


def test_lists_of_the_devkit_are_the_splits(tmp_path: Path) -> None:
    write_voc(tmp_path, make_scenes(4), "JPEGImages", "Annotations")
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("0\n1\n")
    (lists / "val.txt").write_text("2\n")
    manifest = read_manifest(tmp_path)
    assert manifest.column_values("split") == ["train", "train", "validation"]


def test_boxes_that_cannot_be_meant_are_corrected_and_counted(tmp_path: Path) -> None:
    root = write_one(
        tmp_path,
        ("cat", (30, 30, 10, 20)),  # swapped
        ("cat", (50, 30, 99, 99)),  # past the border
        ("cat", (5, 5, 5, 9)),  # no area
        ("dog", (1, 2, 3, 4)),
        ("dog", (1, 2, 3, 4)),  # twice
    )
    manifest = read_manifest(root)
    assert odd_boxes(manifest) == [[10, 20, 30, 30], [50, 30, 60, 40], [1, 2, 3, 4]]
    text = " ".join(manifest.notes)
    for words in ("with swapped corners", "past the border", "without area", "listed twice"):
        assert f"1 box {words}" in text


def test_difficult_objects_are_marked(tmp_path: Path) -> None:
    root = write_one(tmp_path, ("cat", (1, 1, 9, 9)), extra="<difficult>1</difficult>")
    target = read_manifest(root).column_values("target")[0]
    assert [item["difficult"] for item in target] == [True]


def test_photos_without_objects_are_negatives(tmp_path: Path) -> None:
    manifest = read_manifest(write_one(tmp_path))
    assert odd_boxes(manifest) == []
    assert "1 photo without objects" in manifest.notes[0]


def test_what_has_no_partner_is_left_out_and_named(tmp_path: Path) -> None:
    root = write_one(tmp_path, ("cat", (1, 1, 9, 9)))
    save_photo(root / "images" / "new.jpg")
    (root / "annotations" / "gone.xml").write_text(voc_text([("cat", (1, 1, 9, 9))], SIZE))
    manifest = read_manifest(root)
    assert manifest.unpaired_files[WITHOUT_BOXES] == ("images/new.jpg",)
    assert manifest.unpaired_files[WITHOUT_PHOTO] == ("annotations/gone.xml",)
    assert any("1 annotations without a photo" in note for note in manifest.notes)


def test_annotations_of_another_size_are_left_out(tmp_path: Path) -> None:
    root = write_one(tmp_path, ("cat", (1, 1, 9, 9)))
    (root / "annotations" / "odd.xml").write_text(voc_text([("cat", (1, 1, 9, 9))], (600, 400)))
    manifest = read_manifest(root)
    assert manifest.unpaired_files[OTHER_SIZE] == ("images/odd.jpg",)
    assert len(manifest) == 1


@pytest.mark.parametrize("size", [None, (0, 0)])
def test_tools_that_state_no_size(tmp_path: Path, size: tuple[int, int] | None) -> None:
    manifest = read_manifest(write_one(tmp_path, ("cat", (50, 30, 70, 50)), size=size))
    assert odd_boxes(manifest) == [[50, 30, 60, 40]]


def write_oriented(root: Path, orientation: int, size: tuple[int, int] | None) -> Path:
    write_one(root, ("cat", (10, 4, 20, 12)), size=size)
    save_photo(root / "images" / "odd.jpg", orientation=orientation)
    (root / "annotations" / "usual.xml").unlink()
    return root


@pytest.mark.parametrize("orientation", range(2, 9))
def test_boxes_of_the_stored_picture_turn_with_it(tmp_path: Path, orientation: int) -> None:
    """As Pillow's own transposition turns a picture with a white box."""
    from PIL import ImageOps

    root = write_oriented(tmp_path, orientation, SIZE)
    manifest = read_manifest(root, ReadOptions(box_frame="stored"))
    pixels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    pixels[4:12, 10:20] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    (root / "mask.png").parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(root / "mask.png", exif=exif)
    with Image.open(root / "mask.png") as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    rows, columns = np.nonzero(upright)
    expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert odd_boxes(manifest) == [expected]


def test_stated_sizes_say_which_picture_the_boxes_belong_to(tmp_path: Path) -> None:
    stored = read_manifest(write_oriented(tmp_path / "a", 6, SIZE))
    assert odd_boxes(stored) == [[28, 10, 36, 20]]
    shown = read_manifest(write_oriented(tmp_path / "b", 6, SIZE[::-1]))
    assert odd_boxes(shown) == [[10, 4, 20, 12]]
    assert any("as it is shown" in note for note in shown.notes)


def test_orientations_that_leave_it_open_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="turned by an EXIF orientation") as caught:
        read_manifest(write_oriented(tmp_path, 3, SIZE))
    assert "--box-frame shown" in str(caught.value.hint)


def test_errors_name_the_file(tmp_path: Path) -> None:
    root = write_one(tmp_path, ("cat", (1, 1, 9, 9)))
    odd = root / "annotations" / "odd.xml"
    odd.write_text(voc_text([("cat", ("x", 1, 2, 3))], SIZE))  # type: ignore[list-item]
    with pytest.raises(DataError, match=r"odd\.xml: object 1 has no box of numbers"):
        read_manifest(root)
    odd.write_text("<annotation><size>")
    with pytest.raises(DataError, match=r"odd\.xml cannot be read"):
        read_manifest(root, ReadOptions(reader="voc"))
    odd.write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotation><size/></annotation>')
    with pytest.raises(DataError, match="declares a document type"):
        read_manifest(root, ReadOptions(reader="voc"))


def test_two_photos_of_one_name_are_refused(tmp_path: Path) -> None:
    root = write_one(tmp_path, ("cat", (1, 1, 9, 9)))
    save_photo(root / "images" / "odd.png")
    (root / "annotations" / "odd.xml").write_text(voc_text([], SIZE, name="other.jpg"))
    with pytest.raises(UsageError, match="may describe"):
        read_manifest(root)


def test_another_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not use boxes") as caught:
        read_manifest(write_voc(tmp_path, make_scenes(3)), ReadOptions(task="segment"))
    assert "--task detect" in str(caught.value.hint)
