"""Channel statistics over many images: streaming, memory-bounded and robust to outliers.

A hot pixel of 65,535, or a few values of 1e30 where a sensor measured nothing, must not decide how
all other values are scaled. So mean and standard deviation are winsorised (Tukey 1962, "The Future
of Data Analysis"): values outside the 0.5 % and 99.5 % quantiles are clipped to these first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TAIL_QUANTILE = 0.005
#: Pixels that the sample holds at most.
MAX_SAMPLED_PIXELS = 1 << 18


@dataclass(frozen=True)
class ChannelStats:
    """One value per channel: quantiles of 0.5 %, 50 % and 99.5 %, and winsorised moments."""

    low: tuple[float, ...]
    middle: tuple[float, ...]
    high: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


class ChannelStatsMeter:
    """Takes images one by one and keeps a uniform sample of their pixels.

    Each image contributes the same share of its pixels, the same places in all channels. When the
    sample is full, a random half of it is dropped and the share halves, so every pixel so far had
    the same probability to be in it.

    Args:
        channels: of every image.
        kept: pixels that the sample holds at most.
        seed: of the sampling.
    """

    def __init__(
        self, channels: int, *, max_pixels: int = MAX_SAMPLED_PIXELS, seed: int = 0
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._max_pixels = max_pixels
        self._share = 1.0
        self._values = np.empty((0, channels), np.float32)

    def add_image(self, picture: np.ndarray) -> None:
        """Add an image (H, W, C) of finite values."""
        pixels = picture.reshape(-1, picture.shape[-1])
        if self._share < 1:
            count = self._rng.binomial(len(pixels), self._share)
            pixels = pixels[self._rng.choice(len(pixels), count, replace=False)]
        self._values = np.concatenate([self._values, pixels.astype(np.float32)])
        while len(self._values) > self._max_pixels:
            self._values = self._values[self._rng.random(len(self._values)) < 0.5]
            self._share /= 2

    def compute_stats(self) -> ChannelStats:
        """The statistics of all images so far; std is 1 for a channel without variation."""
        values = self._values.astype(np.float64)
        low, middle, high = np.quantile(values, [TAIL_QUANTILE, 0.5, 1 - TAIL_QUANTILE], axis=0)
        clipped = np.clip(values, low, high)
        # A channel that is constant but for its tails: there the tails are the signal.
        flat = clipped.std(axis=0) == 0
        clipped[:, flat] = values[:, flat]
        mean, std = clipped.mean(axis=0), clipped.std(axis=0)
        std = np.where(std > 0, std, 1.0)
        return ChannelStats(*(tuple(map(float, row)) for row in (low, middle, high, mean, std)))
