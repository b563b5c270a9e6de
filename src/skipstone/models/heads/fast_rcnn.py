"""Fast R-CNN: classes and boxes of regions that come with the picture (Girshick 2015,
arXiv:1504.08083).

    picture -> backbone -> one map of stride 16                      (N, C, H, W)
    picture -> selective search, outside the network                 (N, R, 4) regions
    each region -> 7 x 7 bins of that map                            (N * R, C, 7, 7)
    two hidden layers -> K classes and background, offsets           (N, R, K + 1), (N, R, K + 1, 4)

All regions of a picture share one run of the backbone, which R-CNN (Girshick et al. 2014) repeats
for each region. Faster R-CNN (`heads/faster_rcnn.py`) replaces selective search by layers that
learn. Pooling is RoIAlign: rounding to whole pixels, as in the paper, moves small objects.

The second stage equals torchvision's `RoIHeads` with its weights.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from skipstone.models.heads.base import Head
from skipstone.models.heads.dense import skip_map_index
from skipstone.models.heads.options import FastRcnnOptions
from skipstone.models.losses import Criterion
from skipstone.models.region_layers import RegionClassifier, list_class_boxes, pool_regions
from skipstone.models.region_losses import RegionCriterion

_STRIDE = 16


class RegionHead(Head):
    """A second stage: {"boxes": (N, R * K, 4) in pixels of the input, "scores": (N, R * K, K) in
    0..1}, float32, of the "regions" (N, R, 4) that `training_outputs` gives."""

    def forward(self, features: tuple[Tensor, ...], size: Sequence[int]) -> dict[str, Tensor]:
        raw = self.training_outputs(features, size)
        logits, offsets = self.classify_regions(raw, raw["regions"])
        return list_class_boxes(logits, offsets, raw["regions"], size)

    @abstractmethod
    def classify_regions(
        self, outputs: dict[str, Tensor], regions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits (N, R, K + 1) and offsets (N, R, K + 1, 4) of regions (N, R, 4)."""


class FastRcnnHead(RegionHead):
    """Classifies the regions that come with the picture. The last of its features are those regions
    (N, R, 4), in pixels of the input.

    Args:
        options: widths.
        channels: of the backbone's feature maps; the deepest of stride 16 or less is used.
        strides: of the backbone's feature maps.
        classes: K.
    """

    def __init__(
        self,
        options: FastRcnnOptions,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
    ) -> None:
        super().__init__()
        self.used = skip_map_index(strides, _STRIDE)
        self.stride = strides[self.used]
        width = options.region_channels
        self.lateral = nn.Conv2d(channels[self.used], width, 1)
        self.roi_heads = RegionClassifier(width, options.region_hidden, classes)

    def training_outputs(
        self, features: tuple[Tensor, ...], size: Sequence[int]
    ) -> dict[str, Tensor]:
        """{"map": (N, C, H, W), "regions": (N, R, 4)}"""
        *maps, regions = features
        return {"map": self.lateral(maps[self.used]), "regions": regions.float()}

    def classify_regions(
        self, outputs: dict[str, Tensor], regions: Tensor
    ) -> tuple[Tensor, Tensor]:
        pooled = pool_regions([outputs["map"]], [self.stride], regions)
        logits, offsets = self.roi_heads(pooled, regions.shape[1])
        return logits, offsets

    def criterion(self) -> Criterion:
        return RegionCriterion(self.classify_regions)
