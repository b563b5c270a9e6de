"""Pictures beyond photos, written as files for tests."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import tifffile


def tiff(array: np.ndarray, **options: Any) -> bytes:
    """A TIFF of (H, W, C), samples side by side unless `options` say otherwise."""
    stream = io.BytesIO()
    planar = {"planarconfig": "contig"} if array.ndim == 3 and array.shape[2] > 1 else {}
    tifffile.imwrite(stream, array, **{"photometric": "minisblack", **planar, **options})
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def stripes(number: int, period: int, *, side: int = 32, channels: int = 5) -> np.ndarray:
    """uint16 (side, side, channels) that say what they are in the low byte only.

    The high byte is one number a channel, drawn for each picture: in 8 bits these pictures are
    flat, and what they differ by is hundreds of times what there is to see in them.
    """
    rng = np.random.default_rng([number, period])
    y, x = np.mgrid[0:side, 0:side]
    turn, phase = rng.uniform(0, np.pi, 2)
    wave = 127.5 + 90 * np.sin(2 * np.pi * (x * np.cos(turn) + y * np.sin(turn)) / period + phase)
    low = np.clip(wave[..., None] + rng.normal(0, 20, (side, side, channels)), 0, 255)
    high = rng.integers(10, 246, (1, 1, channels))
    return (high * 256 + low).astype(np.uint16)


def write_stripes(root: Path, count: int, **sizes: int) -> Path:
    """<root>/fine and <root>/coarse with `count` TIFFs each."""
    for name, period in (("fine", 4), ("coarse", 14)):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            data = tiff(stripes(number, period, **sizes), compression="zlib", predictor=True)
            (root / name / f"{number:03d}.tif").write_bytes(data)
    return root
