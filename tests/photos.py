"""Small generated photos and data sets, in classes that a small network learns in seconds."""

from __future__ import annotations

import csv
import gzip
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("disc", "square", "stripes")
_COLOURS = {"disc": (200, 60, 50), "square": (60, 180, 70), "stripes": (50, 80, 200)}


def make_photo(seed: int, kind: str, size: tuple[int, int] = (40, 48)) -> Image.Image:
    """An RGB photo of `size` (width, height): a coloured shape somewhere on a noisy ground.

    `kind` is one of CLASSES. The same arguments give the same pixels.
    """
    rng = np.random.default_rng([seed, CLASSES.index(kind)])
    width, height = size
    ground = rng.integers(90, 160, 3)
    noise = rng.normal(0, 12, (height, width, 3))
    picture = Image.fromarray(np.clip(ground + noise, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    jitter = rng.integers(-20, 21, 3)
    colour = tuple(int(value) for value in np.clip(np.add(_COLOURS[kind], jitter), 0, 255))
    side = int(min(width, height) * rng.uniform(0.5, 0.75))
    left, top = (int(rng.integers(0, length - side)) for length in (width, height))
    box = (left, top, left + side, top + side)
    if kind == "disc":
        draw.ellipse(box, fill=colour)
    elif kind == "square":
        draw.rectangle(box, fill=colour)
    else:
        for line in range(top, top + side, 6):
            draw.rectangle((left, line, left + side, line + 2), fill=colour)
    return picture


def save_photo(picture: Image.Image, path: Path, variant: int = 0) -> Path:
    """Write `picture` in one of the shapes that photos come in; the suffix is chosen here.

    Variants 0..5: JPEG, PNG, WebP, RGBA PNG, JPEG stored turned with an EXIF orientation that
    turns it back, palette PNG. (A grey one would lose the classes' colours; the shapes stay.)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    match variant % 6:
        case 0:
            path = path.with_suffix(".jpg")
            picture.save(path, quality=90)
        case 1:
            path = path.with_suffix(".png")
            picture.save(path)
        case 2:
            path = path.with_suffix(".webp")
            picture.save(path, quality=90)
        case 3:
            path = path.with_suffix(".png")
            picture.convert("RGBA").save(path)
        case 4:
            path = path.with_suffix(".jpg")
            exif = Image.Exif()
            exif[0x0112] = 6  # to be shown turned 90 degrees clockwise
            picture.transpose(Image.Transpose.ROTATE_90).save(path, quality=90, exif=exif)
        case _:
            path = path.with_suffix(".png")
            picture.quantize(64).save(path)
    return path


def write_class_folder(root: Path, per_class: int, *, first_seed: int = 0) -> Path:
    """root/<class>/<number>.*: `per_class` photos of each class in mixed file types; the last
    photo of each class is grey."""
    for kind in CLASSES:
        for number in range(per_class):
            picture = make_photo(first_seed + number, kind)
            if number == per_class - 1 and per_class > 6:
                picture = picture.convert("L")
                save_photo(picture, root / kind / f"{number:03d}", variant=1)
            else:
                save_photo(picture, root / kind / f"{number:03d}", variant=number)
    return root


def write_tag_table(root: Path, rows: int = 36, *, separator: str = "|") -> Path:
    """root/labels.csv (path, tags) and root/images: every photo shows one to three shapes side by
    side, and its tags name them."""
    root.mkdir(parents=True, exist_ok=True)
    table = [["path", "tags"]]
    for number in range(rows):
        rng = np.random.default_rng([7, number])
        chosen = [kind for kind in CLASSES if rng.random() < 0.55] or [CLASSES[number % 3]]
        picture = Image.new("RGB", (32 * len(CLASSES), 32), (120, 120, 120))
        for place, kind in enumerate(CLASSES):
            if kind in chosen:
                picture.paste(make_photo(number, kind, (32, 32)), (32 * place, 0))
        path = save_photo(picture, root / "images" / f"{number:03d}", variant=number % 2)
        table.append([path.relative_to(root).as_posix(), separator.join(chosen)])
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(table)
    return root / "labels.csv"


def write_idx(path: Path, array: np.ndarray) -> Path:
    """A uint8 array as an IDX file; packed where the name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data = head + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data, 1, mtime=0) if path.suffix == ".gz" else data)
    return path


def write_idx_folder(root: Path, train: int = 48, test: int = 18) -> Path:
    """Grey 20x16 photos (height x width) of the three shapes, labelled 0, 1, 2."""
    for name, count, first in (("train", train, 0), ("t10k", test, 1000)):
        labels = np.arange(count) % len(CLASSES)
        pictures = [
            np.asarray(make_photo(first + n, CLASSES[label], (16, 20)).convert("L"))
            for n, label in enumerate(labels)
        ]
        write_idx(root / f"{name}-images-idx3-ubyte.gz", np.stack(pictures))
        write_idx(root / f"{name}-labels-idx1-ubyte.gz", labels)
    return root
