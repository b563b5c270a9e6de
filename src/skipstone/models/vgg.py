"""VGG-16's convolutions with batch norm (Simonyan and Zisserman 2015, configuration D).

Five stages of 3x3 convolutions, each with norm and ReLU, and a 2x2 max pooling after each stage.
The feature maps are the inputs of the poolings, and the output of the last one:

    map_1 = convs(x)                                       (N, 64,  H,    W)
    map_2 = convs(pool(map_1))                             (N, 128, H/2,  W/2)
    map_4, map_8, map_16                                   (N, 256 .. 512, H/16, W/16)
    map_32 = pool(map_16)                                  (N, 512, H/32, W/32)

This is the encoder of SegNet (Badrinarayanan et al. 2017, arXiv:1511.00561, section 3), whose
decoder needs the position of each maximum in the maps before pooling
(`skipstone.models.heads.segnet`). Module names are those of torchvision's vgg16_bn.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from skipstone.core.errors import UsageError
from skipstone.models.backbone import Backbone
from skipstone.models.heads.segnet import count_convolutions
from skipstone.models.image_backbone_options import VggOptions
from skipstone.models.layers import make_divisible

WIDTHS = (64, 128, 256, 512, 512)


class Vgg16(Backbone):
    """VGG-16 without its classifier: (N, in_channels, H, W) -> six maps, of strides 1 to 32.

    Args:
        options: width factor.
        in_channels: channels of the input, at least 1.
    """

    def __init__(self, *, options: VggOptions, in_channels: int = 3) -> None:
        super().__init__()
        widths = [make_divisible(options.width * width) for width in WIDTHS]
        layers: list[nn.Module] = []
        inputs = in_channels
        self.pools: list[int] = []  # indices of the poolings among the layers
        for depth, width in enumerate(widths):
            for _ in range(count_convolutions(depth)):
                conv = nn.Conv2d(inputs, width, 3, padding=1)
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
                layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
            self.pools.append(len(layers))
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.channels = (*widths, widths[-1])
        self.strides = tuple(2**depth for depth in range(len(widths) + 1))
        self.classifier_name = "classifier"

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # (N, C_in, H, W)
        maps = []
        for index, layer in enumerate(self.features):
            if index in self.pools:
                maps.append(x)  # (N, channels[i], H / strides[i], W / strides[i])
            x = layer(x)
        return (*maps, x)

    def stage_modules(self) -> list[list[nn.Module]]:
        starts = [0, *(index + 1 for index in self.pools)]
        layers = list(self.features)
        return [layers[a:b] for a, b in itertools.pairwise(starts)]


def build_vgg16(name: str, options: VggOptions, *, in_channels: int) -> Vgg16:
    """VGG-16 with fresh weights (He initialisation).

    Raises:
        UsageError: less than one input channel.
    """
    if in_channels < 1:
        raise UsageError(f"in_channels is {in_channels}; a network needs at least 1.")
    return Vgg16(options=options, in_channels=in_channels)
