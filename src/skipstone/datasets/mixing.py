"""MixUp and CutMix: pairs of a batch are blended, inputs and targets; texts by their word vectors
or pooled features.

Each sample's partner is its neighbour in the batch, as in torchvision.transforms.v2 (an epoch is
shuffled, so neighbours are random). The generator is keyed by (seed, epoch, step).
"""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from skipstone.core.errors import UsageError
from skipstone.data.samples import Batch
from skipstone.models.network import MIXED, MIXED_WORDS, blend_pairs
from skipstone.tasks.base import Task


class Mixing(Protocol):
    """Mixes a batch, keyed by (seed, epoch, step)."""

    def __call__(self, batch: Batch, *, seed: int, epoch: int, step: int) -> Batch: ...


class ImageMixing:
    """MixUp with Beta(mixup, mixup), CutMix with Beta(cutmix, cutmix); 0 is off.

    With both on, each batch gets one of the two, with equal probability.
    """

    def __init__(self, task: Task, *, mixup: float, cutmix: float, key: str = "image") -> None:
        self.task = task
        self.mixup = mixup
        self.cutmix = cutmix
        self.key = key
        self.ragged: frozenset[str] = frozenset()

    def __call__(self, batch: Batch, *, seed: int, epoch: int, step: int) -> Batch:
        """The mixed batch: x[key] (N, H, W, C), float32 after MixUp; targets soft floats.

        Raises:
            UsageError: the task's targets cannot be mixed.
        """
        return self.mix_with_share(batch, seed=seed, epoch=epoch, step=step)[0]

    def mix_with_share(
        self, batch: Batch, *, seed: int, epoch: int, step: int
    ) -> tuple[Batch, float]:
        """The mixed batch, and each sample's own share of it."""
        soft = self.task.to_soft_targets(batch.y)
        if soft is None:
            raise unmixable_error(self.task)
        rng = random.Random(f"mix,{seed},{epoch},{step}")
        cut = self.cutmix > 0 and (self.mixup == 0 or rng.random() < 0.5)
        images = batch.x[self.key]
        alpha = self.cutmix if cut else self.mixup
        share = rng.betavariate(alpha, alpha)
        if cut:
            mixed, share = cutmix_images(images, share, rng)
        else:
            mixed = mixup_images(images, share)
        y = {name: blend_pairs(value, share) for name, value in soft.items()}
        return replace(batch, x={**batch.x, self.key: mixed}, y={**batch.y, **y}), share


class TextMixing:
    """wordMixup and senMixup (Guo, Mao and Zhang 2019, arXiv:1905.08941): the word vectors of two
    texts are blended, or their pooled features, and their targets.

    Only draws the share, from Beta(words, words) or Beta(features, features), where 0 is off, and
    softens the targets. The network and the objective blend (`models/network.py`), so partners are
    of one micro-batch. With both on, each batch gets one of the two, with equal probability.
    """

    def __init__(self, task: Task, *, words: float, features: float) -> None:
        self.task = task
        self.words = words
        self.features = features

    def __call__(self, batch: Batch, *, seed: int, epoch: int, step: int) -> Batch:
        """The batch with x[MIXED_WORDS] or x[MIXED] (N,), and soft targets.

        Raises:
            UsageError: the task's targets cannot be mixed.
        """
        soft = self.task.to_soft_targets(batch.y)
        if soft is None:
            raise unmixable_error(self.task)
        rng = random.Random(f"mix,{seed},{epoch},{step}")
        by_words = self.words > 0 and (self.features == 0 or rng.random() < 0.5)
        alpha = self.words if by_words else self.features
        share = torch.full((len(batch),), rng.betavariate(alpha, alpha), dtype=torch.float32)
        x = {**batch.x, MIXED_WORDS if by_words else MIXED: share}
        return replace(batch, x=x, y={**batch.y, **soft})


def unmixable_error(task: Task) -> UsageError:
    return UsageError(
        f"MixUp and CutMix mix targets, which {task.name!r} does not support.",
        hint="Set mixup=0 and cutmix=0, or choose a preset without them.",
    )


def mixup_images(images: Tensor, share: float) -> Tensor:
    """(N, H, W, C) of any type -> float32 (Zhang 2018, arXiv:1710.09412, section 2)."""
    return blend_pairs(images.to(torch.float32), share)


def cutmix_images(images: Tensor, share: float, rng: random.Random) -> tuple[Tensor, float]:
    """A rectangle of 1 - share of the area from each neighbour (Yun 2019, arXiv:1905.04899).

    Returns the images (N, H, W, C) in their own type, and each image's own share, counted after
    the border clipped the rectangle.
    """
    height, width = images.shape[1:3]
    half = math.sqrt(1 - share) / 2
    x, y = int(rng.random() * width), int(rng.random() * height)
    x0, x1 = max(0, x - int(half * width)), min(width, x + int(half * width))
    y0, y1 = max(0, y - int(half * height)), min(height, y + int(half * height))
    mixed = images.clone()
    mixed[:, y0:y1, x0:x1] = images.roll(1, 0)[:, y0:y1, x0:x1]
    return mixed, 1 - (y1 - y0) * (x1 - x0) / (height * width)
