"""Random numbers of augmentations, without touching global random states."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor


def draw_uniform(rng: random.Random, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def border_colour(image: Tensor) -> list[float]:
    """Mean of the outermost pixels of (C, H, W), per channel: a fill colour for borders."""
    rows = image[:, (0, -1), :].flatten(1)
    columns = image[:, :, (0, -1)].flatten(1)
    mean = torch.cat([rows, columns], 1).float().mean(1)
    colour: list[float] = (mean if image.is_floating_point() else mean.round()).tolist()
    return colour


def transform_with_fill(image: Tensor, transform: Callable[[Tensor], Tensor]) -> Tensor:
    """`transform(image)`, filled with the border's colour outside the image.

    The `fill` of torchvision's v2 is blended with edge pixels that are darkened up to a quarter,
    which gives rotated images a dark seam. Moving the differences from the fill avoids it.

    Args:
        transform: a linear transform of a float image (C, H, W) with zeros outside.
    """
    fill = torch.tensor(border_colour(image)).view(-1, 1, 1)
    result = transform(image.float() - fill) + fill
    return result if image.is_floating_point() else result.round().clamp(0, 255).to(image.dtype)


@contextlib.contextmanager
def scoped_seed(seed: int) -> Iterator[None]:
    """Seed the global random states of torch (CPU), numpy and Python in the block, and restore them
    after it. Only for the thread that owns those states."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
