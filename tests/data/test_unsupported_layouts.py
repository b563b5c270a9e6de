"""Annotation files, and masks among the pictures of class folders."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from skipstone.core.errors import UsageError
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from tests.mask_data import make_scene, save_mask, write_scenes
from tests.photos import make_photo, save_photo


def write(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        save_photo(make_photo(number, "disc", (8, 8)), root / name)
    return root


@pytest.mark.parametrize("split", ["", "train/"])
@pytest.mark.parametrize("ending", ["_mask", "_mask_1", "-seg"])
def test_masks_among_the_pictures_of_classes(tmp_path: Path, split: str, ending: str) -> None:
    """As ultrasound and MRI sets are handed out; what is said to be typed works."""
    names = [f"{split}{kind}/{kind} ({n})" for kind in ("benign", "malignant") for n in range(3)]
    root = write(tmp_path / "the data", *names, *(f"{name}{ending}" for name in names[1:]))
    with pytest.raises(UsageError, match=r"5 of 11 pictures are masks of others") as caught:
        read_manifest(root)
    find = re.search(r"exclude the masks: (.*), and add --exclude", str(caught.value.hint))
    assert find is not None
    subprocess.run(find[1], shell=True, check=True, cwd=tmp_path)
    manifest = read_manifest(root, ReadOptions(exclude=str(tmp_path / "masks.txt")))
    assert manifest.column_values("path") == [f"{name}.jpg" for name in names]
    reader = "split-folders" if split else "class-folders"
    assert len(read_manifest(root, ReadOptions(reader=reader))) == 11


def test_two_folders_of_which_one_is_masks(tmp_path: Path) -> None:
    root = write_scenes(tmp_path, 3)
    (root / "images").rename(root / "raw")
    (root / "masks").rename(root / "raw_masks")
    with pytest.raises(UsageError, match=r"raw, raw_masks with equal file names") as caught:
        read_manifest(root)
    assert "--reader mask-folders --images raw --masks raw_masks." in str(caught.value.hint)
    options = ReadOptions(reader="mask-folders", images="raw", masks="raw_masks")
    assert len(read_manifest(root, options)) == 3


def test_masks_beside_pictures_without_labels(tmp_path: Path) -> None:
    write(tmp_path, "1", "1_mask", "2", "2_mask")
    with pytest.raises(UsageError, match=r"such as 1.jpg and 1_mask.jpg, and no labels"):
        read_manifest(tmp_path)


def test_classes_that_are_about_masks_are_classes(tmp_path: Path) -> None:
    for number, (one, other) in enumerate(
        (("with_mask/1", "without_mask/1"), ("mask/a", "face/b"), ("gas/gasmask", "gas2/gas"))
    ):
        manifest = read_manifest(write(tmp_path / str(number), one, other))
        assert len(manifest.schema["classes"]) == 2


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_manifest(path)
    return str(caught.value)


FORMS = {
    "tasks.json": ('[{"id": 1, "annotations": [{"completed_by": 1}]}]', "a Label Studio export"),
    "min.json": ('[{"image": "/data/1.jpg", "annotator": 1, "annotation_id": 2}]', "Label Studio"),
    "1.json": ('{"version": "5.0", "shapes": [{"points": [[1, 2]]}]}', "a LabelMe file"),
    "via.json": ('{"_via_settings": {"ui": {}}}', "VGG Image Annotator"),
    "annotations.xml": ("<?xml?><annotations><version>1.1</version>", "a CVAT export"),
    "data.yaml": ("train: ../train\nnc: 2\nnames: [a, b]\n", "a YOLO data set"),
}


@pytest.mark.parametrize("name", FORMS)
def test_boxes_and_outlines_are_refused_by_the_name_of_their_form(
    tmp_path: Path, name: str
) -> None:
    """In whichever layout: alone, beside one folder of pictures, below splits."""
    text, words = FORMS[name]
    for number, (root, pictures) in enumerate(
        (("one", ["images/a"]), ("two", ["train2017/a", "val2017/a"]), ("three", ["train/a"]))
    ):
        for picture in pictures:
            write(tmp_path / root, picture)
        file = tmp_path / root / ("annotations", "labels/train", "train")[number] / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        for path in (tmp_path / root, file):
            said = refused(path)
            assert str(file) in said
            assert words in said
            assert "which is not supported" in said
    write(tmp_path / "one" / "more", "b")
    assert len(read_manifest(tmp_path / "one", ReadOptions(reader="class-folders"))) == 2


def test_other_texts_beside_pictures_are_no_annotations(tmp_path: Path) -> None:
    write(tmp_path / "cat", "1")
    for name, text in (("a.json", '{"a": 1}'), ("a.txt", "7 lives\n"), ("a.xml", "<x/>")):
        (tmp_path / "cat" / name).write_text(text)
    assert "only one class (cat)" in refused(tmp_path)


def test_masks_beside_pictures_without_class_folders_are_named(tmp_path: Path) -> None:
    """As in Carvana: train and train_masks, which are GIF."""
    write_scenes(tmp_path, 4)
    (tmp_path / "images").rename(tmp_path / "train")
    for path in sorted((tmp_path / "masks").iterdir()):
        Image.open(path).save(path.with_name(f"{path.stem}_mask.gif"))
        path.unlink()
    (tmp_path / "masks").rename(tmp_path / "train masks")
    with pytest.raises(UsageError, match="train and train masks: by their names") as caught:
        read_manifest(tmp_path)
    assert "add --images train --masks 'train masks'" in str(caught.value.hint)
    options = ReadOptions(images="train", masks="train masks")
    assert len(read_manifest(tmp_path, options)) == 4


@pytest.mark.parametrize("kind", ["index", "palette", "colour"])
def test_masks_in_a_folder_of_any_name_are_no_class(tmp_path: Path, kind: str) -> None:
    """As in CamVid: the folder's name does not tell, but its files have few colours."""
    write_scenes(tmp_path, 4, kind=kind)
    (tmp_path / "images").rename(tmp_path / "stills")
    (tmp_path / "masks").rename(tmp_path / "approved")
    for path in sorted((tmp_path / "approved").iterdir()):
        path.rename(path.with_name(f"{path.stem}_L.png"))
    with pytest.raises(UsageError, match="look like pictures and their masks") as caught:
        read_manifest(tmp_path)
    assert "--images stills --masks approved." in str(caught.value.hint)
    assert len(read_manifest(tmp_path, ReadOptions(images="stills", masks="approved"))) == 4
    for path in sorted((tmp_path / "approved").iterdir()):  # two classes of photos with equal names
        save_mask(make_scene(1)[1], path)
        Image.open(tmp_path / "stills" / path.name.replace("_L", "")).save(path)
    assert read_manifest(tmp_path).schema["classes"] == ["approved", "stills"]


def test_pictures_in_a_format_that_is_not_read_are_named(tmp_path: Path) -> None:
    write_scenes(tmp_path, 3)
    for path in sorted((tmp_path / "images").iterdir()):
        Image.open(path).save(path.with_suffix(".gif"))
        path.unlink()
    with pytest.raises(UsageError, match="images holds 3 GIF pictures") as caught:
        read_manifest(tmp_path)
    assert "-format png" in str(caught.value.hint)
