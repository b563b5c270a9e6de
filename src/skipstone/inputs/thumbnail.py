"""A picture small enough to keep of every row, and good enough to tell two pictures apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

#: Sides of the square that a picture is squeezed into: of most, and of those that are small.
SIDE, SMALL_SIDE = 96, 32
#: A picture whose shorter side is below this is small.
SMALL = 48
_CHROMA_SIDE = 8


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnail:
    """Args:
    grey: (S, S) uint8, S is SIDE or SMALL_SIDE.
    chroma: (8, 8, 2) uint8, Cb and Cr; 128 is grey.
    pixels: of the source's shorter side: below that there is nothing to see.
    """

    grey: np.ndarray
    chroma: np.ndarray
    pixels: int

    def smaller(self) -> Thumbnail:
        """1 KB instead of 9. By it only good copies are told."""
        if len(self.grey) == SMALL_SIDE:
            return self
        step = len(self.grey) // SMALL_SIDE
        blocks = self.grey.reshape(SMALL_SIDE, step, SMALL_SIDE, step)
        grey = blocks.mean((1, 3), dtype=np.float32).round().astype(np.uint8)
        return replace(self, grey=grey)


def thumbnail(record: np.ndarray, size: tuple[int, ...]) -> Thumbnail:
    """Of a record (SIDE, SIDE, 3) uint8, whose source has `size` (height, width)."""
    picture = Image.fromarray(record).convert("YCbCr")
    shorter = min(size)
    small = picture.resize((_CHROMA_SIDE, _CHROMA_SIDE), Image.Resampling.BOX)
    if shorter < SMALL:
        picture = picture.resize((SMALL_SIDE, SMALL_SIDE), Image.Resampling.BOX)
    grey = np.asarray(picture)[..., 0].copy()
    return Thumbnail(grey, np.asarray(small)[..., 1:].copy(), shorter)
