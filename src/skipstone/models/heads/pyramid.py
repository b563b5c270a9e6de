"""The default detector: a light pyramid and an anchor-free head.

    maps of stride 8, 16, 32 -> 1x1 convolutions -> top down, then bottom up (PAFPN, Liu et al. 2018,
    arXiv:1803.01534), sums in place of concatenations -> another map of stride 64
    each map -> two convolutions for scores, two for boxes, weights shared by all maps, norms not
    (Ghiasi et al. 2019, arXiv:1904.07392)

Scores stand for the overlap of the box that comes with them, and a side's distance is the mean of a
distribution (Li et al. 2020, arXiv:2006.04388). Convolutions are dense: at these widths they are
faster than depthwise ones on CPUs with matrix instructions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.models.box_losses import DistributionCriterion, decode_distances, make_anchors
from skipstone.models.heads.base import Head
from skipstone.models.heads.dense import conv_norm_relu, deep_map_indices
from skipstone.models.heads.options import PyramidOptions
from skipstone.models.losses import Criterion

#: Probability of an object at each anchor before training (Lin et al. 2017, section 4.1).
_PRIOR_LOGIT = -4.6


class PyramidHead(Head):
    """{"boxes": (N, A, 4) in pixels of the input, "scores": (N, A, K) in 0..1}, float32.

    A is the number of pixels of all maps of the pyramid.

    Args:
        options: channels, convolutions per branch, and bins of a distance.
        channels: of the backbone's feature maps; the last three of stride 8 or more are used, of a
            shallower backbone the deepest.
        strides: of the backbone's feature maps.
        classes: K.
    """

    def __init__(
        self,
        options: PyramidOptions,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
    ) -> None:
        super().__init__()
        self.used = deep_map_indices(strides, 3)
        self.strides = [strides[index] for index in self.used] + [2 * strides[self.used[-1]]]
        self.bins = options.distance_bins
        width, count = options.pyramid_channels, len(self.used)
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels[index], width, 1, bias=False), nn.BatchNorm2d(width))
            for index in self.used
        )

        def make_layers(number: int, stride: int = 1) -> nn.ModuleList:
            layers = (conv_norm_relu(width, width, 3, stride=stride) for _ in range(number))
            return nn.ModuleList(nn.Sequential(*layer) for layer in layers)

        self.down, self.up = make_layers(count - 1), make_layers(count - 1)
        self.strided = make_layers(count, stride=2)
        levels = count + 1
        self.score_branch = SharedBranch(width, options.branch_layers, levels)
        self.box_branch = SharedBranch(width, options.branch_layers, levels)
        self.score = nn.Conv2d(width, classes, 3, padding=1)
        self.distance = nn.Conv2d(width, 4 * self.bins, 3, padding=1)
        assert self.score.bias is not None
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.constant_(self.score.bias, _PRIOR_LOGIT)

    def forward(self, features: tuple[Tensor, ...], size: Sequence[int]) -> dict[str, Tensor]:
        raw = self._raw_outputs(features)
        boxes = decode_distances(raw["distances"], raw["points"], raw["strides"])
        return {"boxes": boxes, "scores": raw["logits"].float().sigmoid()}

    def training_outputs(
        self, features: tuple[Tensor, ...], size: Sequence[int]
    ) -> dict[str, Tensor]:
        return self._raw_outputs(features)

    def criterion(self) -> Criterion:
        return DistributionCriterion()

    def class_parameter_names(self) -> tuple[str, ...]:
        return ("score.weight", "score.bias")

    def _raw_outputs(self, features: tuple[Tensor, ...]) -> dict[str, Tensor]:
        maps = self._pyramid(features)
        logits, distances = [], []
        for level, feature in enumerate(maps):
            score = self.score(self.score_branch(feature, level))
            distance = self.distance(self.box_branch(feature, level))
            logits.append(score.flatten(2).transpose(1, 2))  # (N, H * W, K)
            distances.append(distance.flatten(2).transpose(1, 2))
        points, strides = make_anchors(maps, self.strides)
        flat = torch.cat(distances, dim=1)
        return {
            "logits": torch.cat(logits, dim=1),
            "distances": flat.reshape(flat.shape[0], flat.shape[1], 4, self.bins),
            "points": points,
            "strides": strides,
        }

    def _pyramid(self, features: tuple[Tensor, ...]) -> list[Tensor]:
        """Maps of `width` channels, shallow to deep; the last has twice the deepest stride."""
        maps = [
            lateral(features[index])
            for index, lateral in zip(self.used, self.laterals, strict=True)
        ]
        for level in range(len(maps) - 2, -1, -1):
            larger = F.interpolate(maps[level + 1], maps[level].shape[-2:], mode="nearest")
            maps[level] = self.down[level](maps[level] + larger)
        for level in range(1, len(maps)):
            maps[level] = self.up[level - 1](maps[level] + self.strided[level - 1](maps[level - 1]))
        return [*maps, self.strided[-1](maps[-1])]


class SharedBranch(nn.Module):
    """Convolutions with one set of weights for all maps, and norms of their own for each."""

    def __init__(self, width: int, layers: int, levels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(layers)
        )
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(width) for _ in range(layers)) for _ in range(levels)
        )

    def forward(self, x: Tensor, level: int) -> Tensor:
        norms = self.norms[level]
        assert isinstance(norms, nn.ModuleList)
        for conv, norm in zip(self.convs, norms, strict=True):
            x = F.relu(norm(conv(x)))
        return x
