"""U-Net (Ronneberger, Fischer and Brox 2015, arXiv:1505.04597).

The decoder upsamples step by step and concatenates the backbone's map of the same stride:

    x = map_32                                             (N, C_32, H/32, W/32)
    x = block(concat(double(x), map_16))                   (N, 256, H/16, W/16)
    x = block(concat(double(x), map_8))                    (N, 128, H/8,  W/8)
    x = block(concat(double(x), map_4))                    (N, 64,  H/4,  W/4)
    x = block(concat(double(x), map_2))                    (N, 32,  H/2,  W/2)
    x = block(double(x))                                   (N, 16,  H,    W)
    logits = conv3x3(x)                                    (N, K,   H,    W)

where a block is twice 3x3 convolution, norm, ReLU, and double is nearest-neighbour upsampling. The
paper crops maps because its convolutions do not pad, upsamples by a 2x2 transposed convolution, and
has its own encoder. This is the U-Net of segmentation_models_pytorch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.models.heads.dense import DenseHead, Features, conv_norm_relu, deepest_by_stride
from skipstone.models.heads.options import UNetOptions


class UNetBlock(nn.Sequential):
    """Two convolutions: (N, inputs, H, W) -> (N, outputs, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(*conv_norm_relu(inputs, outputs, 3), *conv_norm_relu(outputs, outputs, 3))


class UNetHead(DenseHead):
    """Upsampling decoder with a skip per stride.

    Args:
        strides: of the backbone's feature maps; the deepest map of each stride is a step.
    """

    def __init__(
        self,
        options: UNetOptions,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
    ) -> None:
        super().__init__()
        by_stride = deepest_by_stride(strides)
        self.skips = list(by_stride.values())[1:]
        without_skip = math.ceil(math.log2(min(by_stride)))  # steps finer than the finest map
        skip_channels = [channels[index] for index in self.skips] + [0] * without_skip
        widths = step_widths(options.decoder_channels, len(skip_channels))
        inputs = [channels[-1], *widths]
        self.blocks = nn.ModuleList(
            UNetBlock(before + skip, width)
            for before, skip, width in zip(inputs, skip_channels, widths, strict=False)
        )
        self.classifier = nn.Conv2d(inputs[-1], classes, 3, padding=1)

    def class_layers(self) -> list[nn.Conv2d]:
        return [self.classifier]

    def decode(self, features: Features) -> Tensor:
        x = features[-1]  # (N, C_32, H/32, W/32)
        for step, block in enumerate(self.blocks):
            if step < len(self.skips):
                skip = features[self.skips[step]]
                x = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
                x = torch.cat([x, skip], dim=1)
            else:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(x)  # (N, 256, H/16, W/16), ... (N, 16, H, W)
        logits: Tensor = self.classifier(x)  # (N, K, H, W)
        return logits


def step_widths(widths: tuple[int, ...], steps: int) -> list[int]:
    """The last `steps` widths; the first one is repeated if they are too few.

    >>> step_widths((256, 128, 64), 2), step_widths((256, 128, 64), 4)
    ([128, 64], [256, 256, 128, 64])
    """
    return [widths[0]] * (steps - len(widths)) + list(widths[len(widths) - steps :][-steps:])
