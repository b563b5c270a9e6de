"""Defects planted in masks are found, each by name, and nothing else is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipstone.data.findings import Finding
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.data.readers.mask_audit import audit_masks, inspect_masks
from tests.mask_data import make_scene, save_mask, write_classes, write_scenes


def found(root: Path, **options: str) -> dict[str, Finding]:
    findings, _ = audit_masks(read_manifest(root, ReadOptions(**options)))  # type: ignore[arg-type]
    assert len({finding.kind for finding in findings}) == len(findings)
    return {finding.kind: finding for finding in findings}


def test_nothing_is_wrong_with_good_masks(tmp_path: Path) -> None:
    assert found(write_scenes(tmp_path, 4)) == {}
    shares = inspect_masks(read_manifest(tmp_path)).class_shares()
    masks = np.stack([make_scene(seed)[1] for seed in range(4)])
    assert list(shares.values()) == pytest.approx([(masks == code).mean() for code in range(3)])


def test_planted_defects(tmp_path: Path) -> None:
    write_scenes(tmp_path, 8)
    masks = tmp_path / "masks"
    (masks / "00.png").write_bytes((masks / "00.png").read_bytes()[:60])
    odd = make_scene(1)[1]
    odd[:2, :5] = 77
    save_mask(odd, masks / "01.png")
    save_mask(make_scene(2)[1][:40], masks / "02.png")
    save_mask(np.full((48, 64), 255, np.uint8), masks / "03.png")
    (masks / "04.png").unlink()
    (tmp_path / "images" / "05.png").unlink()
    with (tmp_path / "classes.csv").open("a") as file:
        file.write("5,unicorn,,9,9,9\n")
    findings = found(tmp_path)
    assert {kind: finding.paths for kind, finding in findings.items()} == {
        "mask_unreadable": ("images/00.png",),
        "mask_values": ("images/01.png",),
        "mask_size": ("images/02.png",),
        "mask_empty": ("images/03.png",),
        "mask_class_missing": (),
        "picture_without_mask": ("images/04.png",),
        "mask_without_picture": ("masks/05.png",),
    }
    assert findings["mask_values"].rows == (1,)
    assert findings["mask_values"].notes[0].startswith("masks/01.png: 10 pixels hold 77")
    assert "10 pixels hold 77" in findings["mask_values"].message
    assert "64 x 40 pixels, the picture 64 x 48" in findings["mask_size"].message
    assert "unicorn" in findings["mask_class_missing"].message


def test_a_turned_picture_and_a_class_that_is_not_trained(tmp_path: Path) -> None:
    for split, start in (("train", 0), ("val", 4)):
        write_scenes(tmp_path / split, 4, start=start, table=False)
    write_classes(tmp_path)
    for number in range(4):
        mask = make_scene(number)[1]
        mask[mask == 2] = 1
        save_mask(mask, tmp_path / f"train/masks/0{number}.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(make_scene(4)[0]).save(tmp_path / "val/images/04.png", exif=exif)
    findings = found(tmp_path)
    assert set(findings) == {"mask_size", "mask_class_missing"}
    assert "rotated" in findings["mask_size"].message
    assert "training rows contains disc" in findings["mask_class_missing"].message


def test_folders_that_the_user_named(tmp_path: Path) -> None:
    write_scenes(tmp_path, 3)
    (tmp_path / "images").rename(tmp_path / "left")
    (tmp_path / "masks").rename(tmp_path / "right")
    (tmp_path / "right" / "02.png").unlink()
    findings = found(tmp_path, reader="mask-folders", images="left", masks="right")
    assert findings["picture_without_mask"].paths == ("left/02.png",)


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("gone", ["the masks", "their folder"])
def test_a_whole_split_or_folder_without_masks(tmp_path: Path, inner: bool, gone: str) -> None:
    """Where nothing pairs up, no row tells of it."""
    images, masks = ("images/{}", "masks/{}") if inner else ("{}/images", "{}/masks")
    for part, start in (("train", 0), ("test", 4)):
        write_scenes(tmp_path / part, 4, start=start, table=False)
        for own, name in ((images, "images"), (masks, "masks")):
            place = tmp_path / own.format(part)
            place.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / part / name).rename(place)
    bare = tmp_path / masks.format("test")
    for file, name in zip(sorted(bare.iterdir()), "abcd", strict=True):
        file.rename(bare / f"{name}.png")
    if gone == "their folder":
        shutil.rmtree(bare)
    for name in ("images", "masks"):  # what was moved inside the split, deeper
        folder = tmp_path / (images if name == "images" else masks).format("train")
        (folder / "a").mkdir()
        for number in (2, 3):
            (folder / f"0{number}.png").rename(folder / "a" / f"0{number}.png")
    shutil.rmtree(tmp_path / masks.format("train") / "a")
    write_classes(tmp_path)
    findings = found(tmp_path)
    lonely = [f"{images.format('train')}/a/0{number}.png" for number in (2, 3)]
    lonely += [f"{images.format('test')}/0{number}.png" for number in range(4, 8)]
    assert sorted(findings["picture_without_mask"].paths) == sorted(lonely)
    assert ("mask_without_picture" in findings) == (gone == "the masks")
    notes = " ".join(read_manifest(tmp_path).notes)
    assert "2 pairs (2 in train)" in notes
    assert "6 pictures without a mask are skipped" in notes
