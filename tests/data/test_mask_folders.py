"""Pictures with masks: which layouts, which kinds of masks, and which classes are read."""

from __future__ import annotations

import io
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipstone.core.errors import DataError, UsageError
from skipstone.data.manifest import Manifest
from skipstone.data.mask_files import (
    IGNORE_INDEX,
    MaskTable,
    decode_mask,
    load_mask_codes,
    parse_colour,
    to_class_codes,
)
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.data.readers.mask_folders import _infer_affix
from tests.mask_data import NAMES, make_scene, save_mask, write_classes, write_scenes


def opened(manifest: Manifest, row: int = 0) -> np.ndarray:
    path = manifest.root / manifest.column_values("target")[row]["mask"]
    return load_mask_codes(path.read_bytes(), MaskTable.from_schema(manifest.schema), str(path))


@pytest.mark.parametrize("kind", ["index", "palette", "colour"])
def test_every_kind_of_mask_gives_the_same_codes(tmp_path: Path, kind: str) -> None:
    manifest = read_manifest(write_scenes(tmp_path, 3, kind=kind))
    assert (manifest.reader, manifest.task, manifest.input) == ("mask-folders", "segment", "image")
    assert manifest.schema["classes"] == list(NAMES)
    assert manifest.schema["colours"] == [[0, 0, 0], [128, 64, 0], [64, 0, 192]]
    assert manifest.column_values("path") == [f"images/0{n}.png" for n in range(3)]
    for row in range(3):
        assert np.array_equal(opened(manifest, row), make_scene(row)[1])
    assert any("3 classes from classes.csv: ground, square, disc" in n for n in manifest.notes)


@pytest.mark.parametrize("inner", [False, True])
def test_split_folders_on_either_side(tmp_path: Path, inner: bool) -> None:
    for split, start in (("train", 0), ("val", 4)):
        write_scenes(tmp_path / "one" / split, 3, start=start, table=False)
    if inner:
        for split in ("train", "val"):
            for what in ("images", "masks"):
                shutil.copytree(tmp_path / "one" / split / what, tmp_path / "two" / what / split)
    root = tmp_path / ("two" if inner else "one")
    write_classes(root)
    manifest = read_manifest(root)
    assert manifest.column_values("split") == ["train"] * 3 + ["validation"] * 3
    assert np.array_equal(opened(manifest, 3), make_scene(4)[1])


def test_indices_without_a_table_name_themselves(tmp_path: Path) -> None:
    write_scenes(tmp_path, 2, table=False)
    mask = make_scene(0)[1]
    mask[:3] = 255
    save_mask(mask, tmp_path / "masks" / "00.png")
    manifest = read_manifest(tmp_path)
    assert manifest.schema["classes"] == ["0", "1", "2"]
    assert any("named after the indices" in note for note in manifest.notes)
    assert any("255 are ignored" in note for note in manifest.notes)
    assert np.array_equal(opened(manifest), mask)
    for ignore in ((), ("255",)):
        named = read_manifest(tmp_path, ReadOptions(class_names=NAMES, ignore=ignore))
        assert named.schema["classes"] == list(NAMES)
        assert np.array_equal(opened(named), mask)
        assert "In the masks 0 is ground, 1 is square, 2 is disc." in named.notes
        assert any("255 are ignored" in note for note in named.notes)
    four = read_manifest(tmp_path, ReadOptions(class_names=(*NAMES, "frame")))
    assert np.array_equal(opened(four), np.where(mask == 255, 3, mask))


def test_black_and_white_is_ground_and_figure(tmp_path: Path) -> None:
    write_scenes(tmp_path, 2, table=False)
    for number in range(2):
        mask = np.where(make_scene(number)[1] > 0, 255, 0).astype(np.uint8)
        save_mask(mask, tmp_path / "masks" / f"0{number}.png")
    manifest = read_manifest(tmp_path)
    assert manifest.schema["classes"] == ["background", "foreground"]
    assert np.array_equal(opened(manifest), make_scene(0)[1] > 0)


def test_colours_without_a_table_name_themselves(tmp_path: Path) -> None:
    write_scenes(tmp_path, 2, kind="colour", table=False)
    manifest = read_manifest(tmp_path)
    assert manifest.schema["classes"] == ["#000000", "#4000c0", "#804000"]
    ignored = read_manifest(tmp_path, ReadOptions(ignore=("#000000",)))
    assert ignored.schema["classes"] == ["#4000c0", "#804000"]
    assert (opened(ignored)[make_scene(0)[1] == 0] == IGNORE_INDEX).all()


@pytest.mark.parametrize("kind", ["index", "colour"])
def test_names_are_put_on_what_the_masks_hold(tmp_path: Path, kind: str) -> None:
    """In the order of their indices, which may have gaps, or of their colours."""
    write_scenes(tmp_path, 2, kind=kind, table=False)
    if kind == "index":
        for number in range(2):
            mask = make_scene(number)[1]
            save_mask(np.array([7, 0, 20], np.uint8)[mask], tmp_path / f"masks/0{number}.png")
    order = {"index": [1, 0, 2], "colour": [0, 2, 1]}[kind]  # ground, square, disc: 7, 0, 20
    names = ("first", "second", "third")
    manifest = read_manifest(tmp_path, ReadOptions(class_names=names))
    assert manifest.schema["classes"] == list(names)
    assert np.array_equal(opened(manifest), np.array(order, np.uint8)[make_scene(0)[1]])
    ignored = {"index": "0", "colour": "#000000"}[kind]
    for word, kept in ((ignored, names[1:]), ("first", names)):  # by what it is, or by its name
        fewer = read_manifest(tmp_path, ReadOptions(class_names=kept, ignore=(word,)))
        assert fewer.schema["classes"] == ["second", "third"]
        wanted = np.array([IGNORE_INDEX, 0, 1], np.uint8)[order][make_scene(0)[1]]
        assert np.array_equal(opened(fewer), wanted)


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c", "d", "e")])
def test_a_wrong_number_of_names_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    write_scenes(tmp_path, 2, table=False)
    mask = make_scene(0)[1]
    mask[:3] = 255
    save_mask(mask, tmp_path / "masks" / "00.png")
    said = rf"gives {len(names)} names.* 3 classes: 0, 1, 2; 255"
    with pytest.raises(UsageError, match=said) as caught:
        read_manifest(tmp_path, ReadOptions(class_names=names))
    assert "classes.csv: index,name" in str(caught.value.hint)


def test_indices_in_three_channels_are_indices(tmp_path: Path) -> None:
    write_scenes(tmp_path, 2, table=False)
    for number in range(2):
        mask = make_scene(number)[1]
        Image.fromarray(np.repeat(mask[..., None], 3, 2)).save(tmp_path / f"masks/0{number}.png")
    manifest = read_manifest(tmp_path)
    assert manifest.schema["classes"] == ["0", "1", "2"]
    assert np.array_equal(opened(manifest), make_scene(0)[1])


def test_masks_of_sixteen_bits(tmp_path: Path) -> None:
    write_scenes(tmp_path, 2, table=False)
    for number in range(2):
        Image.fromarray(make_scene(number)[1].astype(np.uint16) * 1000).save(
            tmp_path / f"masks/0{number}.png"
        )
    manifest = read_manifest(tmp_path)
    assert manifest.schema["classes"] == ["0", "1000", "2000"]
    assert np.array_equal(opened(manifest), make_scene(0)[1])


def test_masks_with_a_common_ending_and_what_has_no_partner(tmp_path: Path) -> None:
    write_scenes(tmp_path, 4)
    for path in sorted((tmp_path / "masks").iterdir()):
        path.rename(path.with_name(f"{path.stem}_L.png"))
    (tmp_path / "masks" / "01_L.png").unlink()
    (tmp_path / "images" / "03.png").unlink()
    manifest = read_manifest(tmp_path)
    assert manifest.column_values("path") == ["images/00.png", "images/02.png"]
    assert manifest.skipped_counts["pictures without a mask"] == 1
    assert manifest.skipped_counts["masks without a picture"] == 1
    notes = " ".join(manifest.notes)
    assert "<picture>_L" in notes
    assert "images/01.png" in notes
    assert "masks/03_L.png" in notes


def test_what_many_masks_have_in_common_is_found_at_once() -> None:
    pictures = [f"town/{number:06d}" for number in range(40_000)]
    started = time.process_time()
    assert _infer_affix(pictures, [f"gt_{name[5:]}_ids" for name in pictures]) == ("gt_", "_ids")
    turns = [f"{name}_{side}" for name in pictures for side in ("left", "right", "top")]
    assert _infer_affix(pictures, turns) is None
    assert time.process_time() - started < 5  # names by names would be hours


def test_two_folders_of_masks_are_refused_with_the_flag(tmp_path: Path) -> None:
    write_scenes(tmp_path, 2)
    shutil.copytree(tmp_path / "masks", tmp_path / "labels")
    with pytest.raises(UsageError, match="more than one candidate") as caught:
        read_manifest(tmp_path)
    assert caught.value.hint is not None
    assert "--masks labels" in caught.value.hint
    manifest = read_manifest(tmp_path, ReadOptions(masks="masks", reader="mask-folders"))
    assert len(manifest) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,name\nx,sky\n", "line 2: the index 'x'"),
        ("index,name\n0,\n", "line 2: the class name is empty"),
        ("index,what\n0,sky\n", "no column with class names"),
        ("name,r,g,b\nsky,1,2,300\n", "line 2: '1 2 300' is not a colour"),
        ("index,name\n0,sky\n0,road\n", "index 0 is both sky and road"),
        ("index,name,ignore\n0,sky,perhaps\n", "ignore is 'perhaps'"),
        ("index,name\n0,sky\n", "have 1 class"),
        ("", "is empty"),
    ],
)
def test_a_bad_class_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    write_scenes(tmp_path, 2)
    (tmp_path / "classes.csv").write_text(text)
    with pytest.raises((DataError, UsageError), match=message):
        read_manifest(tmp_path)


def test_tables_of_other_programs(tmp_path: Path) -> None:
    """CamVid's class_dict.csv, CVAT's labelmap.txt, and a name a line."""
    write_scenes(tmp_path, 2, kind="colour", table=False)
    lines = ["name, r, g, b", "ground,0,0,0", "square,128,64,0", "disc,64,0,192"]
    (tmp_path / "class_dict.csv").write_text("\r\n".join(lines))
    manifest = read_manifest(tmp_path)
    assert manifest.schema["classes"] == list(NAMES)
    assert np.array_equal(opened(manifest), make_scene(0)[1])
    (tmp_path / "class_dict.csv").unlink()
    lines = ["# label:color_rgb:parts:actions", "ground:0,0,0::", "square:128,64,0::", "disc:x::"]
    (tmp_path / "labelmap.txt").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"labelmap.txt, line 4: 'x' is not a colour"):
        read_manifest(tmp_path)
    (tmp_path / "labelmap.txt").write_text("\n".join(lines).replace("x", "64,0,192"))
    manifest = read_manifest(tmp_path)
    assert manifest.schema["classes"] == list(NAMES)
    assert np.array_equal(opened(manifest), make_scene(0)[1])
    (tmp_path / "labelmap.txt").unlink()
    for number in range(2):
        save_mask(make_scene(number)[1], tmp_path / f"masks/0{number}.png")
    (tmp_path / "classes.txt").write_text("ground\nsquare\ndisc\n", encoding="utf-8-sig")
    assert read_manifest(tmp_path).schema["classes"] == list(NAMES)


def test_values_outside_the_table_are_named(tmp_path: Path) -> None:
    write_scenes(tmp_path, 2)
    mask = make_scene(0)[1]
    mask[0, :7] = 9
    save_mask(mask, tmp_path / "masks" / "00.png")
    manifest = read_manifest(tmp_path)
    with pytest.raises(DataError, match=r"00\.png: 7 pixels hold 9, which no class has"):
        opened(manifest)


def test_outlines_drawn_soft_are_refused_with_what_hardens_them(tmp_path: Path) -> None:
    write_scenes(tmp_path, 2, table=False)
    soft = Image.fromarray(np.where(make_scene(0)[1] > 0, 255, 0).astype(np.uint8))
    soft.resize((300, 220), Image.Resampling.BICUBIC).save(tmp_path / "masks" / "00.png")
    with pytest.raises(UsageError, match=r"values from 0 to 255, probably not") as no:
        read_manifest(tmp_path)
    assert f"-threshold 50% {tmp_path / 'masks'}/*" in str(no.value.hint)
    many = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64) % 151  # as many classes as ADE20K's
    many[0] = 255
    save_mask(many, tmp_path / "masks" / "00.png")
    assert len(read_manifest(tmp_path).schema["classes"]) == 151


def test_jpeg_masks_are_refused_with_the_reason(tmp_path: Path) -> None:
    write_scenes(tmp_path, 2, table=False)
    for path in sorted((tmp_path / "masks").iterdir()):
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    with pytest.raises(UsageError, match=r"the first: masks/00.jpg: JPEG does not preserve") as no:
        read_manifest(tmp_path)
    assert f"mkdir {tmp_path / 'masks-hard'} && magick mogrify" in str(no.value.hint)


def test_a_jpeg_is_no_mask(tmp_path: Path) -> None:
    Image.fromarray(make_scene(0)[1]).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="does not preserve exact"):
        decode_mask((tmp_path / "a.jpg").read_bytes())
    with pytest.raises(ValueError, match=r"damaged|not an image"):
        decode_mask(b"\x89PNG\r\n\x1a\nno more")


def test_large_colours_and_values() -> None:
    """Equal to a plain lookup, pixel by pixel."""
    rng = np.random.default_rng(0)
    table = MaskTable.from_json([[None, 0xFF0000, "a"], [None, 1, "b"], [None, 2, None]])
    choice = rng.integers(0, 3, (20, 30))
    colours = np.array([0xFF0000, 1, 2])[choice]
    image = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], -1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    codes = to_class_codes(decode_mask(stream.getvalue()), table)
    assert np.array_equal(codes, np.array([0, 1, IGNORE_INDEX])[choice])


def test_colours_as_people_write_them() -> None:
    for text in ("#804000", "804000", "128 64 0", "(128, 64, 0)"):
        assert parse_colour(text) == 0x804000
    for text in ("red", "1 2", "#12345"):
        with pytest.raises(ValueError, match="not a colour"):
            parse_colour(text)


def test_the_folders_may_be_classes_after_all(tmp_path: Path) -> None:
    write_scenes(tmp_path, 2)
    manifest = read_manifest(tmp_path, ReadOptions(reader="class-folders"))
    assert manifest.schema["classes"] == ["images", "masks"]
