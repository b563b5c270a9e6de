"""Small generated pictures with masks: a dark ground, bright squares and discs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = ("ground", "square", "disc")
COLOURS = ((0, 0, 0), (128, 64, 0), (64, 0, 192))


def make_scene(seed: int, height: int = 48, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """(picture uint8 (H, W, 3), mask uint8 (H, W) of 0, 1, 2)."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 50, (height, width, 3)).astype(np.uint8)
    mask = np.zeros((height, width), np.uint8)
    y, x = np.mgrid[0:height, 0:width]
    for number, kind in enumerate(rng.permutation([1, 2, 1 + seed % 2])):
        size = int(rng.integers(height // 4, height // 2))
        left = number * width // 3 + int(rng.integers(0, max(1, width // 3 - size + 6)))
        top = int(rng.integers(0, height - size))
        inside = (y >= top) & (y < top + size) & (x >= left) & (x < left + size)
        if kind == 2:
            radius = size / 2
            inside = (y - top - radius) ** 2 + (x - left - radius) ** 2 <= radius**2
        picture[inside] = ((60, 200, 250), (250, 200, 40))[kind - 1]
        mask[inside] = kind
    return picture, mask


def save_mask(mask: np.ndarray, path: Path, kind: str = "index") -> None:
    """As an index, palette or colour PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "colour":
        table = np.zeros((256, 3), np.uint8)
        table[: len(COLOURS)] = COLOURS
        table[255] = 255
        Image.fromarray(table[mask]).save(path)
        return
    image = Image.fromarray(mask)
    if kind == "palette":
        image = image.convert("L").copy()
        image.putpalette([part for colour in COLOURS for part in colour])
    image.save(path)


def write_scenes(
    root: Path,
    count: int,
    *,
    kind: str = "index",
    start: int = 0,
    height: int = 48,
    width: int = 64,
    table: bool = True,
) -> Path:
    """root/images/NN.png and root/masks/NN.png, and root/classes.csv."""
    for number in range(start, start + count):
        picture, mask = make_scene(number, height, width)
        (root / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(root / "images" / f"{number:02d}.png")
        save_mask(mask, root / "masks" / f"{number:02d}.png", kind)
    if table:
        write_classes(root)
    return root


def write_classes(root: Path) -> None:
    lines = ["index,name,ignore,r,g,b"]
    lines += [
        f"{index},{name},,{red},{green},{blue}"
        for index, (name, (red, green, blue)) in enumerate(zip(NAMES, COLOURS, strict=True))
    ]
    lines.append("255,nothing,yes,255,255,255")
    (root / "classes.csv").write_text("\n".join(lines) + "\n")


class Rough:
    """Knows the colours of the scenes; `noise` drowns what it says of each pixel."""

    name = "rough"

    def __init__(self, noise: float) -> None:
        self.noise = noise

    def run(self, arrays: Any) -> dict[str, np.ndarray]:
        red = arrays["image"][..., 0].astype(np.float32)
        shown = np.where(red < 52, 0, np.where(red < 150, 1, 2))
        logits = 2.0 * (shown[:, None] == np.arange(3)[:, None, None])
        rng = np.random.default_rng(int(red.sum()))
        return {"logits": (logits + rng.normal(0, self.noise, logits.shape)).astype(np.float32)}

    def runtime_info(self) -> dict[str, Any]:
        return {}
