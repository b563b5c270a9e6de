"""LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998), which read the digits on cheques.

Two convolutions with pooling find strokes and their arrangement; hidden layers weigh them. All later
networks of convolutions have this form. Sizes for an image of 28 pixels, which is padded to 32:

    C1  5x5 conv                                           (N, 6,  28, 28)
    S2  2x2 pooling                                        (N, 6,  14, 14)
    C3  5x5 conv                                           (N, 16, 10, 10)
    S4  2x2 pooling                                        (N, 16, 5, 5)
    C5  linear layer of all 400 values                     (N, 120)
    F6  linear layer                                       (N, 84), with last_map="pooled"

`lenet5` is the paper's, with average pooling and the scaled tanh 1.7159 tanh(2 x / 3), whose outputs
for inputs of variance 1 have variance 1 (appendix A). `lenet5_relu` is today's: ReLU and max pooling.
Two details of the paper are left out: weights in its poolings, and C3's connections to only some of
S2's channels, which saved 900 of 60,856 parameters. Larger images are averaged to 5x5 values
before C5. C3 does not pad, so maps are smaller than their strides say.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skipstone.core.errors import UsageError
from skipstone.models.backbone import Backbone
from skipstone.models.image_backbone_options import MapOptions

_GRID = 5


class ScaledTanh(nn.Module):
    """1.7159 tanh(2 x / 3)."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(x * (2 / 3))


class LeNet5(Backbone):
    """LeNet-5 without its classifier: (N, in_channels, H, W) -> maps of strides 1, 2 and 4, or one
    vector.

    Args:
        has_relu: today's variant.
    """

    classifier_name = "output"

    def __init__(self, *, has_relu: bool, options: MapOptions, in_channels: int = 3) -> None:
        super().__init__()
        c1, c3, c5, f6 = (max(1, round(options.width * width)) for width in (6, 16, 120, 84))
        act, pool = (nn.ReLU, nn.MaxPool2d) if has_relu else (ScaledTanh, nn.AvgPool2d)
        self.c1 = nn.Sequential(nn.Conv2d(in_channels, c1, 5, padding=2), act())
        self.c3 = nn.Sequential(pool(2), nn.Conv2d(c1, c3, 5), act())
        self.s4 = pool(2)
        self.channels, self.strides = (c1, c3, c3), (1, 2, 4)
        self.is_pooled = options.last_map == "pooled"
        if self.is_pooled:
            grid = [nn.AdaptiveAvgPool2d((_GRID, _GRID)), nn.Flatten()]
            self.c5 = nn.Sequential(*grid, nn.Linear(c3 * _GRID**2, c5), act())
            self.f6 = nn.Sequential(nn.Linear(c5, f6), act())
            self.channels, self.strides = (f6,), (4,)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # (N, C_in, H, W)
        c1 = self.c1(x)  # (N, 6, H, W)
        c3 = self.c3(c1)  # (N, 16, H/2 - 4, W/2 - 4)
        s4 = self.s4(c3)  # (N, 16, H/4 - 2, W/4 - 2)
        return (self.f6(self.c5(s4)),) if self.is_pooled else (c1, c3, s4)

    def stage_modules(self) -> list[list[nn.Module]]:
        maps: list[list[nn.Module]] = [[self.c1], [self.c3], [self.s4]]
        return [*maps[:2], [self.c5], [self.f6]] if self.is_pooled else maps


def build_lenet(name: str, options: MapOptions, *, in_channels: int) -> LeNet5:
    """LeNet-5 with fresh weights.

    Raises:
        UsageError: less than one input channel.
    """
    if in_channels < 1:
        raise UsageError(f"in_channels is {in_channels}; a network needs at least 1.")
    return LeNet5(has_relu=name == "lenet5_relu", options=options, in_channels=in_channels)
