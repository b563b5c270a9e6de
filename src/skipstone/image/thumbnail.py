"""Thumbnails: small enough to keep one per row, detailed enough to compare images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

#: Sides of a thumbnail: usually, and of small images.
SIDE, SMALL_SIDE = 96, 32
#: An image with a shorter side below this is small.
SMALL = 48
_CHROMA_SIDE = 8


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnail:
    """An image squashed to a square.

    Args:
        grey: (S, S) uint8, S is SIDE or SMALL_SIDE.
        chroma: (8, 8, 2) uint8, Cb and Cr; 128 is grey.
        pixels: the source's shorter side: it has no finer detail.
    """

    grey: np.ndarray
    chroma: np.ndarray
    pixels: int

    def make_smaller(self) -> Thumbnail:
        """A version of 1 KB instead of 9, which only reveals close copies."""
        if len(self.grey) == SMALL_SIDE:
            return self
        step = len(self.grey) // SMALL_SIDE
        blocks = self.grey.reshape(SMALL_SIDE, step, SMALL_SIDE, step)
        grey = blocks.mean((1, 3), dtype=np.float32).round().astype(np.uint8)
        return replace(self, grey=grey)


def make_thumbnail(record: np.ndarray, size: tuple[int, ...]) -> Thumbnail:
    """The thumbnail of a record (SIDE, SIDE, 3) uint8 of a source of (height, width) `size`."""
    picture = Image.fromarray(record).convert("YCbCr")
    shorter = min(size)
    small = picture.resize((_CHROMA_SIDE, _CHROMA_SIDE), Image.Resampling.BOX)
    if shorter < SMALL:
        picture = picture.resize((SMALL_SIDE, SMALL_SIDE), Image.Resampling.BOX)
    grey = np.asarray(picture)[..., 0].copy()
    return Thumbnail(grey, np.asarray(small)[..., 1:].copy(), shorter)
