"""Generated files in the layout of the real data, so that a benchmark runs at smoke size anywhere.

What they show is easy to tell apart and means nothing: figures on them are no results.
"""

from __future__ import annotations

import colorsys
import csv
import gzip
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from skipstone.workflows.demo_sounds import write_sounds

CLOTHES = (
    *("dress", "hat", "longsleeve", "outwear", "pants"),
    *("shirt", "shoes", "shorts", "skirt", "t-shirt"),
)
#: The twelve classes of road scenes; the last one counts for nothing.
ROAD = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car"),
    *("Pedestrian", "Bicyclist", "Unlabelled"),
)
_WORDS = {
    "adjective": "old new red large small quiet famous hidden northern modern early cold",
    "noun": "river bridge poem engine castle market garden painter island railway novel harbour",
    "place": "France Spain Norway Kenya Peru Japan Ghana Chile Nepal Egypt Malta Cuba",
}
#: Label -> how its texts begin and go on; words in braces are drawn.
_QUESTIONS = {
    "description": "What is meant by the {adjective} {noun} of {place} ?",
    "entity": "Which {noun} did the {adjective} {noun} in {place} take over ?",
    "abbreviation": "What does the {adjective} {noun} in {place} stand for ?",
    "human": "Who first drew the {adjective} {noun} of {place} ?",
    "location": "Where in {place} does the {adjective} {noun} lie ?",
    "number": "How many times was the {adjective} {noun} of {place} rebuilt ?",
}
_REVIEWS = {
    "positive": "a moving and {adjective} film about a {noun} in {place} , wonderfully played",
    "negative": "a dull and {adjective} film about a {noun} in {place} , badly told and too long",
}


def write_stand_in(folder: Path) -> Path:
    """clothing/, fashion-mnist/, camvid/, blood-cells/, spoken-digits/ and text/ in `folder`: some 320
    small files.
    What is there already stays."""
    if not (done := folder / "complete").exists():
        rng = np.random.default_rng(0)
        _clothing(folder / "clothing", rng)
        _garments(folder / "fashion-mnist", rng)
        _road(folder / "camvid", rng)
        _cells(folder / "blood-cells", rng)
        write_sounds(folder / "spoken-digits" / "train", devices=2, per_device=5)
        write_sounds(folder / "spoken-digits" / "validation", devices=2, per_device=2)
        _texts(folder / "text" / "questions.csv", _QUESTIONS, 30, rng)
        _texts(folder / "text" / "movie-reviews.csv", _REVIEWS, 75, rng)
        done.touch()
    return folder


def _clothing(folder: Path, rng: np.random.Generator) -> None:
    """train/<class>/ with 12 and validation/<class>/ with 4 photos, 80 wide and 96 high."""
    for part, count in (("train", 12), ("validation", 4)):
        for kind, name in enumerate(CLOTHES):
            for number in range(count):
                path = folder / part / name / f"{part}-{kind}-{number:02d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                _photo(kind, rng).save(path, quality=90)


def _photo(kind: int, rng: np.random.Generator, size: tuple[int, int] = (80, 96)) -> Image.Image:
    """A polygon of `kind` + 3 sides, in a colour of its own, on a ground of soft spots."""
    spots = Image.fromarray(rng.integers(60, 200, (6, 5, 3)).astype(np.uint8))
    picture = spots.resize(size, Image.Resampling.BICUBIC)
    radius = int(min(size) * rng.uniform(0.25, 0.35))
    x, y = (int(rng.integers(radius, side - radius)) for side in size)
    tint = colorsys.hsv_to_rgb(kind / len(CLOTHES), 0.9, rng.uniform(0.7, 1.0))
    colour = tuple(int(255 * part) for part in tint)
    ImageDraw.Draw(picture).regular_polygon((x, y, radius), kind + 3, fill=colour)
    return picture


def _garments(folder: Path, rng: np.random.Generator) -> None:
    """IDX files as Fashion-MNIST's: 120 and 60 grey pictures 28 x 28, bright on black."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 120), ("t10k", 60)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        pictures = np.zeros((count, 28, 28), np.uint8)
        for row, kind in enumerate(labels):
            picture = Image.new("L", (28, 28))
            x, y, radius = (int(rng.integers(*ends)) for ends in ((12, 17), (12, 17), (8, 12)))
            grey = int(rng.integers(150, 256))
            ImageDraw.Draw(picture).regular_polygon((x, y, radius), int(kind) + 3, fill=grey)
            pictures[row] = np.asarray(picture)
        for name, array in (("images-idx3", pictures), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            packed = gzip.compress(head + array.tobytes(), 1, mtime=0)
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(packed)


def _road(folder: Path, rng: np.random.Generator) -> None:
    """Pictures 96 x 72 of twelve fields in any order, each class in a colour of its own."""
    colours = rng.integers(0, 230, (len(ROAD), 3))
    for part, count in (("train", 12), ("val", 4)):
        for kind in ("images", "masks"):
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            fields = rng.permutation(len(ROAD)).reshape(3, 4)
            mask = fields.repeat(24, 0).repeat(24, 1).astype(np.uint8)  # (72, 96)
            pixels = colours[mask] + rng.integers(0, 26, (*mask.shape, 3))
            stem = f"{part}_{number:04d}"
            picture = Image.fromarray(pixels.astype(np.uint8))
            picture.save(folder / part / "images" / f"{stem}.jpg", quality=95)
            Image.fromarray(mask).save(folder / part / "masks" / f"{stem}.png")
    rows = [(index, name, "yes" if name == ROAD[-1] else "") for index, name in enumerate(ROAD)]
    _write_csv(folder / "classes.csv", [("index", "name", "ignore"), *rows])


def _cells(folder: Path, rng: np.random.Generator) -> None:
    """Photos with one bright disc each, and its box in a Pascal VOC file."""
    for part, count in (("train", 12), ("val", 4)):
        for kind in ("images", "annotations"):
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            photo = _photo(9, rng)
            x, y = rng.integers(0, 40, 2)
            box = (int(x), int(y), int(x) + 30, int(y) + 30)
            ImageDraw.Draw(photo).ellipse(box, fill=(250, 60, 60))
            name = f"{part}-{number:02d}"
            photo.save(folder / part / "images" / f"{name}.jpg", quality=90)
            sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
            corners = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
            text = f"<object><name>cell</name><bndbox>{corners}</bndbox></object>"
            (folder / part / "annotations" / f"{name}.xml").write_text(
                f"<annotation><filename>{name}.jpg</filename>{text}</annotation>"
            )


def _texts(path: Path, forms: dict[str, str], each: int, rng: np.random.Generator) -> None:
    """A CSV with the columns text and label: `each` texts a label, in any order."""
    words = {name: listed.split() for name, listed in _WORDS.items()}
    rows = []
    for label, form in forms.items():
        for _ in range(each):
            drawn = {name: str(rng.choice(every)) for name, every in words.items()}
            rows.append((form.format(**drawn), label))
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_csv(path, [("text", "label"), *(rows[at] for at in rng.permutation(len(rows)))])


def _write_csv(path: Path, rows: list[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
