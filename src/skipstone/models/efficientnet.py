"""EfficientNet (Tan and Le 2019, arXiv:1905.11946) and its lite variants.

One small network, found by a search, is enlarged in three directions at once. With more compute
2^phi, width, depth and resolution grow by

    width 1.1^phi,   depth 1.2^phi,   resolution 1.15^phi          1.1^2 * 1.2 * 1.15^2 = 2 (nearly)

because a larger picture needs more layers to cover it and more channels to describe its details
(section 3.3). The small network, B0, is seven stages of inverted residuals
(`skipstone.models.inverted_residual`) with squeeze-and-excitation gates:

    stem      3x3 conv, stride 2                  (N, 32, H/2, W/2)
    stage 1   1 block,  3x3                       (N, 16, H/2, W/2)
    stage 2   2 blocks, 3x3, stride 2             (N, 24, H/4, W/4)
    stage 3   2 blocks, 5x5, stride 2             (N, 40, H/8, W/8)
    stage 4   3 blocks, 3x3, stride 2             (N, 80, H/16, W/16)
    stage 5   3 blocks, 5x5                       (N, 112, H/16, W/16)
    stage 6   4 blocks, 5x5, stride 2             (N, 192, H/32, W/32)
    stage 7   1 block,  3x3                       (N, 320, H/32, W/32)
    last      1x1 conv                            (N, 1280, H/32, W/32)

The lite variants (TensorFlow, 2020) run well in INT8: ReLU6 instead of SiLU, no gates, and stem,
last layers and the depth of the first and last stage stay as in B0.

Module names are torchvision's; files with timm's names load, too.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass

from torch import nn

from skipstone.core.errors import UsageError
from skipstone.models.backbone import PublishedNetwork, add_classifier
from skipstone.models.image_backbone_options import EfficientNetOptions
from skipstone.models.inverted_residual import (
    ConvNormAct,
    InvertedResidual,
    InvertedShape,
    LayerDesign,
    StagedBackbone,
)
from skipstone.models.layers import make_divisible, stage_steps

#: Of each stage of B0: expansion, kernel, stride, channels, blocks.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_STEM, _LAST = 32, 1280


@dataclass(frozen=True, kw_only=True)
class EfficientNetVariant:
    """A named net: how much wider and deeper than B0, and whether it is a lite variant.

    Args:
        tf_norm: batch norm as TensorFlow has it for B5 to B7, whose running means move slowly.
    """

    width: float
    depth: float
    is_lite: bool = False
    tf_norm: bool = False


class EfficientNet(StagedBackbone):
    """An EfficientNet without its classifier: (N, in_channels, H, W) -> maps of strides 2 to 32."""

    classifier_name = "classifier.1"

    def __init__(
        self, *, variant: EfficientNetVariant, options: EfficientNetOptions, in_channels: int = 3
    ) -> None:
        super().__init__()
        self.variant, self.in_channels = variant, in_channels
        lite = variant.is_lite
        design = layer_design(variant)
        stem = make_divisible(_STEM * options.width * (1 if lite else variant.width))
        layers: list[nn.Module] = [ConvNormAct(in_channels, stem, 3, design=design, stride=2)]
        widths, strides, inputs = [stem], [2], stem
        counts = count_blocks(variant, options.depth)
        steps = stage_steps([stage[2] for stage in STAGES], 2, options.output_stride)
        done, total = 0, sum(counts)
        for (expansion, kernel, _, channels, _), count, step in zip(
            STAGES, counts, steps, strict=True
        ):
            width = make_divisible(channels * variant.width * options.width)
            stage = nn.Sequential()
            for position in range(count):
                stride, dilation = step.of_block(position)
                shape = InvertedShape(
                    in_channels=inputs,
                    hidden=make_divisible(inputs * expansion) if expansion > 1 else inputs,
                    out_channels=width,
                    kernel=kernel,
                    stride=stride,
                    dilation=dilation,
                    squeeze=0 if lite else max(1, inputs // 4),
                )
                drop_path = options.stochastic_depth * done / total
                stage.append(InvertedResidual(shape, design, drop_path))
                inputs, done = width, done + 1
            layers.append(stage)
            widths.append(width)
            strides.append(strides[-1] * step.stride)
        last = make_divisible(_LAST * options.width) if lite else 4 * inputs
        layers.append(ConvNormAct(inputs, last, 1, design=design))
        self.set_features(
            layers, [*widths, last], [*strides, strides[-1]], last_map=options.last_map
        )

    def published_network(self, classes: int) -> PublishedNetwork:
        net = EfficientNet(
            variant=self.variant, options=EfficientNetOptions(), in_channels=self.in_channels
        )
        return add_classifier(net, classes, name="the published EfficientNet")

    def translate_name(self, name: str) -> str:
        return translate_timm_name(name, has_gates=not self.variant.is_lite)


def count_blocks(variant: EfficientNetVariant, depth: float) -> list[int]:
    """Blocks of each stage, rounded up; in lite variants the first and the last stage keep B0's."""
    last = len(STAGES) - 1
    return [
        max(1, math.ceil(depth * blocks * (1 if fixed else variant.depth)))
        for index, (*_, blocks) in enumerate(STAGES)
        for fixed in (variant.is_lite and index in (0, last),)
    ]


def layer_design(variant: EfficientNetVariant) -> LayerDesign:
    if variant.is_lite:  # the published weights were trained in TensorFlow, with its epsilon
        return LayerDesign(norm=functools.partial(nn.BatchNorm2d, eps=1e-3))
    slow = functools.partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
    norm = slow if variant.tf_norm else nn.BatchNorm2d
    return LayerDesign(norm=norm, activation=nn.SiLU, squeeze_activation=nn.SiLU)


_TIMM_BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.(\w+)\.(?:(conv_reduce|conv_expand)\.)?(\w+)")
_TIMM_EDGES = {
    "conv_stem": "features.0.0",
    "bn1": "features.0.1",
    "conv_head": "features.8.0",
    "bn2": "features.8.1",
    "classifier": "classifier.1",
}


def translate_timm_name(name: str, *, has_gates: bool) -> str:
    """torchvision's name of one of timm's tensors; any other name stays.

    >>> translate_timm_name("blocks.1.0.conv_dw.weight", has_gates=True)
    'features.2.0.block.1.0.weight'
    """
    if (match := _TIMM_BLOCK.fullmatch(name)) is None:
        module, _, tensor = name.rpartition(".")
        return f"{_TIMM_EDGES[module]}.{tensor}" if module in _TIMM_EDGES else name
    stage, block, layer, part, tensor = match.groups()
    gate = 1 if stage == "0" else 2  # the first stage does not expand
    project = gate + has_gates
    if stage == "0":
        places = {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": f"{project}.0", "bn2": f"{project}.1"}
    else:
        places = {"conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1"}
        places |= {"conv_pwl": f"{project}.0", "bn3": f"{project}.1"}
    places["se"] = f"{gate}.fc1" if part == "conv_reduce" else f"{gate}.fc2"
    return f"features.{int(stage) + 1}.{block}.block.{places[layer]}.{tensor}"


def _scaled(width: float, depth: float, *, tf_norm: bool = False) -> EfficientNetVariant:
    return EfficientNetVariant(width=width, depth=depth, tf_norm=tf_norm)


def _lite(width: float, depth: float) -> EfficientNetVariant:
    return EfficientNetVariant(width=width, depth=depth, is_lite=True)


EFFICIENTNETS: dict[str, EfficientNetVariant] = {
    "efficientnet_b0": _scaled(1.0, 1.0),
    "efficientnet_b1": _scaled(1.0, 1.1),
    "efficientnet_b2": _scaled(1.1, 1.2),
    "efficientnet_b3": _scaled(1.2, 1.4),
    "efficientnet_b4": _scaled(1.4, 1.8),
    "efficientnet_b5": _scaled(1.6, 2.2, tf_norm=True),
    "efficientnet_b6": _scaled(1.8, 2.6, tf_norm=True),
    "efficientnet_b7": _scaled(2.0, 3.1, tf_norm=True),
    "efficientnet_lite0": _lite(1.0, 1.0),
    "efficientnet_lite1": _lite(1.0, 1.1),
    "efficientnet_lite2": _lite(1.1, 1.2),
    "efficientnet_lite3": _lite(1.2, 1.4),
    "efficientnet_lite4": _lite(1.4, 1.8),
}


def build_efficientnet(
    name: str, options: EfficientNetOptions, *, in_channels: int
) -> EfficientNet:
    """Build an EfficientNet by name, with fresh weights (He initialisation).

    Raises:
        UsageError: less than one input channel.
    """
    if in_channels < 1:
        raise UsageError(f"in_channels is {in_channels}; a network needs at least 1.")
    return EfficientNet(variant=EFFICIENTNETS[name], options=options, in_channels=in_channels)
