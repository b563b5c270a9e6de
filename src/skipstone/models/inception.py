"""GoogLeNet (Szegedy et al. 2014, arXiv:1409.4842) and what became of it: Inception v3.

An Inception block looks at its input at several scales at once and concatenates what it finds:

    y = concat(conv1x1(x), conv3x3(conv1x1(x)), conv5x5(conv1x1(x)), conv1x1(pool(x)))
    x: (N, C, H, W)   y: (N, C1 + C2 + C3 + C4, H, W)

The 1x1 convolutions reduce the channels before the expensive ones, so 22 layers need a twelfth of
AlexNet's parameters.

**Auxiliary classifiers.** Two small classifiers on maps of the middle add their loss in training, so
that early blocks get a gradient of their own; what ships has none (`auxiliary_maps`,
`skipstone.models.heads.auxiliary`).

**v3** (Szegedy et al. 2015, arXiv:1512.00567) factorises further: 7x7 into 1x7 and 7x1, for maps of 17
pixels, and 3x3 into 1x3 and 3x1 side by side, for maps of 8.

Module names of GoogLeNet and v3 are torchvision's, whose GoogLeNet has batch norm and 3x3 in place of
5x5 convolutions. Poolings of GoogLeNet and convolutions of v3 do not pad, so maps are up to a few
pixels smaller than their strides say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.core.errors import UsageError
from skipstone.models.backbone import Backbone, PublishedNetwork, add_classifier
from skipstone.models.image_backbone_options import InceptionOptions
from skipstone.models.layers import make_divisible

Kernel = int | tuple[int, int]
Scale = Callable[[int], int]  # published channels -> channels


class _Padded(TypedDict):
    kernel: Kernel
    padding: Kernel


class BasicConv2d(nn.Module):
    """Convolution without bias, norm, ReLU: (N, C, H, W) -> (N, outputs, H', W')."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Kernel, *, stride: int = 1, padding: Kernel = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv(x)).relu()
        return y


def average_around(x: Tensor) -> Tensor:
    """The mean of each 3x3 window, zeros around the image: the same shape."""
    return F.avg_pool2d(x, 3, stride=1, padding=1)


class InceptionBackbone(Backbone, ABC):
    """Named layers in order, without a classifier; some of their outputs are the maps.

    Args:
        layers: {name: layer}, from the input on.
        maps: {name of a layer: (channels, stride) of its output}.
    """

    classifier_name = "fc"

    def __init__(
        self, layers: Mapping[str, nn.Module], maps: Mapping[str, tuple[int, int]]
    ) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.map_names = tuple(maps)
        self.channels = tuple(channels for channels, _ in maps.values())
        self.strides = tuple(stride for _, stride in maps.values())

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # (N, C_in, H, W)
        maps = []
        for name, layer in self.named_children():
            x = layer(x)
            if name in self.map_names:
                maps.append(x)  # (N, channels[i], H / strides[i], W / strides[i])
        return tuple(maps)

    def stage_modules(self) -> list[list[nn.Module]]:
        stages: list[list[nn.Module]] = [[]]
        for name, layer in self.named_children():
            stages[-1].append(layer)
            if name in self.map_names:
                stages.append([])
        return stages[:-1]


class Concatenation(nn.Module, ABC):
    """Branches on the same input, side by side in the channels.

    Attributes:
        outputs: channels of all branches.
    """

    outputs: int

    @abstractmethod
    def run_branches(self, x: Tensor) -> Iterator[Tensor]:
        """The output of each branch, (N, C_i, H', W')."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(list(self.run_branches(x)), dim=1)


class InceptionBlock(Concatenation):
    """GoogLeNet's block: (N, C, H, W) -> (N, one + three + five + pool, H, W).

    Args:
        three, five: (channels of the 1x1 convolution, of the 3x3 behind it).
    """

    def __init__(
        self, inputs: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int
    ) -> None:
        super().__init__()
        self.branch1 = BasicConv2d(inputs, one, 1)
        self.branch2 = nn.Sequential(
            BasicConv2d(inputs, three[0], 1), BasicConv2d(*three, 3, padding=1)
        )
        self.branch3 = nn.Sequential(
            BasicConv2d(inputs, five[0], 1), BasicConv2d(*five, 3, padding=1)
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), BasicConv2d(inputs, pool, 1))
        self.outputs = one + three[1] + five[1] + pool

    def run_branches(self, x: Tensor) -> Iterator[Tensor]:
        yield from (self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x))


#: Of each block of GoogLeNet (table 1): 1x1, then 3x3 and 5x5 with their reductions, pooling.
GOOGLENET_BLOCKS = {
    "inception3a": (64, (96, 128), (16, 32), 32),
    "inception3b": (128, (128, 192), (32, 96), 64),
    "inception4a": (192, (96, 208), (16, 48), 64),
    "inception4b": (160, (112, 224), (24, 64), 64),
    "inception4c": (128, (128, 256), (24, 64), 64),
    "inception4d": (112, (144, 288), (32, 64), 64),
    "inception4e": (256, (160, 320), (32, 128), 128),
    "inception5a": (256, (160, 320), (32, 128), 128),
    "inception5b": (384, (192, 384), (48, 128), 128),
}


class GoogLeNet(InceptionBackbone):
    """GoogLeNet without its classifiers: (N, in_channels, H, W) -> maps of strides 2 to 32, three of
    stride 16, of which the first two get auxiliary classifiers."""

    auxiliary_maps = (3, 4)

    def __init__(self, *, options: InceptionOptions, in_channels: int = 3) -> None:
        def scale(width: int) -> int:
            return make_divisible(options.width * width)

        make_pool = partial(nn.MaxPool2d, stride=2, ceil_mode=True)
        stem, inputs = scale(64), scale(192)
        layers: dict[str, nn.Module] = {
            "conv1": BasicConv2d(in_channels, stem, 7, stride=2, padding=3),
            "maxpool1": make_pool(3),
            "conv2": BasicConv2d(stem, stem, 1),
            "conv3": BasicConv2d(stem, inputs, 3, padding=1),
            "maxpool2": make_pool(3),
        }
        maps = {"conv1": (stem, 2), "conv3": (inputs, 4)}
        strides = {"inception3b": 8, "inception4a": 16, "inception4d": 16, "inception4e": 16}
        strides["inception5b"] = 32
        for name, (one, three, five, pool) in GOOGLENET_BLOCKS.items():
            block = InceptionBlock(
                inputs,
                scale(one),
                (scale(three[0]), scale(three[1])),
                (scale(five[0]), scale(five[1])),
                scale(pool),
            )
            layers[name], inputs = block, block.outputs
            if name in strides:
                maps[name] = (inputs, strides[name])
            if name in ("inception3b", "inception4e"):
                number = int(name[-2])
                layers[f"maxpool{number}"] = make_pool(3 if number == 3 else 2)
        super().__init__(layers, maps)
        self.in_channels = in_channels

    def published_network(self, classes: int) -> PublishedNetwork:
        net = GoogLeNet(options=InceptionOptions(), in_channels=self.in_channels)
        return add_classifier(net, classes, name="the published GoogLeNet")


class InceptionA(Concatenation):
    """1x1, 5x5, twice 3x3, pooling: (N, C, H, W) -> (N, 224 + pool, H, W)."""

    def __init__(self, inputs: int, pool: int, scale: Scale) -> None:
        super().__init__()
        a, b, c, d = (scale(width) for width in (64, 48, 96, pool))
        self.branch1x1 = BasicConv2d(inputs, a, 1)
        self.branch5x5_1 = BasicConv2d(inputs, b, 1)
        self.branch5x5_2 = BasicConv2d(b, a, 5, padding=2)
        self.branch3x3dbl_1 = BasicConv2d(inputs, a, 1)
        self.branch3x3dbl_2 = BasicConv2d(a, c, 3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(c, c, 3, padding=1)
        self.branch_pool = BasicConv2d(inputs, d, 1)
        self.outputs = 2 * a + c + d

    def run_branches(self, x: Tensor) -> Iterator[Tensor]:
        yield self.branch1x1(x)
        yield self.branch5x5_2(self.branch5x5_1(x))
        yield self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        yield self.branch_pool(average_around(x))


class InceptionB(Concatenation):
    """Halves the map: (N, C, H, W) -> (N, 480 + C, (H - 1) / 2, (W - 1) / 2)."""

    def __init__(self, inputs: int, scale: Scale) -> None:
        super().__init__()
        a, b, c = (scale(width) for width in (384, 64, 96))
        self.branch3x3 = BasicConv2d(inputs, a, 3, stride=2)
        self.branch3x3dbl_1 = BasicConv2d(inputs, b, 1)
        self.branch3x3dbl_2 = BasicConv2d(b, c, 3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(c, c, 3, stride=2)
        self.outputs = a + c + inputs

    def run_branches(self, x: Tensor) -> Iterator[Tensor]:
        yield self.branch3x3(x)
        yield self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        yield F.max_pool2d(x, 3, stride=2)


class InceptionC(Concatenation):
    """7x7 as 1x7 and 7x1: (N, C, H, W) -> (N, 768, H, W).

    Args:
        hidden: channels between the factors.
    """

    def __init__(self, inputs: int, hidden: int, scale: Scale) -> None:
        super().__init__()
        h, out = scale(hidden), scale(192)
        across: _Padded = {"kernel": (1, 7), "padding": (0, 3)}
        down: _Padded = {"kernel": (7, 1), "padding": (3, 0)}
        self.branch1x1 = BasicConv2d(inputs, out, 1)
        self.branch7x7_1 = BasicConv2d(inputs, h, 1)
        self.branch7x7_2 = BasicConv2d(h, h, **across)
        self.branch7x7_3 = BasicConv2d(h, out, **down)
        self.branch7x7dbl_1 = BasicConv2d(inputs, h, 1)
        self.branch7x7dbl_2 = BasicConv2d(h, h, **down)
        self.branch7x7dbl_3 = BasicConv2d(h, h, **across)
        self.branch7x7dbl_4 = BasicConv2d(h, h, **down)
        self.branch7x7dbl_5 = BasicConv2d(h, out, **across)
        self.branch_pool = BasicConv2d(inputs, out, 1)
        self.outputs = 4 * out

    def run_branches(self, x: Tensor) -> Iterator[Tensor]:
        yield self.branch1x1(x)
        yield self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        yield self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        yield self.branch_pool(average_around(x))


class InceptionD(Concatenation):
    """Halves the map: (N, C, H, W) -> (N, 512 + C, (H - 1) / 2, (W - 1) / 2)."""

    def __init__(self, inputs: int, scale: Scale) -> None:
        super().__init__()
        h, out = scale(192), scale(320)
        self.branch3x3_1 = BasicConv2d(inputs, h, 1)
        self.branch3x3_2 = BasicConv2d(h, out, 3, stride=2)
        self.branch7x7x3_1 = BasicConv2d(inputs, h, 1)
        self.branch7x7x3_2 = BasicConv2d(h, h, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = BasicConv2d(h, h, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = BasicConv2d(h, h, 3, stride=2)
        self.outputs = out + h + inputs

    def run_branches(self, x: Tensor) -> Iterator[Tensor]:
        yield self.branch3x3_2(self.branch3x3_1(x))
        factors = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        yield self.branch7x7x3_4(factors)
        yield F.max_pool2d(x, 3, stride=2)


class InceptionE(Concatenation):
    """3x3 as 1x3 beside 3x1: (N, C, H, W) -> (N, 2048, H, W)."""

    def __init__(self, inputs: int, scale: Scale) -> None:
        super().__init__()
        a, b, c, d = (scale(width) for width in (320, 384, 448, 192))
        across: _Padded = {"kernel": (1, 3), "padding": (0, 1)}
        down: _Padded = {"kernel": (3, 1), "padding": (1, 0)}
        self.branch1x1 = BasicConv2d(inputs, a, 1)
        self.branch3x3_1 = BasicConv2d(inputs, b, 1)
        self.branch3x3_2a = BasicConv2d(b, b, **across)
        self.branch3x3_2b = BasicConv2d(b, b, **down)
        self.branch3x3dbl_1 = BasicConv2d(inputs, c, 1)
        self.branch3x3dbl_2 = BasicConv2d(c, b, 3, padding=1)
        self.branch3x3dbl_3a = BasicConv2d(b, b, **across)
        self.branch3x3dbl_3b = BasicConv2d(b, b, **down)
        self.branch_pool = BasicConv2d(inputs, d, 1)
        self.outputs = a + 4 * b + d

    def run_branches(self, x: Tensor) -> Iterator[Tensor]:
        yield self.branch1x1(x)
        single = self.branch3x3_1(x)
        yield from (self.branch3x3_2a(single), self.branch3x3_2b(single))
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        yield from (self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double))
        yield self.branch_pool(average_around(x))


class InceptionV3(InceptionBackbone):
    """Inception v3 without its classifiers: (N, in_channels, H, W) -> maps of strides 2 to 32; that of
    stride 16 gets an auxiliary classifier."""

    auxiliary_maps = (3,)

    def __init__(self, *, options: InceptionOptions, in_channels: int = 3) -> None:
        def scale(width: int) -> int:
            return make_divisible(options.width * width)

        a, b, c, d = (scale(width) for width in (32, 64, 80, 192))
        layers: dict[str, nn.Module] = {
            "Conv2d_1a_3x3": BasicConv2d(in_channels, a, 3, stride=2),
            "Conv2d_2a_3x3": BasicConv2d(a, a, 3),
            "Conv2d_2b_3x3": BasicConv2d(a, b, 3, padding=1),
            "maxpool1": nn.MaxPool2d(3, 2),
            "Conv2d_3b_1x1": BasicConv2d(b, c, 1),
            "Conv2d_4a_3x3": BasicConv2d(c, d, 3),
            "maxpool2": nn.MaxPool2d(3, 2),
        }
        outputs = d
        blocks: dict[str, Callable[[int], Concatenation]] = {
            **{f"Mixed_5{n}": partial(InceptionA, pool=p, scale=scale) for n, p in _A.items()},
            "Mixed_6a": partial(InceptionB, scale=scale),
            **{f"Mixed_6{n}": partial(InceptionC, hidden=h, scale=scale) for n, h in _C.items()},
            "Mixed_7a": partial(InceptionD, scale=scale),
            "Mixed_7b": partial(InceptionE, scale=scale),
            "Mixed_7c": partial(InceptionE, scale=scale),
        }
        maps = {"Conv2d_2b_3x3": (b, 2), "Conv2d_4a_3x3": (d, 4)}
        for name, make in blocks.items():
            block = make(outputs)
            layers[name], outputs = block, block.outputs
            if name in (strides := {"Mixed_5d": 8, "Mixed_6e": 16, "Mixed_7c": 32}):
                maps[name] = (outputs, strides[name])
        super().__init__(layers, maps)
        self.in_channels = in_channels

    def published_network(self, classes: int) -> PublishedNetwork:
        net = InceptionV3(options=InceptionOptions(), in_channels=self.in_channels)
        return add_classifier(net, classes, name="the published Inception v3")


#: Channels of the pooling branch of blocks A, and between the factors of blocks C.
_A = {"b": 32, "c": 64, "d": 64}
_C = {"b": 128, "c": 160, "d": 160, "e": 192}


def build_inception(name: str, options: InceptionOptions, *, in_channels: int) -> InceptionBackbone:
    """Build googlenet or inception_v3, with fresh weights (He initialisation).

    Raises:
        UsageError: less than one input channel.
    """
    if in_channels < 1:
        raise UsageError(f"in_channels is {in_channels}; a network needs at least 1.")
    make = GoogLeNet if name == "googlenet" else InceptionV3
    return make(options=options, in_channels=in_channels)
