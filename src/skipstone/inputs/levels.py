"""Statistics of channels over many pictures: streaming, in little memory, and robust.

A hot pixel of 65,535, or a few values of 1e30 where a sensor saw nothing, must not decide how all
others are scaled. So mean and standard deviation are taken after the values beyond the 0.5 % and
99.5 % quantiles were set to these (winsorised; Tukey 1962, "The Future of Data Analysis").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TAIL = 0.005
#: Values a channel that are kept.
KEPT = 1 << 18


@dataclass(frozen=True)
class Levels:
    """A number a channel: quantiles of 0.5 %, 50 % and 99.5 %, and winsorised moments."""

    low: tuple[float, ...]
    middle: tuple[float, ...]
    high: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


class LevelMeter:
    """Takes pictures one by one and keeps an even sample of their pixels.

    Of each picture the same share of pixels is drawn, in all channels at the same places. When the
    sample is full, every second pixel of it is dropped and the share halves, so that each pixel
    that was ever shown had the same chance to be in it.

    Args:
        channels: of every picture.
        kept: pixels that are held at most.
        seed: of the draws.
    """

    def __init__(self, channels: int, *, kept: int = KEPT, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._kept = kept
        self._share = 1.0
        self._values = np.empty((0, channels), np.float32)

    def add(self, picture: np.ndarray) -> None:
        """(H, W, C) of finite numbers."""
        pixels = picture.reshape(-1, picture.shape[-1])
        if self._share < 1:
            count = self._rng.binomial(len(pixels), self._share)
            pixels = pixels[self._rng.choice(len(pixels), count, replace=False)]
        self._values = np.concatenate([self._values, pixels.astype(np.float32)])
        while len(self._values) > self._kept:
            self._values = self._values[self._rng.random(len(self._values)) < 0.5]
            self._share /= 2

    def levels(self) -> Levels:
        """Of all pictures so far; of a channel without any spread, std is 1."""
        values = self._values.astype(np.float64)
        low, middle, high = np.quantile(values, [TAIL, 0.5, 1 - TAIL], axis=0)
        inner = np.clip(values, low, high)
        # Where almost all pixels are alike, what is rare is all that there is to see.
        flat = inner.std(axis=0) == 0
        inner[:, flat] = values[:, flat]
        mean, std = inner.mean(axis=0), inner.std(axis=0)
        std = np.where(std > 0, std, 1.0)
        return Levels(*(tuple(map(float, row)) for row in (low, middle, high, mean, std)))
