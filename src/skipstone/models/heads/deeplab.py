"""DeepLab v3 and v3+ (Chen et al. 2017, arXiv:1706.05587; Chen et al. 2018, arXiv:1802.02611).

The backbone's last stages dilate instead of striding, so that its deepest map keeps a stride of 16
or 8. On it, atrous spatial pyramid pooling (ASPP) covers several scales: 3x3 convolutions of
dilation rate r, a 1x1 convolution, and the mean of the image:

    aspp(x) = relu(norm(conv1x1(concat(
        conv1x1(x), conv3x3_r1(x), conv3x3_r2(x), conv3x3_r3(x), mean(x)))))   (N, 256, H/16, W/16)

each with norm and ReLU. DeepLab v3 classifies that; v3+ first adds a skip from a map of stride 4,
and its convolutions are separable:

    v3    logits = conv1x1(block(aspp(map_16)))                                (N, K, H/16, W/16)
    v3+   x      = concat(resize(block(aspp(map_16))), block1x1(map_4))        (N, 304, H/4, W/4)
          logits = conv1x1(block(x))                                           (N, K, H/4, W/4)

The rates r are (6, 12, 18) at stride 16 and twice that at stride 8 (v3, section 4.1): the same
distances in the image. Module names of v3 are torchvision's.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.models.heads.dense import (
    DenseHead,
    Features,
    conv_norm_relu,
    resize_bilinear,
    skip_map_index,
)
from skipstone.models.heads.options import DeepLabOptions

#: Channels that the skip of v3+ is reduced to (Chen et al. 2018, table 1).
SKIP_CHANNELS = 48


class ImagePooling(nn.Sequential):
    """Mean over the image, 1x1 convolution, norm, ReLU, broadcast to (N, C, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *conv_norm_relu(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:  # (N, C_in, H, W)
        pool, conv, norm, relu = self
        mean = conv(pool(x))  # (N, C, 1, 1)
        assert isinstance(norm, nn.BatchNorm2d)
        if self.training and x.shape[0] == 1:  # one value per channel has no variance
            mean = F.batch_norm(
                mean, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            )
        else:
            mean = norm(mean)
        output: Tensor = relu(mean)
        return output.expand(-1, -1, *x.shape[-2:])  # (N, C, H, W)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: (N, inputs, H, W) -> (N, outputs, H, W).

    Args:
        inputs: input channels.
        outputs: output channels, also of each branch.
        rates: dilation rates, one branch each.
        dropout: drop rate of the output.
        separable: whether the 3x3 convolutions are separable.
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        rates: tuple[int, ...],
        dropout: float,
        separable: bool = False,
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Sequential(*conv_norm_relu(inputs, outputs, 1))])
        for rate in rates:
            layers = conv_norm_relu(inputs, outputs, 3, dilation=rate, separable=separable)
            self.convs.append(nn.Sequential(*layers))
        self.convs.append(ImagePooling(inputs, outputs))
        mix = conv_norm_relu(len(self.convs) * outputs, outputs, 1)
        self.project = nn.Sequential(*mix, nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        branches = [branch(x) for branch in self.convs]
        mixed: Tensor = self.project(torch.cat(branches, dim=1))
        return mixed


class DeepLabV3Head(DenseHead):
    """ASPP on the deepest map, a 3x3 block, a classifier.

    Args:
        strides: of the backbone's feature maps; the deepest decides the rates.
    """

    def __init__(
        self,
        options: DeepLabOptions,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
    ) -> None:
        super().__init__()
        self.classifier = nn.Sequential(
            *_pyramid(options, channels[-1], strides[-1], separable=False),
            nn.Conv2d(options.aspp_channels, classes, 1),
        )

    def class_layers(self) -> list[nn.Conv2d]:
        return [layer for layer in self.classifier[-1:] if isinstance(layer, nn.Conv2d)]

    def decode(self, features: Features) -> Tensor:
        logits: Tensor = self.classifier(features[-1])  # (N, K, H/16, W/16)
        return logits


class DeepLabV3PlusHead(DenseHead):
    """Separable ASPP on the deepest map, concatenated with a skip from stride 4.

    Args as of `DeepLabV3Head`; the skip is from the deepest map of stride 4 or less.
    """

    align_corners: ClassVar[bool] = True

    def __init__(
        self,
        options: DeepLabOptions,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
    ) -> None:
        super().__init__()
        width = options.aspp_channels
        self.skip = skip_map_index(strides, 4)
        self.aspp = nn.Sequential(*_pyramid(options, channels[-1], strides[-1], separable=True))
        self.reduce = nn.Sequential(*conv_norm_relu(channels[self.skip], SKIP_CHANNELS, 1))
        self.join = nn.Sequential(*conv_norm_relu(SKIP_CHANNELS + width, width, 3, separable=True))
        self.classifier = nn.Conv2d(width, classes, 1)

    def class_layers(self) -> list[nn.Conv2d]:
        return [self.classifier]

    def decode(self, features: Features) -> Tensor:
        skip = features[self.skip]
        far = resize_bilinear(self.aspp(features[-1]), skip.shape[-2:], align_corners=True)
        near = self.reduce(skip)  # (N, 48, H/4, W/4)
        logits: Tensor = self.classifier(self.join(torch.cat([far, near], dim=1)))
        return logits  # (N, K, H/4, W/4)


def _pyramid(
    options: DeepLabOptions, channels: int, stride: int, *, separable: bool
) -> list[nn.Module]:
    """ASPP on the deepest map, then a 3x3 block."""
    width = options.aspp_channels
    aspp = ASPP(
        inputs=channels,
        outputs=width,
        rates=atrous_rates(options, stride),
        dropout=options.dropout,
        separable=separable,
    )
    return [aspp, *conv_norm_relu(width, width, 3, separable=separable)]


def atrous_rates(options: DeepLabOptions, stride: int) -> tuple[int, ...]:
    """The option's rates, or the paper's distances of 96, 192 and 288 pixels at this stride."""
    return tuple(options.atrous_rates) or tuple(max(1, 96 * n // stride) for n in (1, 2, 3))
