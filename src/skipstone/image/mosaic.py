"""Mosaic: pictures of four samples in one, with their boxes (Bochkovskiy et al. 2020, YOLOv4,
arXiv:2004.10934, section 3.3)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from skipstone.data.samples import Batch
from skipstone.image.augment import drop_hidden_boxes
from skipstone.tasks.base import Task


class MosaicMixing:
    """With `probability`, a picture becomes a window of a canvas that it shares with the next three
    of the batch, 2 x 2. The window has once to twice the side of a picture, holds the middle of the
    canvas, and is resized to the size of a picture."""

    key = "image"

    def __init__(self, task: Task, probability: float) -> None:
        self.ragged = task.ragged
        self.probability = probability

    def __call__(self, batch: Batch, *, seed: int, epoch: int, step: int) -> Batch:
        return self.mix_with_share(batch, seed=seed, epoch=epoch, step=step)[0]

    def mix_with_share(
        self, batch: Batch, *, seed: int, epoch: int, step: int
    ) -> tuple[Batch, None]:
        """The mixed batch: x[key] (N, H, W, C) of the same type, and boxes that are visible."""
        rng = random.Random(f"mosaic,{seed},{epoch},{step}")
        images, count = batch.x[self.key], len(batch)
        pictures: list[Tensor] = []
        targets: list[Mapping[str, Tensor]] = []
        for row in range(count):
            rows = [(row + following) % count for following in range(4)]
            own = [{name: batch.y[name][at] for name in self.ragged} for at in rows]
            if rng.random() >= self.probability:
                pictures.append(images[row])
                targets.append(own[0])
                continue
            picture, y = join_pictures(images[rows], own, rng, self.ragged)
            pictures.append(picture)
            targets.append(y)
        y_lists: dict[str, Any] = {name: [y[name] for y in targets] for name in self.ragged}
        mixed = torch.stack(pictures)
        return replace(batch, x={**batch.x, self.key: mixed}, y={**batch.y, **y_lists}), None


def join_pictures(
    images: Tensor,
    targets: Sequence[Mapping[str, Tensor]],
    rng: random.Random,
    ragged: frozenset[str],
) -> tuple[Tensor, dict[str, Tensor]]:
    """A window of four pictures (4, H, W, C) as one (H, W, C), and its targets.

    Args:
        targets: of each picture, "boxes" (n, 4) and others with a row per box.
    """
    height, width = images.shape[1:3]
    zoom = 1 + rng.random()
    window = round(zoom * height), round(zoom * width)
    top = int(rng.random() * (2 * height - window[0] + 1))
    left = int(rng.random() * (2 * width - window[1] + 1))
    upper, lower = torch.cat([*images[:2]], dim=1), torch.cat([*images[2:]], dim=1)
    canvas = torch.cat([upper, lower]).permute(2, 0, 1)  # (C, 2 H, 2 W)
    canvas = canvas if images.dtype == torch.uint8 else canvas.float()
    cut = F.resized_crop(canvas, top, left, *window, [height, width], antialias=True)
    if not images.is_floating_point():
        cut = cut.round()
    scale = torch.tensor([width / window[1], height / window[0]] * 2)
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    boxes = torch.cat(
        [
            each["boxes"].as_subclass(Tensor) + torch.tensor([x - left, y - top] * 2)
            for each, (x, y) in zip(targets, corners, strict=True)
        ]
    )
    placed = tv_tensors.BoundingBoxes(
        boxes * scale, format="XYXY", canvas_size=(height, width), clamping_mode=None
    )
    rest = {name: torch.cat([y[name] for y in targets]) for name in ragged if name != "boxes"}
    picture = cut.to(images.dtype).permute(1, 2, 0).contiguous()
    return picture, drop_hidden_boxes({"boxes": placed, **rest}, ragged)
