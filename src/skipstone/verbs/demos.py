"""What `skipstone demo` can show, a task each: data that ships with a dependency, and how to train.

scikit-learn's handwritten digits (Alpaydin and Kaynak 1998, UCI; 1,797 pictures of 8 x 8 pixels)
are written out as files, so that the real readers, decoders and the audit run on them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from skipstone import storage


@dataclass(frozen=True)
class Demonstration:
    """Named by the fact `demo` of a task's entry.

    Args:
        folder: of its data, below the demo's.
        title: what is shown, for people.
        figure: what the headline metric is a figure of.
        write: writes the data into an empty folder.
        pick: some of its files, to be answered at the end.
        next: the command to type for data of one's own, and how that lies.
        settings: of `train`, beside its defaults.
    """

    folder: str
    title: str
    figure: str
    write: Callable[[Path], None]
    pick: Callable[[Path], list[Path]]
    next: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def write_once(folder: Path, write: Callable[[Path], None]) -> Path:
    """The data in `folder`, written once, whole or not at all."""
    if not folder.is_dir():
        storage.make_folder(folder.parent)
        with storage.write_folder(folder) as new:
            write(new)
    return folder


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """(pictures uint8 (1797, 8, 8), the digit of each)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pictures = np.clip(np.round(digits.images * (255 / 16)), 0, 255).astype(np.uint8)
    return pictures, digits.target


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def write_digits(new: Path) -> None:
    """One PNG a digit, in a folder a class."""
    for number, (picture, digit) in enumerate(zip(*_digits(), strict=True)):
        place = new / str(digit)
        place.mkdir(exist_ok=True)
        (place / f"{number:04d}.png").write_bytes(_png(picture))


# --- masks --------------------------------------------------------------------------------------

#: Canvases to train on and to score on; none of the digits is on both.
CANVASES = {"train": 240, "val": 60}
SIDE, SCALE, INK = 64, 2, 64


def write_scattered(new: Path) -> None:
    """Digits, twice as large, scattered over grey canvases, and masks of whose ink is where."""
    pictures, digits = _digits()
    first = round(len(pictures) * 0.8)
    for split, rows in (("train", range(first)), ("val", range(first, len(pictures)))):
        for name in ("images", "masks"):
            (new / split / name).mkdir(parents=True)
        rng = np.random.default_rng(len(rows))
        for number in range(CANVASES[split]):
            chosen = rng.choice(np.asarray(rows), int(rng.integers(4, 8)), replace=False)
            canvas, mask = scatter(pictures[chosen], digits[chosen], rng)
            (new / split / "images" / f"{number:03d}.png").write_bytes(_png(canvas))
            (new / split / "masks" / f"{number:03d}.png").write_bytes(_png(mask))
    names = ["index,name", *(f"{digit},{digit}" for digit in range(10)), "10,paper"]
    (new / "classes.csv").write_text("\n".join(names) + "\n", encoding="utf-8")


def scatter(
    pictures: np.ndarray, digits: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(canvas, mask), both uint8 (SIDE, SIDE). Digits that find no free place are left out."""
    canvas = rng.integers(0, 40, (SIDE, SIDE)).astype(np.uint8)
    mask = np.full((SIDE, SIDE), 10, np.uint8)
    taken = np.zeros((SIDE, SIDE), bool)
    for picture, digit in zip(pictures, digits, strict=True):
        large = picture.repeat(SCALE, 0).repeat(SCALE, 1)
        size = len(large)
        for _ in range(10):
            top, left = rng.integers(0, SIDE - size + 1, 2)
            place = np.s_[top : top + size, left : left + size]
            if not taken[place].any():
                taken[place] = True
                canvas[place] = np.maximum(canvas[place], large)
                mask[place][large >= INK] = digit
                break
    return canvas, mask


DIGITS = Demonstration(
    folder="digits",
    title="Handwritten digits",
    figure="accuracy on held-out digits",
    write=write_digits,
    pick=lambda data: [sorted((data / str(digit)).iterdir())[0] for digit in range(10)],
    next="skipstone train photos/      (one folder of photos a class)",
    settings={"epochs": 20},  # enough for digits; more would only keep a newcomer waiting
)
SCATTERED = Demonstration(
    folder="scattered",
    title="Scattered digits and their masks",
    figure="mean IoU on held-out canvases",
    write=write_scattered,
    pick=lambda data: sorted((data / "val" / "images").iterdir())[:5],
    next="skipstone train scenes/      (folders images/ and masks/)",
    # small, and without what mirrors or zooms digits: half a minute
    settings={
        "model": "resnet20",
        "width": 0.5,
        "augment": "none",
        "crf": "off",
        "epochs": 14,
        "batch_size": 8,
        "lr": 0.2,
    },
)
