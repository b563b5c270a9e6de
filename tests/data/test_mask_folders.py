"""Pictures with masks: which layouts, which kinds of masks, and which classes are read."""

from __future__ import annotations

import io
import shlex
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
from tests.mask_data import COLOURS, NAMES, make_scene, save_mask, write_classes, write_scenes


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
    assert "classes.csv (index,name) instead of --class-names" in str(caught.value.hint)


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


def run_hint(root: Path, error: UsageError, choice: int = 0) -> Manifest:
    """Read `root` with the flags that the hint offers, as they are printed."""
    hint = str(error.hint)
    offered = [part.split(" or ")[0].rstrip(".") for part in hint.split("--masks ")[1:]]
    return read_manifest(root, ReadOptions(masks=shlex.split(offered[choice])[0]))


def move(root: Path, places: dict[str, str]) -> None:
    for name, place in places.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / name).rename(root / place)


@pytest.mark.parametrize(
    ("places", "options"),
    [
        ({"masks": "annotations/trimaps"}, {}),
        ({"masks": "annotations/trimaps"}, {"masks": "trimaps"}),
        ({"masks": "annotations/trimaps"}, {"masks": "annotations"}),
        ({"masks": "annotations/trimaps"}, {"masks": "annotations/trimaps/"}),
        ({"masks": "data/gt/pixels/all"}, {"masks": "pixels"}),
        ({"images": "images/raw/jpg"}, {}),
        ({"images": "photos/raw", "masks": "masks/drawn/png"}, {}),
        ({"images": "pack/left", "masks": "pack/right"}, {"images": "left", "masks": "right"}),
        ({"images": "left", "masks": "my masks"}, {"images": "left", "masks": "my masks"}),
    ],
)
def test_folders_at_another_depth(
    tmp_path: Path, places: dict[str, str], options: dict[str, str]
) -> None:
    write_scenes(tmp_path, 3)
    move(tmp_path, {name: f"moved/{name}" for name in places})
    move(tmp_path / "moved", {name: f"../{place}" for name, place in places.items()})
    manifest = read_manifest(tmp_path, ReadOptions(**options))  # type: ignore[arg-type]
    assert len(manifest) == 3
    assert np.array_equal(opened(manifest, 2), make_scene(2)[1])


def test_a_folder_of_masks_by_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scenes(tmp_path / "data", 2)
    move(tmp_path / "data", {"masks": "extra/drawn"})
    monkeypatch.chdir(tmp_path)
    for masks in (str(tmp_path / "data/extra/drawn"), "data/extra/drawn", "./extra/drawn"):
        for root in (tmp_path / "data", Path("data")):
            assert len(read_manifest(root, ReadOptions(masks=masks))) == 2


def test_subfolders_on_both_sides_stay_parts_of_names(tmp_path: Path) -> None:
    write_scenes(tmp_path, 4)
    for name in ("images", "masks"):
        for number in range(4):
            if name == "images" or number < 2:  # only one town has masks
                town = f"{name}/{'east' if number < 2 else 'west'}"
                move(tmp_path, {f"{name}/0{number}.png": f"{town}/0{number}.png"})
    manifest = read_manifest(tmp_path)
    assert manifest.column_values("path") == ["images/east/00.png", "images/east/01.png"]


@pytest.mark.parametrize("inner", [True, False])
def test_several_masks_of_each_picture_as_in_cityscapes(tmp_path: Path, inner: bool) -> None:
    """Both sides have endings, and each picture has three masks: the hint names each of them."""
    for part, start in (("train", 0), ("val", 4)):
        write_scenes(tmp_path / part, 4, start=start, table=False)
        for path in sorted((tmp_path / part / "masks").iterdir()):
            name = f"town_{path.stem}_000019_gtFine"
            for kind in ("color", "instanceIds"):
                save_mask(make_scene(9)[1], path.with_name(f"{name}_{kind}.png"))
            path.rename(path.with_name(f"{name}_labelIds.png"))
        for path in sorted((tmp_path / part / "images").iterdir()):
            path.rename(path.with_name(f"town_{path.stem}_000019_leftImg8bit.png"))
        for name, folder in (("images", "leftImg8bit"), ("masks", "gtFine")):
            place = f"{folder}/{part}/town" if inner else f"{part}/{folder}/town"
            move(tmp_path, {f"{part}/{name}": place})
    with pytest.raises(UsageError, match="each picture has 3 masks") as caught:
        read_manifest(tmp_path)
    for choice in range(3):
        manifest = run_hint(tmp_path, caught.value, choice)
        assert manifest.column_values("split") == ["train"] * 4 + ["validation"] * 4
    for number in range(8):
        assert np.array_equal(opened(manifest, number), make_scene(number)[1])
    named = read_manifest(tmp_path, ReadOptions(masks="gtFine/*_labelIds.png"))
    assert named.column_values("target") == manifest.column_values("target")


def test_two_folders_of_masks_below_one(tmp_path: Path) -> None:
    write_scenes(tmp_path, 2, table=False)
    move(tmp_path, {"masks": "annotations/by hand"})
    shutil.copytree(tmp_path / "annotations/by hand", tmp_path / "annotations/auto")
    with pytest.raises(UsageError, match="has a mask of the same name") as caught:
        read_manifest(tmp_path)
    for choice, folder in enumerate(("auto", "by hand")):
        manifest = run_hint(tmp_path, caught.value, choice)
        assert manifest.column_values("target")[0]["mask"] == f"annotations/{folder}/00.png"


@pytest.mark.parametrize(
    ("pictures", "masks"), [("img_{}", "mask_{}"), ("{}-rgb", "{}-seg"), ("in_{}_x", "{}")]
)
def test_pictures_and_masks_with_their_own_affixes(
    tmp_path: Path, pictures: str, masks: str
) -> None:
    write_scenes(tmp_path, 12)
    for name, pattern in (("images", pictures), ("masks", masks)):
        for path in sorted((tmp_path / name).iterdir()):
            path.rename(path.with_name(f"{pattern.format(path.stem)}.png"))
    manifest = read_manifest(tmp_path)
    assert len(manifest) == 12
    assert np.array_equal(opened(manifest, 11), make_scene(11)[1])


@pytest.mark.parametrize(
    ("masks", "message", "hint"),
    [
        ("mask", "--masks mask: .* holds no such folder", "masks"),
        ("png", "--masks png: .* holds several such folders", "masks/png, old/png"),
        ("empty", "--masks empty: .* holds no masks", "masks/png, old/png"),
    ],
)
def test_a_folder_that_is_not_there_is_refused_with_those_that_are(
    tmp_path: Path, masks: str, message: str, hint: str
) -> None:
    write_scenes(tmp_path, 2)
    move(tmp_path, {"masks": "moved"})
    move(tmp_path, {"moved": "masks/png"})
    shutil.copytree(tmp_path / "masks/png", tmp_path / "old/png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=message) as caught:
        read_manifest(tmp_path, ReadOptions(masks=masks))
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("suffix", [".gif", ".pgm", ".ppm", ".npy", ".webp"])
def test_lossless_formats_are_read(tmp_path: Path, suffix: str) -> None:
    write_scenes(tmp_path, 3)
    for number in range(3):
        path = tmp_path / f"masks/0{number}{suffix}"
        mask = make_scene(number)[1]
        if suffix == ".npy":
            np.save(path, mask.astype(np.int64))
        else:
            image = Image.fromarray(mask if suffix == ".pgm" else np.array(COLOURS, np.uint8)[mask])
            image.save(path, **({"lossless": True} if suffix == ".webp" else {}))
        (tmp_path / f"masks/0{number}.png").unlink()
    manifest = read_manifest(tmp_path)
    for number in range(3):
        assert np.array_equal(opened(manifest, number), make_scene(number)[1])


@pytest.mark.parametrize("name", ["{}.mat", "{}.nii.gz", "{}.svg", "{}.npz"])
def test_formats_of_masks_that_are_not_read_are_named(tmp_path: Path, name: str) -> None:
    write_scenes(tmp_path, 2)
    for number in range(2):
        move(tmp_path, {f"masks/0{number}.png": f"masks/{name.format(number)}"})
        (tmp_path / f"masks/{name.format(number)}").write_bytes(b"no picture")
    expected = (
        rf"masks holds 2 files such as {name.format(0)}, a format of which masks are not read"
    )
    with pytest.raises(UsageError, match=expected) as caught:
        read_manifest(tmp_path)
    assert "as PNG" in str(caught.value.hint)


def test_a_gif_is_a_mask_and_not_a_picture(tmp_path: Path) -> None:
    write_scenes(tmp_path, 3)
    Image.fromarray(make_scene(2)[0]).save(tmp_path / "images/02.gif")
    (tmp_path / "images/02.png").unlink()
    manifest = read_manifest(tmp_path)
    assert len(manifest) == 2
    assert [n for reason, n in manifest.skipped_counts.items() if "GIF" in reason] == [1]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4), np.float32), "an array float32 of shape"),
        (np.zeros((4, 4, 3), np.uint8), r"of shape \(4, 4, 3\)"),
        (np.full((4, 4), -1), "an array int64"),
        (np.full((4, 4), 1 << 40), "too large"),
        (np.array([None, {}]), "damaged or truncated"),
    ],
)
def test_arrays_that_are_not_masks(array: np.ndarray, message: str) -> None:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        decode_mask(stream.getvalue())
