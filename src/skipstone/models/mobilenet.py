"""MobileNet v1 (Howard et al. 2017), v2 (Sandler et al. 2018) and v3 (Howard et al. 2019).

**v1** (arXiv:1704.04861) replaces a 3x3 convolution by two cheap ones:

    depthwise   3x3 conv, one kernel per channel           H W C 9       MACs
    pointwise   1x1 conv, C -> D                           H W C D       MACs
    instead of  3x3 conv, C -> D                           H W C D 9     MACs, 8 to 9 times as many

**v2** (arXiv:1801.04381) joins such pairs to inverted residuals
(`skipstone.models.inverted_residual`): blocks meet in few channels and are wide inside.

**v3** (arXiv:1905.02244) takes widths and kernels from a search, adds gates (squeeze-and-excitation)
and an activation without exponentials, hard swish x * relu6(x + 3) / 6, and computes its last layers
behind the mean over the image, where they cost nothing:

    x       = last 1x1 conv                                (N, 960, H/32, W/32)
    vector  = hardswish(linear(mean(x)))                   (N, 1280)

`width` multiplies all channels (section 3.3 of v1). Module names of v2 and v3 are torchvision's; files
of v1 with timm's names load.
"""

from __future__ import annotations

import functools
from typing import Literal

from torch import Tensor, nn

from skipstone.core.errors import UsageError
from skipstone.models.backbone import PublishedNetwork, add_classifier
from skipstone.models.image_backbone_options import MobileNetOptions
from skipstone.models.inverted_residual import (
    ConvNormAct,
    InvertedResidual,
    InvertedShape,
    LayerDesign,
    StagedBackbone,
    inverted_layers,
)
from skipstone.models.layers import make_divisible, stage_steps

_PLAIN = LayerDesign()  # batch norm and ReLU6
_SLOW_NORM = functools.partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)


class SeparableBlock(nn.Module):
    """Depthwise 3x3, then pointwise: (N, C, H, W) -> (N, D, H/s, W/s)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        depthwise = ConvNormAct(
            inputs, inputs, 3, design=_PLAIN, stride=stride, dilation=dilation, groups=inputs
        )
        pointwise = ConvNormAct(inputs, outputs, 1, design=_PLAIN)
        self.conv_dw, self.bn1, self.relu1 = depthwise
        self.conv_pw, self.bn2, self.relu2 = pointwise

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.bn1(self.conv_dw(x)))  # (N, C, H/s, W/s)
        y: Tensor = self.relu2(self.bn2(self.conv_pw(x)))  # (N, D, H/s, W/s)
        return y


#: Of each stage of v1: channels, blocks, stride of the first.
V1_STAGES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))


class MobileNetV1(StagedBackbone):
    """MobileNet v1 without its classifier: (N, in_channels, H, W) -> maps of strides 2 to 32."""

    classifier_name = "classifier"

    def __init__(self, *, options: MobileNetOptions, in_channels: int = 3) -> None:
        super().__init__()
        self.in_channels = in_channels
        inputs = make_divisible(32 * options.width)
        stem = ConvNormAct(in_channels, inputs, 3, design=_PLAIN, stride=2)
        stages: list[nn.Module] = []
        widths, strides = [inputs], [2]
        steps = stage_steps([stride for *_, stride in V1_STAGES], 2, options.output_stride)
        for (channels, count, _), step in zip(V1_STAGES, steps, strict=True):
            width = make_divisible(channels * options.width)
            stage = nn.Sequential()
            for position in range(count):
                stride, dilation = step.of_block(position)
                stage.append(SeparableBlock(inputs, width, stride=stride, dilation=dilation))
                inputs = width
            stages.append(stage)
            widths.append(width)
            strides.append(strides[-1] * step.stride)
        self.set_features(
            [stem, *stages], widths, strides, last_map=options.last_map, has_last_conv=False
        )

    def published_network(self, classes: int) -> PublishedNetwork:
        net = MobileNetV1(options=MobileNetOptions(), in_channels=self.in_channels)
        return add_classifier(net, classes, name="the published MobileNet")

    def translate_name(self, name: str) -> str:
        module, _, tensor = name.rpartition(".")
        if module in (edges := {"conv_stem": "features.0.0", "bn1": "features.0.1"}):
            return f"{edges[module]}.{tensor}"
        first, _, rest = name.partition(".")
        stage, _, rest = rest.partition(".")
        is_block = first == "blocks" and stage.isdecimal()
        return f"features.{int(stage) + 1}.{rest}" if is_block else name


class LinearBottleneck(nn.Module):
    """The inverted residual of v2, whose projection's layers are named without a container."""

    def __init__(self, shape: InvertedShape) -> None:
        super().__init__()
        *layers, projection = inverted_layers(shape, _PLAIN)
        assert isinstance(projection, ConvNormAct)
        self.conv = nn.Sequential(*layers, *projection)
        self.keeps_shape = shape.keeps_shape

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        y: Tensor = self.conv(x)  # (N, C', H/s, W/s)
        return x + y if self.keeps_shape else y


#: Of each stage of v2: expansion, channels, blocks, stride of the first.
V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2(StagedBackbone):
    """MobileNet v2 without its classifier: (N, in_channels, H, W) -> maps of strides 2 to 32."""

    classifier_name = "classifier.1"

    def __init__(self, *, options: MobileNetOptions, in_channels: int = 3) -> None:
        super().__init__()
        self.in_channels = in_channels
        inputs = make_divisible(32 * options.width)
        layers: list[nn.Module] = [ConvNormAct(in_channels, inputs, 3, design=_PLAIN, stride=2)]
        widths, strides = [inputs], [2]
        steps = stage_steps([stride for *_, stride in V2_STAGES], 2, options.output_stride)
        for (expansion, channels, count, _), step in zip(V2_STAGES, steps, strict=True):
            width = make_divisible(channels * options.width)
            for position in range(count):
                stride, dilation = step.of_block(position)
                shape = InvertedShape(
                    in_channels=inputs,
                    hidden=expansion * inputs,
                    out_channels=width,
                    stride=stride,
                    dilation=dilation,
                )
                layers.append(LinearBottleneck(shape))
                widths.append(width)
                strides.append(strides[-1] * stride)
                inputs = width
        last = make_divisible(1280 * max(1.0, options.width))
        layers.append(ConvNormAct(inputs, last, 1, design=_PLAIN))
        self.set_features(
            layers, [*widths, last], [*strides, strides[-1]], last_map=options.last_map
        )

    def published_network(self, classes: int) -> PublishedNetwork:
        net = MobileNetV2(options=MobileNetOptions(), in_channels=self.in_channels)
        return add_classifier(net, classes, name="the published MobileNet")


Activation = Literal["relu", "hardswish"]
#: Of each block of v3: kernel, hidden channels, channels, whether it has a gate, activation, stride.
V3_BLOCKS: dict[str, tuple[tuple[int, int, int, bool, Activation, int], ...]] = {
    "large": (
        (3, 16, 16, False, "relu", 1),
        (3, 64, 24, False, "relu", 2),
        (3, 72, 24, False, "relu", 1),
        (5, 72, 40, True, "relu", 2),
        (5, 120, 40, True, "relu", 1),
        (5, 120, 40, True, "relu", 1),
        (3, 240, 80, False, "hardswish", 2),
        (3, 200, 80, False, "hardswish", 1),
        (3, 184, 80, False, "hardswish", 1),
        (3, 184, 80, False, "hardswish", 1),
        (3, 480, 112, True, "hardswish", 1),
        (3, 672, 112, True, "hardswish", 1),
        (5, 672, 160, True, "hardswish", 2),
        (5, 960, 160, True, "hardswish", 1),
        (5, 960, 160, True, "hardswish", 1),
    ),
    "small": (
        (3, 16, 16, True, "relu", 2),
        (3, 72, 24, False, "relu", 2),
        (3, 88, 24, False, "relu", 1),
        (5, 96, 40, True, "hardswish", 2),
        (5, 240, 40, True, "hardswish", 1),
        (5, 240, 40, True, "hardswish", 1),
        (5, 120, 48, True, "hardswish", 1),
        (5, 144, 48, True, "hardswish", 1),
        (5, 288, 96, True, "hardswish", 2),
        (5, 576, 96, True, "hardswish", 1),
        (5, 576, 96, True, "hardswish", 1),
    ),
}
#: Units behind the mean over the image.
V3_HIDDEN = {"large": 1280, "small": 1024}
_V3_DESIGNS = {
    name: LayerDesign(norm=_SLOW_NORM, activation=kind, gate=nn.Hardsigmoid)
    for name, kind in (("relu", nn.ReLU), ("hardswish", nn.Hardswish))
}


class MobileNetV3(StagedBackbone):
    """MobileNet v3 without its classifier: (N, in_channels, H, W) -> maps of strides 2 to 32.

    Args:
        size: "large" or "small".
    """

    classifier_name = "classifier.3"

    def __init__(self, *, size: str, options: MobileNetOptions, in_channels: int = 3) -> None:
        super().__init__()
        self.size, self.in_channels = size, in_channels
        swish = _V3_DESIGNS["hardswish"]
        inputs = make_divisible(16 * options.width)
        layers: list[nn.Module] = [ConvNormAct(in_channels, inputs, 3, design=swish, stride=2)]
        widths, strides = [inputs], [2]
        blocks = V3_BLOCKS[size]
        steps = stage_steps([stride for *_, stride in blocks], 2, options.output_stride)
        for (kernel, hidden, channels, gated, activation, _), step in zip(
            blocks, steps, strict=True
        ):
            hidden = make_divisible(hidden * options.width)
            width = make_divisible(channels * options.width)
            stride, dilation = step.of_block(0)
            shape = InvertedShape(
                in_channels=inputs,
                hidden=hidden,
                out_channels=width,
                kernel=kernel,
                stride=stride,
                dilation=dilation,
                squeeze=make_divisible(hidden // 4) if gated else 0,
            )
            layers.append(InvertedResidual(shape, _V3_DESIGNS[activation]))
            widths.append(width)
            strides.append(strides[-1] * stride)
            inputs = width
        last = 6 * inputs
        layers.append(ConvNormAct(inputs, last, 1, design=swish))
        self.set_features(
            layers, [*widths, last], [*strides, strides[-1]], last_map=options.last_map
        )
        if options.last_map == "pooled":
            units = make_divisible(V3_HIDDEN[size] * options.width)
            self.classifier = nn.Sequential(nn.Linear(last, units), nn.Hardswish(), nn.Identity())
            self.channels = (units,)

    def vector_layers(self) -> list[nn.Module]:
        return [self.classifier] if self.is_pooled else []

    def published_network(self, classes: int) -> PublishedNetwork:
        options = MobileNetOptions()
        net = MobileNetV3(size=self.size, options=options, in_channels=self.in_channels)
        return add_classifier(net, classes, name="the published MobileNet")


def build_mobilenet(name: str, options: MobileNetOptions, *, in_channels: int) -> StagedBackbone:
    """Build a MobileNet by name, with fresh weights (He initialisation).

    Raises:
        UsageError: less than one input channel.
    """
    if in_channels < 1:
        raise UsageError(f"in_channels is {in_channels}; a network needs at least 1.")
    if name == "mobilenet_v1":
        return MobileNetV1(options=options, in_channels=in_channels)
    if name == "mobilenet_v2":
        return MobileNetV2(options=options, in_channels=in_channels)
    size = name.removeprefix("mobilenet_v3_")
    return MobileNetV3(size=size, options=options, in_channels=in_channels)
