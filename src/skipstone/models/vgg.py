"""VGG (Simonyan and Zisserman 2015, arXiv:1409.1556): depth by small convolutions alone.

Two 3x3 convolutions see as much as one 5x5, three as much as one 7x7, with fewer weights and a ReLU
between them (section 2.3). So a network is five stages of 3x3 convolutions, each with ReLU (and norm,
in the variants with ``_bn``), and a 2x2 max pooling after each stage. The feature maps are the inputs
of the poolings, and the output of the last one:

    map_1 = convs(x)                                       (N, 64,  H,    W)
    map_2 = convs(pool(map_1))                             (N, 128, H/2,  W/2)
    map_4, map_8, map_16                                   (N, 256 .. 512, H/16, W/16)
    map_32 = pool(map_16)                                  (N, 512, H/32, W/32)

To classify, the paper puts two hidden layers behind them, which hold nine tenths of its 138 million
parameters (``last_map="pooled"``):

    vector = relu(linear(relu(linear(grid(map_32)))))      (N, 512, 7, 7) -> (N, 4096)

With 16 layers this is the encoder of SegNet (Badrinarayanan et al. 2017, arXiv:1511.00561,
section 3), whose decoder needs the position of each maximum in the maps before pooling
(`skipstone.models.heads.segnet`). Module names are torchvision's. A side that 32 does not divide
is rounded up where torchvision rounds down.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from skipstone.core.errors import UsageError
from skipstone.models.backbone import Backbone, PublishedNetwork, add_classifier
from skipstone.models.image_backbone_options import VggOptions
from skipstone.models.layers import hidden_layers, make_divisible

WIDTHS = (64, 128, 256, 512, 512)
HIDDEN, GRID = 4096, 7
#: Convolutions of each stage, by number of layers with weights (table 1: A, B, D, E).
CONVOLUTIONS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class Vgg(Backbone):
    """VGG without its classifier: (N, in_channels, H, W) -> six maps of strides 1 to 32, or one
    vector.

    Args:
        layers: with weights, a key of `CONVOLUTIONS`.
        norm: whether each convolution has a batch norm.
        options: width factor, and which map is the last.
        in_channels: channels of the input, at least 1.
    """

    classifier_name = "classifier.6"

    def __init__(
        self, *, layers: int, norm: bool, options: VggOptions, in_channels: int = 3
    ) -> None:
        super().__init__()
        self.variant, self.in_channels = (layers, norm), in_channels
        widths = [make_divisible(options.width * width) for width in WIDTHS]
        features: list[nn.Module] = []
        inputs = in_channels
        self.pools: list[int] = []  # indices of the poolings among the layers
        for width, count in zip(widths, CONVOLUTIONS[layers], strict=True):
            for _ in range(count):
                conv = nn.Conv2d(inputs, width, 3, padding=1)
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
                features += [conv, nn.BatchNorm2d(width), nn.ReLU()] if norm else [conv, nn.ReLU()]
                inputs = width
            self.pools.append(len(features))
            features.append(nn.MaxPool2d(2, 2, ceil_mode=True))
        self.features = nn.Sequential(*features)
        self.is_pooled = options.last_map == "pooled"
        self.channels = (*widths, widths[-1])
        self.strides = tuple(2**depth for depth in range(len(widths) + 1))
        if self.is_pooled:
            hidden = make_divisible(options.width * HIDDEN)
            self.avgpool = nn.AdaptiveAvgPool2d((GRID, GRID))
            self.classifier = hidden_layers(
                widths[-1] * GRID**2, hidden, dropout=options.hidden_dropout
            )
            self.channels, self.strides = (hidden,), self.strides[-1:]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # (N, C_in, H, W)
        maps = []
        for index, layer in enumerate(self.features):
            if index in self.pools:
                maps.append(x)  # (N, channels[i], H / strides[i], W / strides[i])
            x = layer(x)
        if not self.is_pooled:
            return (*maps, x)
        return (self.classifier(self.avgpool(x).flatten(1)),)  # (N, 4096)

    def published_network(self, classes: int) -> PublishedNetwork:
        layers, norm = self.variant
        options = VggOptions()
        net = Vgg(layers=layers, norm=norm, options=options, in_channels=self.in_channels)
        return add_classifier(net, classes, name="the published VGG")

    def stage_modules(self) -> list[list[nn.Module]]:
        starts = [0, *(index + 1 for index in self.pools)]
        layers = list(self.features)
        stages = [layers[a:b] for a, b in itertools.pairwise(starts)]
        return [*stages, [self.classifier]] if self.is_pooled else stages


def build_vgg(name: str, options: VggOptions, *, in_channels: int) -> Vgg:
    """Build a VGG by name (vgg16, vgg16_bn), with fresh weights (He initialisation).

    Raises:
        UsageError: less than one input channel.
    """
    if in_channels < 1:
        raise UsageError(f"in_channels is {in_channels}; a network needs at least 1.")
    layers, _, norm = name.removeprefix("vgg").partition("_")
    return Vgg(layers=int(layers), norm=bool(norm), options=options, in_channels=in_channels)
