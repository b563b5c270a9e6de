"""Dice for augmentation that leave everyone else's alone."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor


def uniform(rng: random.Random, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def border_colour(image: Tensor) -> list[float]:
    """Mean of the outermost pixels of (C, H, W), a channel each: what lies beyond, as a guess."""
    rows = image[:, (0, -1), :].flatten(1)
    columns = image[:, :, (0, -1)].flatten(1)
    mean = torch.cat([rows, columns], 1).float().mean(1)
    colour: list[float] = (mean if image.is_floating_point() else mean.round()).tolist()
    return colour


def moved(image: Tensor, move: Callable[[Tensor], Tensor]) -> Tensor:
    """`move(image)`, with the colour of the border where it brings in what lies beyond.

    v2's own `fill` is blended with pixels that are darkened before, up to a quarter at the edge, so
    that every turned picture would have a dark seam. Moved as differences from the fill, there is
    nothing to darken.

    Args:
        move: linear, with zeros for what lies beyond; of a float image (C, H, W).
    """
    beyond = torch.tensor(border_colour(image)).view(-1, 1, 1)
    found = move(image.float() - beyond) + beyond
    return found if image.is_floating_point() else found.round().clamp(0, 255).to(image.dtype)


@contextlib.contextmanager
def scoped_seed(seed: int) -> Iterator[None]:
    """Within the block the random states of torch (CPU), numpy and Python start from `seed`;
    afterwards they are what they were. For the thread that owns those states only."""
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
