"""AlexNet (Krizhevsky, Sutskever and Hinton 2012; Krizhevsky 2014, arXiv:1404.5997).

The network that won ImageNet in 2012: five convolutions, the first with a large kernel and stride,
three overlapping poolings, and two hidden layers with dropout. New in it were ReLU, dropout, and
training on two GPUs for a week. Sizes for an image of 224 pixels:

    map_4  = conv 11x11, stride 4                          (N, 64,  55, 55)
    map_8  = conv 5x5 behind a 3x3 max pooling, stride 2   (N, 192, 27, 27)
    map_16 = three convs 3x3 behind another pooling        (N, 256, 13, 13)
    map_32 = pool(map_16)                                  (N, 256, 6, 6)
    vector = relu(linear(relu(linear(grid(map_32)))))      (N, 4096), with last_map="pooled"

Widths and module names are torchvision's, those of the one-GPU network of 2014. The paper of 2012
also divides each value by the values of neighbouring channels (`local_response_norm`, section 3.3);
later networks left that out. The first layers do not pad, so maps are up to two pixels smaller than
their strides say, and images need 63 pixels.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from skipstone.core.errors import UsageError
from skipstone.models.backbone import Backbone, PublishedNetwork, add_classifier
from skipstone.models.image_backbone_options import AlexNetOptions
from skipstone.models.layers import hidden_layers, make_divisible

HIDDEN, GRID = 4096, 6


class AlexNet(Backbone):
    """AlexNet without its classifier: (N, in_channels, H, W) -> maps of strides 4, 8, 16 and 32, or
    one vector."""

    classifier_name = "classifier.6"

    def __init__(self, *, options: AlexNetOptions, in_channels: int = 3) -> None:
        super().__init__()
        self.in_channels = in_channels
        a, b, c, d = (make_divisible(options.width * width) for width in (64, 192, 384, 256))
        # in the paper's order: conv, ReLU, norm, pooling; without parameters, so names stay
        norm = (
            nn.LocalResponseNorm(5, k=2.0, alpha=1e-4 * 5) if options.local_response_norm else None
        )
        first, second = (nn.Sequential(nn.ReLU(), norm) if norm else nn.ReLU() for _ in range(2))
        self.features = nn.Sequential(
            *(nn.Conv2d(in_channels, a, 11, stride=4, padding=2), first, nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(a, b, 5, padding=2), second, nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(b, c, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(c, d, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(d, d, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        )
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.map_indices = (1, 4, 11, 12)
        self.channels, self.strides = (a, b, d, d), (4, 8, 16, 32)
        self.is_pooled = options.last_map == "pooled"
        if self.is_pooled:
            hidden = make_divisible(options.width * HIDDEN)
            self.avgpool = nn.AdaptiveAvgPool2d((GRID, GRID))
            self.classifier = hidden_layers(
                d * GRID**2, hidden, dropout=options.hidden_dropout, drops_first=True
            )
            self.channels, self.strides = (hidden,), (32,)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # (N, C_in, H, W)
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.map_indices:
                maps.append(x)  # (N, channels[i], H / strides[i], W / strides[i])
        if not self.is_pooled:
            return tuple(maps)
        return (self.classifier(self.avgpool(x).flatten(1)),)  # (N, 4096)

    def published_network(self, classes: int) -> PublishedNetwork:
        options = AlexNetOptions()
        net = AlexNet(options=options, in_channels=self.in_channels)
        return add_classifier(net, classes, name="the published AlexNet")

    def stage_modules(self) -> list[list[nn.Module]]:
        ends = [index + 1 for index in self.map_indices]
        layers = list(self.features)
        stages = [layers[a:b] for a, b in itertools.pairwise([0, *ends])]
        return [*stages, [self.classifier]] if self.is_pooled else stages


def build_alexnet(name: str, options: AlexNetOptions, *, in_channels: int) -> AlexNet:
    """AlexNet with fresh weights (He initialisation).

    Raises:
        UsageError: less than one input channel.
    """
    if in_channels < 1:
        raise UsageError(f"in_channels is {in_channels}; a network needs at least 1.")
    return AlexNet(options=options, in_channels=in_channels)
