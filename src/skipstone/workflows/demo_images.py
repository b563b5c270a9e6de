"""The data of `skipstone demo`, written as files from what the dependencies ship.

Pictures: scikit-learn's handwritten digits (Alpaydin and Kaynak 1998, UCI; 1,797 of 8 x 8 pixels).
Texts: docstrings of Python's standard library, whose files are parsed and not imported.
"""

from __future__ import annotations

import ast
import io
import json
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Demonstration:
    """Named by `demo` of the spec of a task or input.

    Args:
        folder: name of the data's folder.
        title: for people.
        write_data: writes the data into an empty folder.
        choose_files: files to predict at the end.
        next_command: the command for the user's own data.
        settings: of `train`.
    """

    folder: str
    title: str
    write_data: Callable[[Path], None]
    choose_files: Callable[[Path], list[Path]]
    next_command: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def write_digits(folder: Path) -> None:
    """<digit>/<number>.png"""
    for number, (picture, digit) in enumerate(zip(*_digits(), strict=True)):
        (folder / str(digit)).mkdir(exist_ok=True)
        (folder / str(digit) / f"{number:04d}.png").write_bytes(_png(picture))


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """(pictures uint8 (1797, 8, 8), the digit of each)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.clip(np.round(digits.images * (255 / 16)), 0, 255).astype(np.uint8), digits.target


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


DIGITS = Demonstration(
    folder="digits",
    title="Handwritten digits",
    write_data=write_digits,
    choose_files=lambda data: [sorted((data / str(digit)).iterdir())[0] for digit in range(10)],
    next_command="skipstone train photos/      (one folder of photos per class)",
    settings={"epochs": 20},
)

# --- masks --------------------------------------------------------------------------------------

_SIDE, _SCALE, _INK = 64, 2, 64
_PAPER = 10


def write_scattered(folder: Path) -> None:
    """Digits scattered over grey canvases, and masks of their ink; no digit is in both splits."""
    pictures, digits = _digits()
    first = round(len(pictures) * 0.8)
    rows = {"train": np.arange(first), "val": np.arange(first, len(pictures))}
    for split, count in (("train", 240), ("val", 60)):
        rng = np.random.default_rng(len(rows[split]))
        images, masks = folder / split / "images", folder / split / "masks"
        images.mkdir(parents=True)
        masks.mkdir()
        for number in range(count):
            chosen = rng.choice(rows[split], int(rng.integers(4, 8)), replace=False)
            canvas, mask, _ = scatter_digits(pictures[chosen], digits[chosen], rng)
            (images / f"{number:03d}.png").write_bytes(_png(canvas))
            (masks / f"{number:03d}.png").write_bytes(_png(mask))
    names = ["index,name", *(f"{digit},{digit}" for digit in range(10)), f"{_PAPER},paper"]
    (folder / "classes.csv").write_text("\n".join(names) + "\n", encoding="utf-8")


def scatter_digits(
    pictures: np.ndarray, digits: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, list[int]]]]:
    """(canvas, mask), both uint8 (SIDE, SIDE), and each digit with the box [x, y, width, height] of
    its ink. Digits that find no free place are left out."""
    objects: list[tuple[int, list[int]]] = []
    canvas = rng.integers(0, 40, (_SIDE, _SIDE)).astype(np.uint8)
    mask = np.full((_SIDE, _SIDE), _PAPER, np.uint8)
    taken = np.zeros((_SIDE, _SIDE), bool)
    for picture, digit in zip(pictures, digits, strict=True):
        large = picture.repeat(_SCALE, 0).repeat(_SCALE, 1)
        size = len(large)
        for _ in range(10):
            top, left = rng.integers(0, _SIDE - size + 1, 2)
            place = np.s_[top : top + size, left : left + size]
            if not taken[place].any():
                taken[place] = True
                canvas[place] = np.maximum(canvas[place], large)
                mask[place][large >= _INK] = digit
                y, x = np.nonzero(large >= _INK)
                sides = [int(np.ptp(x)) + 1, int(np.ptp(y)) + 1]
                objects.append((int(digit), [int(left + x.min()), int(top + y.min()), *sides]))
                break
    return canvas, mask, objects


SCATTERED = Demonstration(
    folder="scattered",
    title="Scattered digits and their masks",
    write_data=write_scattered,
    choose_files=lambda data: sorted((data / "val" / "images").iterdir())[:5],
    next_command="skipstone train scenes/      (folders images/ and masks/)",
    # half a minute: a small network, and without augmentations that mirror or zoom digits
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

# --- boxes --------------------------------------------------------------------------------------


def write_boxed(folder: Path) -> None:
    """Digits scattered over grey canvases, and their boxes in a COCO file for each split."""
    pictures, digits = _digits()
    first = round(len(pictures) * 0.8)
    rows = {"train": np.arange(first), "val": np.arange(first, len(pictures))}
    for split, count in (("train", 160), ("val", 40)):
        rng = np.random.default_rng(len(rows[split]))
        (folder / split).mkdir(parents=True)
        content: dict[str, list[dict[str, Any]]] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": digit, "name": str(digit)} for digit in range(10)],
        }
        for number in range(count):
            chosen = rng.choice(rows[split], int(rng.integers(4, 8)), replace=False)
            canvas, _, objects = scatter_digits(pictures[chosen], digits[chosen], rng)
            (folder / split / f"{number:03d}.png").write_bytes(_png(canvas))
            size = {"width": _SIDE, "height": _SIDE}
            content["images"].append({"id": number, "file_name": f"{number:03d}.png", **size})
            content["annotations"] += [
                {"image_id": number, "category_id": digit, "bbox": box} for digit, box in objects
            ]
        (folder / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")


BOXED = Demonstration(
    folder="boxed",
    title="Scattered digits and their boxes",
    write_data=write_boxed,
    choose_files=lambda data: sorted((data / "val").iterdir())[:5],
    next_command="skipstone train photos/      (with COCO, YOLO or Pascal VOC files)",
    # a small network, and without augmentations that mirror or zoom digits
    settings={
        "model": "resnet20",
        "size": 64,
        "augment": "none",
        "pyramid_channels": 48,
        "epochs": 16,
        "batch_size": 8,
    },
)

# --- texts --------------------------------------------------------------------------------------

#: Packages with many docstrings.
_PACKAGES = ("asyncio", "ctypes", "email", "http", "logging", "multiprocessing", "unittest", "xml")


def write_docstrings(folder: Path) -> None:
    """<package>/<number>.txt: first paragraphs of 4 words or more."""
    library = Path(sysconfig.get_paths()["stdlib"])
    texts: set[str] = set()
    for package in _PACKAGES:
        (folder / package).mkdir()
        for file in sorted((library / package).rglob("*.py")):
            for text in _docstrings(file):
                if text not in texts and len(text.split()) >= 4:
                    texts.add(text)
                    path = folder / package / f"{len(texts):04d}.txt"
                    path.write_text(text, encoding="utf-8")


def _docstrings(file: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):  # files that test the parser
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())


DOCSTRINGS = Demonstration(
    folder="docstrings",
    title="Docstrings of Python's standard library, by package",
    write_data=write_docstrings,
    choose_files=lambda data: [sorted((data / package).iterdir())[0] for package in _PACKAGES],
    next_command="skipstone train texts.csv    (a column of texts and one of labels)",
)
