"""Residual networks (He et al. 2015, "Deep Residual Learning for Image Recognition").

A residual block adds the output of its branch to its input:

    y = relu(x + branch(x))                 x, y: (N, C, H, W)

so a block learns a change of its input, branch = 0 gives the identity, and the gradient reaches
early blocks through the sum. The branch is

    basic        3x3 conv, norm, relu, 3x3 conv, norm                            C -> C -> C
    bottleneck   1x1 conv, norm, relu, 3x3 conv, norm, relu, 1x1 conv, norm      4C -> C -> C -> 4C

From the second stage on, the first block of a stage halves height and width and doubles the
channels, so its shortcut changes the shape of x:

    y = relu(shortcut(x) + branch(x))       x: (N, C, H, W)   y: (N, 2C, H/2, W/2)

A network is a stem, three or four stages of such blocks, and (elsewhere) a head. Two families:
the ImageNet nets (resnet18 to resnet152) shrink the image by 4 before their first block, the
CIFAR nets (resnet20 to resnet110; section 4.2) keep its size, for images of about 32 pixels.

Module names are those of the published state dicts: torchvision's for the ImageNet nets. Where
torchvision and the paper differ we follow torchvision: a bottleneck strides in its 3x3 convolution
("ResNet v1.5").

The blocks are in `skipstone.models.resnet_blocks`; here are the model, then its named variants.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from skipstone.core.errors import UsageError, did_you_mean
from skipstone.models.backbone import Backbone, PublishedNetwork, add_classifier
from skipstone.models.image_backbone_options import ResNetOptions, Shortcut
from skipstone.models.layers import NORMS, make_divisible, stage_steps
from skipstone.models.resnet_blocks import (
    BasicBlock,
    BlockDesign,
    BlockShape,
    Bottleneck,
    PreActBasicBlock,
    PreActBottleneck,
    ResidualBlock,
)


@dataclass(frozen=True, kw_only=True)
class ResNetFamily:
    """Settings of the nets of one family.

    Args:
        widths: channels of each stage, before the block's expansion; the stem has the first.
        stem_kernel: size of the stem's convolution.
        shrinking_stem: whether the stem's convolution and a max pool each halve the image.
        shortcut: the default of the option `shortcut`.
        classifier: the name of the final linear layer in published state dicts.
    """

    widths: tuple[int, ...]
    stem_kernel: int
    shrinking_stem: bool
    shortcut: Shortcut
    classifier: str


@dataclass(frozen=True, kw_only=True)
class ResNetVariant:
    """A named net: its family, the number of blocks of each stage, and the kind of block."""

    family: ResNetFamily
    blocks: tuple[int, ...]
    bottleneck: bool = False


class ResNet(Backbone):
    """A residual network without its classifier: (N, in_channels, H, W) -> feature maps.

    The maps are those of each stage and, where the stem shrinks the image, that of the stem before
    its max pool. With pre-activation all maps but the deepest are not normalised.

    Args:
        variant: a value of `RESNETS`.
        options: changes to it.
        in_channels: channels of the input, at least 1.
    """

    def __init__(
        self, *, variant: ResNetVariant, options: ResNetOptions, in_channels: int = 3
    ) -> None:
        super().__init__()
        family = variant.family
        widths = [make_divisible(options.width * width) for width in family.widths]
        counts = [max(1, math.floor(options.depth * count + 0.5)) for count in variant.blocks]
        block = block_type(variant, options)
        design = block_design(variant, options, total_blocks=sum(counts))
        drop_rates = stochastic_depth_rates(options.stochastic_depth, total_blocks=sum(counts))

        stem_stride = 2 if family.shrinking_stem else 1
        self.variant = variant
        self.conv1 = design.make_conv(
            in_channels, widths[0], family.stem_kernel, stride=stem_stride
        )
        self.bn1 = nn.Identity() if options.pre_activation else design.norm(widths[0])
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1) if family.shrinking_stem else nn.Identity()

        channels, strides = ([widths[0]], [stem_stride]) if family.shrinking_stem else ([], [])
        inputs, total_stride = widths[0], stem_stride**2
        strides_of_stages = [1] + [2] * (len(widths) - 1)
        steps = stage_steps(strides_of_stages, total_stride, options.output_stride)
        for number, (width, count, step) in enumerate(zip(widths, counts, steps, strict=True), 1):
            stage = nn.Sequential()
            for position in range(count):
                stride, dilation = step.of_block(position)
                shape = BlockShape(
                    in_channels=inputs,
                    channels=width,
                    stride=stride,
                    dilation=dilation,
                    inner_dilation=step.dilation,
                )
                stage.append(block(shape=shape, design=design, drop_path=next(drop_rates)))
                inputs = width * block.expansion
            self.add_module(f"layer{number}", stage)
            total_stride *= step.stride
            channels.append(inputs)
            strides.append(total_stride)
        self.bn_final = design.norm(inputs) if options.pre_activation else nn.Identity()

        self.channels, self.strides = tuple(channels), tuple(strides)
        self.classifier_name = family.classifier
        self.pre_activation = options.pre_activation
        self.shrinking_stem = family.shrinking_stem

    def block_stages(self) -> list[nn.Module]:
        """The stages of blocks: layer1, layer2, ..."""
        return [module for name, module in self.named_children() if name.startswith("layer")]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # (N, C_in, H, W)
        x = self.conv1(x)  # (N, C_1, H, W), or H/2 x W/2
        if not self.pre_activation:
            x = self.relu(self.bn1(x))
        maps = [x] if self.shrinking_stem else []
        x = self.maxpool(x)  # (N, C_1, H, W), or H/4 x W/4
        for layer in self.block_stages():
            x = layer(x)  # (N, channels[i], H / strides[i], W / strides[i])
            maps.append(x)
        if self.pre_activation:
            maps[-1] = self.relu(self.bn_final(x))
        return tuple(maps)

    def published_network(self, classes: int) -> PublishedNetwork:
        net = ResNet(variant=self.variant, options=AS_PUBLISHED, in_channels=self.conv1.in_channels)
        return add_classifier(net, classes, name="the published residual network")

    def stage_modules(self) -> list[list[nn.Module]]:
        *early, deepest = self.block_stages()
        return [[self.conv1, self.bn1], *([layer] for layer in early), [deepest, self.bn_final]]


def stochastic_depth_rates(last_rate: float, *, total_blocks: int) -> Iterator[float]:
    """Drop rate of each block, rising linearly to `last_rate` (Huang et al. 2016, eq. 4)."""
    return (last_rate * number / total_blocks for number in range(1, total_blocks + 1))


def block_type(variant: ResNetVariant, options: ResNetOptions) -> type[ResidualBlock]:
    if variant.bottleneck:
        return PreActBottleneck if options.pre_activation else Bottleneck
    return PreActBasicBlock if options.pre_activation else BasicBlock


def block_design(
    variant: ResNetVariant, options: ResNetOptions, *, total_blocks: int
) -> BlockDesign:
    shortcut = options.shortcut or variant.family.shortcut
    without_norm = options.norm == "none"
    return BlockDesign(
        norm=NORMS[options.norm],
        bias=without_norm,
        shortcut=shortcut if options.residual else None,
        dropout=options.block_dropout,
        squeeze_excite=options.squeeze_excite,
        zero_init=options.zero_init_last_norm,
        # without norms each sum doubles the variance: 2^54 after the blocks of resnet110; with
        # the branches' variance divided by their number it stays below e
        branch_scale=total_blocks**-0.5 if without_norm and options.residual else 1.0,
    )


IMAGENET = ResNetFamily(
    widths=(64, 128, 256, 512),
    stem_kernel=7,
    shrinking_stem=True,
    shortcut="B",
    classifier="fc",
)
CIFAR = ResNetFamily(
    widths=(16, 32, 64),
    stem_kernel=3,
    shrinking_stem=False,
    shortcut="A",
    classifier="linear",
)

RESNETS: dict[str, ResNetVariant] = {
    "resnet18": ResNetVariant(family=IMAGENET, blocks=(2, 2, 2, 2)),
    "resnet34": ResNetVariant(family=IMAGENET, blocks=(3, 4, 6, 3)),
    "resnet50": ResNetVariant(family=IMAGENET, blocks=(3, 4, 6, 3), bottleneck=True),
    "resnet101": ResNetVariant(family=IMAGENET, blocks=(3, 4, 23, 3), bottleneck=True),
    "resnet152": ResNetVariant(family=IMAGENET, blocks=(3, 8, 36, 3), bottleneck=True),
    "resnet20": ResNetVariant(family=CIFAR, blocks=(3, 3, 3)),
    "resnet32": ResNetVariant(family=CIFAR, blocks=(5, 5, 5)),
    "resnet44": ResNetVariant(family=CIFAR, blocks=(7, 7, 7)),
    "resnet56": ResNetVariant(family=CIFAR, blocks=(9, 9, 9)),
    "resnet110": ResNetVariant(family=CIFAR, blocks=(18, 18, 18)),
}

AS_PUBLISHED = ResNetOptions()


def build_resnet(name: str, options: ResNetOptions = AS_PUBLISHED, in_channels: int = 3) -> ResNet:
    """Build a residual network by name, with fresh weights (He initialisation).

    Raises:
        UsageError: an unknown name, or less than one input channel.
    """
    if name not in RESNETS:
        raise UsageError(f"unknown residual network {name!r}.", hint=did_you_mean(name, RESNETS))
    if in_channels < 1:
        raise UsageError(f"in_channels is {in_channels}; a network needs at least 1")
    return ResNet(variant=RESNETS[name], options=options, in_channels=in_channels)
