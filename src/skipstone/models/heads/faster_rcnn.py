"""Faster R-CNN on a pyramid of maps (Ren et al. 2015, arXiv:1506.01497; Lin et al. 2017,
arXiv:1612.03144).

A first stage proposes regions where an object may be, a second one classifies and refines them:

    maps of stride 8, 16, 32 -> pyramid                          (N, C, H, W) each, and one of half
                                                                  the size of the deepest
    each place of each map -> objectness and offsets of anchors  (N, A), (N, A, 4)
    the best without overlaps                                    (N, R, 4) regions
    each region -> 7 x 7 bins of the map that suits its size     (N * R, C, 7, 7)
    two hidden layers -> K classes and background, offsets       (N, R, K + 1), (N, R, K + 1, 4)

It equals torchvision's with its weights. As a graph of fixed shapes it differs in one point: where
fewer than R regions remain, rows of zeros follow, with scores of 0. Regions come in the order of
their anchors, not of their scores, so that rounding does not exchange rows. Each region has a box
for each class, as in torchvision: scores are (N, R * K, K), which for 80 classes is 7 MB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.models.box_offsets import clip_boxes, decode_offsets, pair_positions
from skipstone.models.heads.fast_rcnn import RegionHead
from skipstone.models.heads.options import FasterRcnnOptions
from skipstone.models.losses import Criterion
from skipstone.models.region_layers import (
    FeaturePyramid,
    RegionClassifier,
    Suppression,
    pool_regions,
)
from skipstone.models.region_losses import PROPOSAL_WEIGHTS, ProposalCriterion

#: Anchors of each map that enter non-maximum suppression, its overlap, and the least side of a
#: region in pixels.
MAX_CANDIDATES, PROPOSAL_IOU, MIN_SIDE = 1000, 0.7, 1e-3
#: Stands for the objectness of a suppressed box, and for the anchor of none.
_LOWEST, _NO_ANCHOR = -1e9, 1 << 24


class ProposalLayers(nn.Module):
    """A pyramid's maps -> objectness (N, A) and offsets (N, A, 4) of their anchors, with one set of
    weights for all maps. Names are torchvision's."""

    def __init__(self, width: int, anchors: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU()))
        self.cls_logits = nn.Conv2d(width, anchors, 1)
        self.bbox_pred = nn.Conv2d(width, 4 * anchors, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        hidden = [self.conv(value) for value in maps]
        objectness = [self.cls_logits(value).permute(0, 2, 3, 1).flatten(1) for value in hidden]
        offsets = [self.bbox_pred(value).permute(0, 2, 3, 1).flatten(1) for value in hidden]
        return objectness, [value.reshape(value.shape[0], -1, 4) for value in offsets]


class FasterRcnnHead(RegionHead):
    """Proposes regions, and classifies them.

    Args:
        options: widths, anchors and number of regions.
        channels: of the backbone's feature maps; those from `finest_stride` on are used.
        strides: of the backbone's feature maps.
        classes: K.
    """

    def __init__(
        self,
        options: FasterRcnnOptions,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
    ) -> None:
        super().__init__()
        used = [index for index, stride in enumerate(strides) if stride >= options.finest_stride]
        self.used = used or [len(strides) - 1]
        self.strides = [strides[index] for index in self.used]
        self.max_regions = options.max_regions
        self.anchor_shapes = make_anchor_shapes(
            [*self.strides, 2 * self.strides[-1]], options.anchor_scale, options.anchor_ratios
        )
        width = options.pyramid_channels
        self.fpn = FeaturePyramid([channels[index] for index in self.used], width)
        self.rpn = ProposalLayers(width, len(options.anchor_ratios))
        self.suppression = Suppression(PROPOSAL_IOU)
        self.roi_heads = RegionClassifier(width, options.region_hidden, classes)

    def training_outputs(
        self, features: tuple[Tensor, ...], size: Sequence[int]
    ) -> dict[str, Tensor]:
        """{"objectness": (N, A), "offsets": (N, A, 4), "anchors": (A, 4), "regions": (N, R, 4)}, and
        the maps that regions are pooled from: {"map0": (N, C, H, W), ...}."""
        maps = self.fpn([features[index] for index in self.used])
        every_map = [*maps, F.max_pool2d(maps[-1], 1, 2)]
        objectness, offsets = self.rpn(every_map)
        anchors = [
            place_anchors(value, shapes, size)
            for value, shapes in zip(every_map, self.anchor_shapes, strict=True)
        ]
        return {
            "objectness": torch.cat(objectness, dim=1),
            "offsets": torch.cat(offsets, dim=1),
            "anchors": torch.cat(anchors),
            "regions": self._propose_regions(objectness, offsets, anchors, size),
            **{f"map{level}": value for level, value in enumerate(maps)},
        }

    def classify_regions(
        self, outputs: dict[str, Tensor], regions: Tensor
    ) -> tuple[Tensor, Tensor]:
        maps = [outputs[f"map{level}"] for level in range(len(self.used))]
        pooled = pool_regions(maps, self.strides, regions)
        logits, offsets = self.roi_heads(pooled, regions.shape[1])
        return logits, offsets

    def criterion(self) -> Criterion:
        return ProposalCriterion(self.classify_regions)

    @torch.no_grad()
    def _propose_regions(
        self,
        objectness: Sequence[Tensor],
        offsets: Sequence[Tensor],
        anchors: Sequence[Tensor],
        size: Sequence[int],
    ) -> Tensor:
        """(N, R, 4): of the best of each map without overlaps, the best, in the order of anchors."""
        scores, boxes, numbers, before = [], [], [], 0
        for logits, moves, places in zip(objectness, offsets, anchors, strict=True):
            decoded = clip_boxes(decode_offsets(moves.float(), places, PROPOSAL_WEIGHTS), size)
            best, index = choose_best(logits.float(), MAX_CANDIDATES)
            candidates = take_rows(decoded, index)
            has_area = (candidates[..., 2:] - candidates[..., :2] >= MIN_SIDE).all(dim=-1)
            remains = (self.suppression(candidates) > 0) & has_area
            scores.append(torch.where(remains, best, _LOWEST))
            boxes.append(candidates)
            numbers.append(index + before)
            before = before + logits.shape[1]
        best, index = choose_best(torch.cat(scores, dim=1), self.max_regions)
        remains = best > _LOWEST / 2
        number = torch.cat(numbers, dim=1).gather(1, index)
        order = torch.where(remains, number, _NO_ANCHOR).argsort(dim=1)
        chosen = take_rows(torch.cat(boxes, dim=1), index) * remains[..., None]
        return take_rows(chosen, order)


def choose_best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The highest scores (N, count) of (N, A) and where they are; all of them, if there are fewer."""
    best, index = scores.topk(min(count, scores.shape[1]), dim=1)
    return best, index


def take_rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows (N, k, 4) of values (N, A, 4) at an index (N, k)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


def make_anchor_shapes(
    strides: Sequence[int], scale: float, ratios: Sequence[float]
) -> list[Tensor]:
    """For the map of each stride the anchors (ratios, 4) around (0, 0), in whole pixels. A ratio is
    that of height to width; all have the same area."""
    shapes = []
    for stride in strides:
        side = scale * stride
        rows = [(side / math.sqrt(ratio) / 2, side * math.sqrt(ratio) / 2) for ratio in ratios]
        shapes.append(torch.tensor([[-x, -y, x, y] for x, y in rows]).round())
    return shapes


def place_anchors(feature: Tensor, shapes: Tensor, size: Sequence[int]) -> Tensor:
    """(H * W * shapes, 4) float32: a map's anchors in pixels of the input, at each of its places."""
    height, width = feature.shape[-2:]
    y = torch.arange(height, dtype=torch.float32, device=feature.device) * (size[0] // height)
    x = torch.arange(width, dtype=torch.float32, device=feature.device) * (size[1] // width)
    corner = pair_positions(x, y).repeat(1, 2)
    return (corner[:, None] + shapes.to(feature.device)).reshape(-1, 4)
