"""Boxes as offsets to anchors: shifts of the middle in sides of the anchor, and logarithms of the
ratios of sides (Girshick et al. 2014, arXiv:1311.2524, appendix C)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

#: Factors of offsets in SSD and in the box stage of Fast R-CNN: their inverse variances.
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
_MAX_LOG_SCALE = math.log(1000.0 / 16)


def decode_offsets(
    offsets: Tensor, anchors: Tensor, weights: Sequence[float] = BOX_WEIGHTS
) -> Tensor:
    """Boxes (..., A, 4) from offsets to anchors (A, 4), or (..., A, 4)."""
    sides = anchors[..., 2:] - anchors[..., :2]
    middle = anchors[..., :2] + 0.5 * sides
    scaled = offsets / torch.tensor(weights, device=offsets.device)
    centre = scaled[..., :2] * sides + middle
    half = 0.5 * scaled[..., 2:].clamp(max=_MAX_LOG_SCALE).exp() * sides
    return torch.cat([centre - half, centre + half], dim=-1)


def encode_offsets(
    boxes: Tensor, anchors: Tensor, weights: Sequence[float] = BOX_WEIGHTS
) -> Tensor:
    """The offsets (n, 4) that move anchors (n, 4) to boxes (n, 4)."""
    sides, wanted = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    shift = (boxes[:, :2] + 0.5 * wanted - anchors[:, :2] - 0.5 * sides) / sides
    return torch.cat([shift, (wanted / sides).log()], dim=1) * torch.tensor(
        weights, device=boxes.device
    )


def clip_boxes(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Boxes (..., 4) without what lies outside an image of this (height, width)."""
    limits = torch.tensor([size[1], size[0], size[1], size[0]], dtype=boxes.dtype)
    return torch.minimum(boxes.clamp(min=0), limits.to(boxes.device))


def pair_positions(x: Tensor, y: Tensor) -> Tensor:
    """(H * W, 2): each x (W,) beside each y (H,), row by row. By broadcasting, as an export of any
    size cannot repeat by a size."""
    shape = y.shape[0], x.shape[0]
    return torch.stack([x[None].expand(shape), y[:, None].expand(shape)], dim=2).reshape(-1, 2)
