"""Photos of 200 megapixels: peak memory of audit, train, evaluate and predict, one process each.

A folder of two classes holds small photos and, in each class, a JPEG of 16,320 x 12,240 pixels as
phones write them (4:2:0, EXIF), one of them progressive, one an MPO, one turned by EXIF. Bar: no
process needs more than 3 GB of resident memory, and every photo is read.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.runs import Results, arguments_for

BAR_GB = 3.0
LARGE = (16_320, 12_240)
SMALL = 24  # photos a class


def parser() -> argparse.ArgumentParser:
    return arguments_for("large-jpeg", __doc__)


def main(arguments: list[str]) -> int:
    given = parser().parse_args(arguments)
    out = Path(given.out)
    results = Results(out)
    size = (2_040, 1_530) if given.smoke else LARGE
    photos = _write(out / f"photos-{size[0]}", size)
    runs, large = out / "runs", sorted(photos.glob("*/large*"))
    train = ["train", str(photos), "--out", str(runs), "--epochs", "1", "--max-bad", "0"]
    commands = {
        "audit": ["audit", str(photos)],
        "train": [*train, "--model", "resnet20", "--weights", "none", "--size", "64"],
        "evaluate": ["evaluate", str(runs), str(photos)],
        "predict": ["predict", str(runs), *map(str, large)],
    }
    met = True
    for verb, words in commands.items():
        row = results.get(f"{verb}-{size[0]}") or results.add(f"{verb}-{size[0]}", _measured(words))
        print(f"{verb:<9} peak {row['peak_gb']:.2f} GB, {row['seconds']:.0f} s, exit {row['code']}")
        met &= row["peak_gb"] <= BAR_GB and row["code"] == 0
    print(f"{len(large)} photos of {size[0]:,} x {size[1]:,} pixels, {size[0] * size[1]:,} each")
    print("bar met" if met else "bar NOT met")
    return 0 if met else 1


def _measured(words: list[str]) -> dict[str, Any]:
    """Peak resident memory of the process, in GB (1e9 bytes), its seconds and exit code."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "skipstone", *words, "--json"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    found = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    if "error" in found:
        raise SystemExit(f"skipstone {' '.join(words)} failed: {found['error']}")
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return {
        "peak_gb": usage.ru_maxrss * kilobyte / 1e9,
        "seconds": round(time.monotonic() - began, 1),
        "code": os.waitstatus_to_exitcode(status),
    }


def _write(root: Path, size: tuple[int, int]) -> Path:
    for number, kind in enumerate(("bright", "dark")):
        folder = root / kind
        folder.mkdir(parents=True, exist_ok=True)
        for photo in range(SMALL):
            path = folder / f"{photo:02d}.jpg"
            if not path.exists():
                _scene(1_000 * number + photo, kind, (400, 300)).save(path, quality=90)
        exif = Image.Exif()
        exif[0x0112] = 6
        ways: dict[str, dict[str, Any]] = {
            "large-turned.jpg": {"format": "JPEG", "exif": exif},
            "large-progressive.jpg": {"format": "JPEG", "progressive": True},
        }
        if number:
            depth = Image.new("RGB", (400, 300))
            ways = {
                "large-phone.jpg": {"format": "MPO", "save_all": True, "append_images": [depth]},
                "large.jpg": {"format": "JPEG"},
            }
        missing = {name: way for name, way in ways.items() if not (folder / name).exists()}
        if missing:
            scene = _scene(number, kind, size)
            for name, way in missing.items():
                scene.save(folder / name, quality=90, subsampling="4:2:0", **way)
    return root


def _scene(seed: int, kind: str, size: tuple[int, int]) -> Image.Image:
    """Soft shapes with fine grain, all over the picture; one class is bright, one dark."""
    rng = np.random.default_rng(seed)
    low, high = (120, 250) if kind == "bright" else (5, 130)
    coarse = rng.integers(low, high, (24, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    grain = Image.fromarray(rng.integers(low, high, (512, 512, 3), dtype=np.uint8))
    for left in range(0, size[0], 1024):
        for top in range(0, size[1], 1024):
            picture.paste(grain, (left, top))
    draw = ImageDraw.Draw(picture)
    for _ in range(40):
        x, y = int(rng.integers(0, size[0])), int(rng.integers(0, size[1]))
        colour = tuple(int(value) for value in rng.integers(low, high, 3))
        draw.ellipse((x, y, x + size[0] // 12, y + size[1] // 12), fill=colour)
    return picture
