"""Augmentation of images beyond photos: any depth and number of channels, in float32.

Geometric operations are those of photos. Colour operations are the two that apply to any sensor:
gain (one factor for all channels, above the training rows' dark level) and contrast (about the
image's own mean). Saturation, hue and operations on a photo's 256 steps (posterize, equalize, ...:
RandAugment, TrivialAugment) do not apply; naming them is an error.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from skipstone.core.errors import UsageError
from skipstone.core.rng import draw_uniform
from skipstone.image.augment import (
    OPERATIONS,
    Custom,
    ImageAugmentation,
    Operation,
    Values,
    draw_crop_box,
    draw_noise,
)
from skipstone.image.augment_options import OPERATIONS as OPERATION_ORDER
from skipstone.image.augment_options import PRESETS, ImageAugmentOptions
from skipstone.image.channel_stats import ChannelStats

#: Operations that need the 256 steps of a photo, and their replacement in a preset.
_PHOTO_ONLY = ("saturation", "hue", "randaugment", "trivialaugment")
_REPLACEMENT: Mapping[str, float] = {"rotate": 15.0, "color": 0.3}


class HighDepthAugmentation(ImageAugmentation):
    """As `ImageAugmentation`, for x[key] of any real type (H, W, C) in and float32 out, in stored units.

    Args:
        levels: statistics of each channel over the training rows.
        dtype: of the records; values are clipped to the maximum of an integer type.
        strengths, custom, output_size: as of `ImageAugmentation`; `custom` gets float32.
    """

    def __init__(
        self,
        channel_stats: ChannelStats,
        dtype: np.dtype[Any],
        strengths: Mapping[str, float],
        custom: Custom | None = None,
        output_size: tuple[int, int] | None = None,
        ragged: frozenset[str] = frozenset(),
    ) -> None:
        self.fill = channel_stats.middle
        self.dark = torch.tensor(channel_stats.low).view(-1, 1, 1)
        self.middle = torch.tensor(channel_stats.middle).view(-1, 1, 1)
        self.top = float(np.iinfo(dtype).max) if dtype.kind == "u" else None
        self.range = torch.tensor(channel_stats.high).view(-1, 1, 1) - self.dark
        overrides: dict[str, Operation] = {
            "color": self._color,
            "brightness": self._gain,
            "contrast": self._contrast,
            "noise": self._noise,
            "erase": self._erase,
        }
        super().__init__(
            strengths,
            custom,
            output_size=output_size,
            operations={**OPERATIONS, **overrides},
            ragged=ragged,
        )

    def to_compute_type(self, image: Tensor) -> Tensor:
        return image.to(torch.float32)

    def _color(self, values: Values, rng: random.Random, strength: float) -> Values:
        """Gain and contrast, each times 1 - strength to 1 + strength."""
        return self._contrast(self._gain(values, rng, strength), rng, strength)

    def _gain(self, values: Values, rng: random.Random, strength: float) -> Values:
        factor = draw_uniform(rng, 1 - strength, 1 + strength)
        return [self._clip(self.dark + (values[0] - self.dark) * factor), *values[1:]]

    def _contrast(self, values: Values, rng: random.Random, strength: float) -> Values:
        factor = draw_uniform(rng, 1 - strength, 1 + strength)
        mean = values[0].mean((1, 2), keepdim=True)
        return [self._clip(mean + (values[0] - mean) * factor), *values[1:]]

    def _noise(self, values: Values, rng: random.Random, strength: float) -> Values:
        """As for photos; the range is from the dark to the bright level of each channel."""
        noise = draw_noise(values[0], rng, strength) * self.range
        return [self._clip(values[0] + noise), *values[1:]]

    def _clip(self, image: Tensor) -> Tensor:
        return image if self.top is None else image.clamp(0, self.top)

    def _erase(self, values: Values, rng: random.Random, probability: float) -> Values:
        """As for photos, but with each channel's median."""
        apply = rng.random() < probability
        height, width = values[0].shape[-2:]
        box = draw_crop_box(height, width, (0.02, 0.33), (0.3, 3.3), rng)
        return [F.erase(values[0], *box, self.middle), *values[1:]] if apply else values


def replace_photo_operations(
    options: ImageAugmentOptions, strengths: Mapping[str, float]
) -> dict[str, float]:
    """The strengths without photo-only operations; a preset's are replaced.

    Raises:
        UsageError: the user named one of them.
    """
    by_name = [name for name in _PHOTO_ONLY if getattr(options, name)]
    if options.augment not in PRESETS:
        by_name += [name for name in _PHOTO_ONLY if name in strengths]
    if by_name:
        raise UsageError(
            f"{by_name[0]} works on the 256 steps and three colours of photos, which these "
            "pictures do not have.",
            hint="Name others: --augment flip,crop,rotate,brightness,contrast,noise,blur; or a preset: "
            "--augment strong",
        )
    if not any(name in strengths for name in _PHOTO_ONLY):
        return dict(strengths)
    others = {name: value for name, value in strengths.items() if name not in _PHOTO_ONLY}
    added = {name: s for name, s in _REPLACEMENT.items() if getattr(options, name) is None}
    chosen = {**others, **added}
    return {name: chosen[name] for name in OPERATION_ORDER if name in chosen}
