"""LR-ASPP: a light decoder (Howard et al. 2019, MobileNetV3, arXiv:1905.02244, section 6.4).

Two branches on the deepest map, one of which gates the channels by their image means, and a skip
from a map of stride 8. It has no 3x3 convolution, so its cost is small next to the backbone's.

    gate   = sigmoid(conv1x1(mean(map_16)))                (N, C, 1, 1)
    what   = relu(norm(conv1x1(map_16))) * gate            (N, C, H/16, W/16)
    logits = conv1x1(resize(what)) + conv1x1(map_8)        (N, K, H/8, W/8)

We average over the whole image, as torchvision does, where the paper's figure pools 49x49
windows. Module names are torchvision's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skipstone.models.heads.dense import (
    DenseHead,
    Features,
    conv_norm_relu,
    resize_bilinear,
    skip_map_index,
)
from skipstone.models.heads.options import LrasppOptions


class LrasppHead(DenseHead):
    """A gated projection of the deepest map and a skip from stride 8.

    Args:
        strides: of the backbone's feature maps; the skip is from the deepest of stride 8 or less.
    """

    def __init__(
        self,
        options: LrasppOptions,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
    ) -> None:
        super().__init__()
        deep, hidden = channels[-1], options.lraspp_channels
        self.skip = skip_map_index(strides, 8)
        self.cbr = nn.Sequential(*conv_norm_relu(deep, hidden, 1))
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(deep, hidden, 1, bias=False), nn.Sigmoid()
        )
        self.low_classifier = nn.Conv2d(channels[self.skip], classes, 1)
        self.high_classifier = nn.Conv2d(hidden, classes, 1)

    def class_layers(self) -> list[nn.Conv2d]:
        return [self.low_classifier, self.high_classifier]

    def decode(self, features: Features) -> Tensor:
        low, high = features[self.skip], features[-1]
        what = self.cbr(high) * self.scale(high)  # (N, C, H/16, W/16)
        logits = self.high_classifier(resize_bilinear(what, low.shape[-2:]))  # (N, K, H/8, W/8)
        return torch.add(logits, self.low_classifier(low))
