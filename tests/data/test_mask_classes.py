"""A class swap is never silent: colours decide, palettes that differ are noticed, columns are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from skipstone.core.errors import DataError, UsageError
from skipstone.data.manifest import Manifest
from skipstone.data.mask_classes import find_palette_difference
from skipstone.data.mask_files import IGNORE_INDEX, MaskPixels, MaskTable, load_mask_codes
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.data.readers.mask_audit import audit_masks
from tests.mask_data import COLOURS, NAMES, make_scene, write_scenes

BLACK, RED, BLUE, WHITE = (0, 0, 0), (255, 0, 0), (0, 0, 255), (255, 255, 255)
Palette = Sequence[tuple[int, int, int]]


def load_codes(manifest: Manifest, row: int = 0) -> np.ndarray:
    path = manifest.root / manifest.column_values("target")[row]["mask"]
    return load_mask_codes(path.read_bytes(), MaskTable.from_schema(manifest.schema), str(path))


def save_palette_mask(mask: np.ndarray, palette: Palette, path: Path) -> None:
    image = Image.fromarray(mask).copy()
    image.putpalette([part for colour in palette for part in colour])
    path.unlink(missing_ok=True)
    image.save(path)


def write_palette_masks(
    root: Path, palettes: Sequence[Palette], indices: Sequence[Sequence[int]] | None = None
) -> Path:
    """Scenes; mask i has palettes[i], and class k is index indices[i][k]."""
    write_scenes(root, len(palettes), table=False)
    for number, palette in enumerate(palettes):
        order = np.array(range(3) if indices is None else indices[number], np.uint8)
        save_palette_mask(order[make_scene(number)[1]], palette, root / f"masks/0{number}.png")
    return root


@pytest.mark.parametrize(
    "table",
    [
        ("labelmap.txt", "# label:color_rgb:parts:actions\n{2}:{5}::\n{1}:{4}::\n{0}:{3}::\n"),
        ("class_dict.csv", 'name,colour\n{1},"{4}"\n{2},"{5}"\n{0},"{3}"\n'),
        ("classes.csv", 'index,name,rgb\n2,{0},"{3}"\n0,{1},"{4}"\n1,{2},"{5}"\n'),
    ],
    ids=["CVAT", "colours only", "other indices"],
)
@pytest.mark.parametrize("kind", ["palette", "colour"])
def test_colours_of_a_table_decide(tmp_path: Path, table: tuple[str, str], kind: str) -> None:
    write_scenes(tmp_path, 2, kind=kind, table=False)
    written = [",".join(map(str, colour)) for colour in COLOURS]
    (tmp_path / table[0]).write_text(table[1].format(*NAMES, *written))
    manifest = read_manifest(tmp_path)
    codes = np.array([manifest.schema["classes"].index(name) for name in NAMES])
    assert np.array_equal(load_codes(manifest), codes[make_scene(0)[1]])


@pytest.mark.parametrize(
    ("palette", "message"),
    [
        ((BLACK, RED, BLUE), r"hold #ff0000 \(index 1\) and 1 more values, which no class has"),
        ((BLACK, (128, 64, 1), COLOURS[2]), r"hold #804001 \(index 1\), which no class has"),
    ],
)
def test_a_palette_of_other_colours_is_refused(
    tmp_path: Path, palette: Palette, message: str
) -> None:
    write_palette_masks(tmp_path, [palette] * 2)
    (tmp_path / "classes.csv").write_text("index,name,r,g,b\n0,a,0,0,0\n1,b,128,64,0\n2,c,64,0,192")
    with pytest.raises(DataError, match=message) as caught:
        load_codes(read_manifest(tmp_path))
    assert "--ignore '#" in str(caught.value.hint)


def test_indices_next_to_colours_are_still_read(tmp_path: Path) -> None:
    """Rows without a colour, a palette that shows the index as its grey, and ignored indices."""
    grey = [(level, level, level) for level in range(256)]
    write_palette_masks(tmp_path, [grey, (*COLOURS, *grey[3:])])
    mask = make_scene(1)[1].copy()
    mask[:4] = 255
    save_palette_mask(mask, (*COLOURS, *grey[3:]), tmp_path / "masks/01.png")
    (tmp_path / "classes.csv").write_text(
        "index,name,ignore,r,g,b\n0,a,,0,0,0\n1,b,,128,64,0\n2,c,,64,0,192\n255,void,yes,,,\n"
    )
    manifest = read_manifest(tmp_path)
    assert np.array_equal(load_codes(manifest, 0), make_scene(0)[1])
    assert np.array_equal(load_codes(manifest, 1), mask)
    (tmp_path / "classes.csv").write_text("name,r,g,b\na,0,0,0\nb,128,64,0\nc,64,0,192\n")
    manifest = read_manifest(tmp_path, ReadOptions(ignore=("255", "0")))
    with pytest.raises(DataError, match="index 0 is ignored, but its colour #000000 is a"):
        load_codes(manifest, 1)


def test_a_table_of_colours_invents_no_indices(tmp_path: Path) -> None:
    write_scenes(tmp_path, 2, table=False)
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\na,0,0,0\nb,128,64,0\nc,64,0,192\n")
    with pytest.raises(DataError, match="hold 1 as an index, and the table of classes gives only"):
        load_codes(read_manifest(tmp_path))
    findings, _ = audit_masks(read_manifest(tmp_path))
    assert [len(f.rows) for f in findings if f.kind == "mask_values"] == [2]
    for bits in (1, 8):  # black and white are colours
        for number in range(2):
            image = Image.fromarray(np.where(make_scene(number)[1] > 0, 255, 0).astype(np.uint8))
            image.convert("1" if bits == 1 else "L").save(tmp_path / f"masks/0{number}.png")
        (tmp_path / "class_dict.csv").write_text("name,hex\nfigure,ffffff\nground,000000\n")
        assert np.array_equal(load_codes(read_manifest(tmp_path)), make_scene(0)[1] == 0)
    (tmp_path / "class_dict.csv").write_text("name,hex\nfigure,ffffff\nground,\n")
    with pytest.raises(DataError, match="line 3: ground has no colour"):
        read_manifest(tmp_path)


SORTED_BY_USE = ([(BLACK, RED, BLUE), (BLACK, BLUE, RED)], [(0, 1, 2), (0, 2, 1)])


def test_palettes_that_differ_are_read_by_colour(tmp_path: Path) -> None:
    write_palette_masks(tmp_path, *SORTED_BY_USE)
    manifest = read_manifest(tmp_path)
    assert manifest.schema["classes"] == ["#000000", "#0000ff", "#ff0000"]
    for row in range(2):
        assert np.array_equal(load_codes(manifest, row), np.array([0, 2, 1])[make_scene(row)[1]])
    assert "index 1 is #ff0000 in masks/00.png and #0000ff in masks/01.png" in str(manifest.notes)
    named = read_manifest(tmp_path, ReadOptions(class_names=("ground", "disc", "square")))
    assert np.array_equal(load_codes(named, 1), np.array([0, 2, 1])[make_scene(1)[1]])


def test_palettes_that_differ_are_refused_where_a_table_names_indices(tmp_path: Path) -> None:
    write_palette_masks(tmp_path, *SORTED_BY_USE)
    (tmp_path / "classes.csv").write_text("index,name\n0,ground\n1,square\n2,disc\n")
    with pytest.raises(UsageError, match=r"index 1 is #ff0000 in masks/00.png and #0000ff") as no:
        read_manifest(tmp_path)
    assert "name,r,g,b" in str(no.value.hint)
    (tmp_path / "classes.csv").write_text(
        "name,r,g,b\nground,0,0,0\nsquare,255,0,0\ndisc,0,0,255\n"
    )
    manifest = read_manifest(tmp_path)
    for row in range(2):
        assert np.array_equal(load_codes(manifest, row), make_scene(row)[1])


def test_a_colour_with_two_indices_is_one_class(tmp_path: Path) -> None:
    """A file without blue stores red as index 1; one with both, as index 2."""
    write_palette_masks(tmp_path, [(BLACK, RED), (BLACK, BLUE, RED)], [(0, 1, 1), (0, 1, 2)])
    assert read_manifest(tmp_path).schema["classes"] == ["#000000", "#0000ff", "#ff0000"]


@pytest.mark.parametrize(
    ("palettes", "indices"),
    [
        ([(BLACK, RED, BLUE)] * 2, None),
        ([(BLACK, RED, BLUE), (BLACK, RED, BLUE, WHITE)], None),
        ([(BLACK, RED, BLUE, RED), (BLACK, RED, BLUE, BLUE)], None),  # index 3 is not used
        ([(BLACK, BLACK, BLACK)] * 2, None),  # a palette without a meaning
        ([(BLACK, WHITE)] * 2, [(0, 1, 1)] * 2),
    ],
)
def test_palettes_that_agree_are_read_by_index(
    tmp_path: Path, palettes: Sequence[Palette], indices: Sequence[Sequence[int]] | None
) -> None:
    write_palette_masks(tmp_path, palettes, indices)
    manifest = read_manifest(tmp_path)
    assert manifest.schema["classes"] == [
        str(n) for n in range(len({*(indices or [[0, 1, 2]])[0]}))
    ]
    order = np.array((indices or [(0, 1, 2)])[0])
    assert np.array_equal(load_codes(manifest), order[make_scene(0)[1]])


def test_a_common_palette_gives_the_classes_their_colours(tmp_path: Path) -> None:
    write_palette_masks(tmp_path, [(BLACK, RED, BLUE)] * 2)
    manifest = read_manifest(tmp_path, ReadOptions(class_names=NAMES))
    assert manifest.schema["colours"] == [[0, 0, 0], [255, 0, 0], [0, 0, 255]]
    assert "In the masks 0 is ground, 1 is square, 2 is disc." in manifest.notes
    assert np.array_equal(load_codes(manifest, 1), make_scene(1)[1])


def test_palettes_without_an_answer_are_refused(tmp_path: Path) -> None:
    values = np.arange(3)
    masks = {"a.png": MaskPixels("palette", values, (0, 0xFF0000))}  # index 2 has no colour
    masks["b.png"] = MaskPixels("palette", values, (0, 0x0000FF, 0xFF0000))
    with pytest.raises(UsageError, match="do not tell the classes apart"):
        find_palette_difference(masks)
    write_palette_masks(tmp_path, [(BLACK, RED, RED), (BLACK, BLUE, RED)])
    with pytest.raises(UsageError, match="do not tell the classes apart: index 1 is #ff0000 in"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("other", ["palette", "1", "GIF"])
def test_black_and_white_in_two_kinds_of_files(tmp_path: Path, other: str) -> None:
    """White is 255 in a grey file, and index 1 where only two colours are stored."""
    write_scenes(tmp_path, 3, table=False)
    for number in range(3):
        binary = (make_scene(number)[1] > 0).astype(np.uint8)
        path = tmp_path / f"masks/0{number}.png"
        if number == 0:
            Image.fromarray(binary * 255).save(path)
        elif other == "1":
            Image.fromarray(binary * 255).convert("1").save(path)
        else:
            save_palette_mask(binary, (BLACK, WHITE), path)
        if other == "GIF":
            path.unlink()
            Image.fromarray(binary * 255).save(path.with_suffix(".gif"))
    manifest = read_manifest(tmp_path)
    for row in range(3):
        assert np.array_equal(load_codes(manifest, row), make_scene(row)[1] > 0)


def test_indices_in_grey_files_and_in_files_with_a_palette(tmp_path: Path) -> None:
    write_scenes(tmp_path, 2, table=False)
    save_palette_mask(make_scene(1)[1], (BLACK, RED, BLUE), tmp_path / "masks/01.png")
    manifest = read_manifest(tmp_path)
    assert manifest.schema["classes"] == ["0", "1", "2"]
    assert np.array_equal(load_codes(manifest, 1), make_scene(1)[1])
    sorted_greys = [(0, 0, 0), (2, 2, 2), (1, 1, 1)]
    save_palette_mask(make_scene(1)[1], sorted_greys, tmp_path / "masks/01.png")
    with pytest.raises(UsageError, match="index 1 is #020202 in masks/01"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("header", "unread"),
    [
        ("name,r,g,b,train_nr", "train_nr"),
        ("name,label,r,g,b", "label"),
        ("name,r,g,a", "r, g, a"),
        ("class,id,trainid", "trainid"),
        (",name,r,g,b", "column 1, which has no name"),
        ("name,colour,r,g,b", "colour"),
    ],
)
def test_columns_that_are_not_read_are_refused(tmp_path: Path, header: str, unread: str) -> None:
    write_scenes(tmp_path, 2, table=False)
    cells = [word if word in ("name", "class") else "1" for word in header.split(",")]
    (tmp_path / "classes.csv").write_text(f"{header}\n{','.join(cells)}\n")
    with pytest.raises(DataError, match=rf"classes.csv: {unread} would not be read"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "header", ["Pixel Value, Class, comment", "idx;label_name;notes", "class-id,Name,description"]
)
def test_names_of_columns_as_programs_write_them(tmp_path: Path, header: str) -> None:
    write_scenes(tmp_path, 2, table=False)
    delimiter = ";" if ";" in header else ","
    rows = [
        delimiter.join((str(index), name, "")) for index, name in ((2, "c"), (0, "a"), (1, "b"))
    ]
    (tmp_path / "classes.csv").write_text("\n".join([header, *rows]))
    manifest = read_manifest(tmp_path)
    assert manifest.schema["classes"] == ["c", "a", "b"]
    assert np.array_equal(load_codes(manifest), np.array([1, 2, 0])[make_scene(0)[1]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2 disc\n0 ground\n1 square\n", "each line holds a number next to the name"),
        ("ground,0,0,0\nsquare,128,64,0\n", "each line holds a number"),
        ("ground 0 0 0\nsquare 128 64 0\n", "each line holds a number"),
        ("ground: 1\nsquare: 0\n", "each line holds a number"),
        ("__ignore__\nground\nsquare\ndisc\n", "__ignore__ is not a class"),
    ],
)
def test_a_list_of_names_holds_names_only(tmp_path: Path, text: str, message: str) -> None:
    write_scenes(tmp_path, 2, table=False)
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        read_manifest(tmp_path)
    (tmp_path / "classes.txt").write_text("area 1\narea 2\narea 3\n")
    assert read_manifest(tmp_path).schema["classes"] == ["area 1", "area 2", "area 3"]


def test_cells_without_a_column_are_refused(tmp_path: Path) -> None:
    write_scenes(tmp_path, 2, table=False)
    (tmp_path / "classes.csv").write_text("index,name\n0,ground,floor\n1,square\n2,disc\n")
    with pytest.raises(DataError, match="line 2: floor has no column in the header"):
        read_manifest(tmp_path)


def test_lossy_masks_and_animations_are_refused(tmp_path: Path) -> None:
    """JPEG is refused for its rounding; so are the other formats that round."""
    write_scenes(tmp_path, 2, table=False)
    image = Image.fromarray(make_scene(0)[1])
    saved: dict[str, tuple[str, dict[str, Any]]] = {
        "lossy WebP": ("WEBP", {"quality": 90}),
        "AVIF": ("AVIF", {}),
        "TIFF with JPEG compression": ("TIFF", {"compression": "jpeg"}),
        "an animation": ("GIF", {"save_all": True, "append_images": [image.rotate(90)]}),
    }
    for message, (form, options) in saved.items():
        image.convert("RGB").save(tmp_path / "masks/00.png", form, **options)
        findings, _ = audit_masks(read_manifest(tmp_path))
        (broken,) = [finding for finding in findings if finding.kind == "mask_unreadable"]
        assert message in broken.message
    image.save(tmp_path / "masks/00.png", "WEBP", lossless=True)
    assert np.array_equal(load_codes(read_manifest(tmp_path)) * 1, make_scene(0)[1])


def test_ignored_colours_of_palettes_that_differ(tmp_path: Path) -> None:
    write_palette_masks(tmp_path, *SORTED_BY_USE)
    manifest = read_manifest(tmp_path, ReadOptions(ignore=("#000000",)))
    assert manifest.schema["classes"] == ["#0000ff", "#ff0000"]
    for row in range(2):
        wanted = np.array([IGNORE_INDEX, 1, 0])[make_scene(row)[1]]
        assert np.array_equal(load_codes(manifest, row), wanted)
