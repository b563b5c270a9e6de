"""Inverted residuals, the block of MobileNet v2, v3 and EfficientNet (Sandler et al. 2018).

A bottleneck of a residual network is narrow inside; this block is wide inside, where a depthwise
convolution (one kernel per channel) is cheap, and narrow where blocks meet:

    y = x + project(gate(depthwise(expand(x))))
    expand      1x1 conv, norm, activation                 (N, C, H, W)  -> (N, tC, H, W)
    depthwise   3x3 or 5x5 conv per channel, norm, act     (N, tC, H, W) -> (N, tC, H/s, W/s)
    gate        squeeze-and-excitation, in some            (N, tC, H/s, W/s)
    project     1x1 conv, norm, no activation              (N, tC, H/s, W/s) -> (N, C', H/s, W/s)

The sum is left out where the shape changes. The projection is linear, because an activation would
destroy information in few channels (section 3.2). `StagedBackbone` is the network around the blocks:
stem, stages, last 1x1 convolution. Module names are torchvision's.
"""

from __future__ import annotations

import itertools
from abc import ABC
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from skipstone.models.backbone import Backbone
from skipstone.models.image_backbone_options import LastMap
from skipstone.models.layers import DropPath, NormFactory, SqueezeExcite


@dataclass(frozen=True, kw_only=True)
class LayerDesign:
    """What all layers of a network share.

    Args:
        norm: behind each convolution.
        activation: behind each norm but a projection's.
        squeeze_activation: inside a gate, and
        gate: at its end.
    """

    norm: NormFactory = nn.BatchNorm2d
    activation: type[nn.Module] = nn.ReLU6
    squeeze_activation: type[nn.Module] = nn.ReLU
    gate: type[nn.Module] = nn.Sigmoid


@dataclass(frozen=True, kw_only=True)
class InvertedShape:
    """Sizes of one block: (N, in_channels, H, W) -> (N, out_channels, H/s, W/s).

    Args:
        hidden: channels of the depthwise convolution; equal to `in_channels`, nothing expands.
        squeeze: hidden units of the gate; 0: no gate.
    """

    in_channels: int
    hidden: int
    out_channels: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    squeeze: int = 0

    @property
    def keeps_shape(self) -> bool:
        return self.stride == 1 and self.in_channels == self.out_channels


class ConvNormAct(nn.Sequential):
    """Convolution without bias, norm, activation: (N, C, H, W) -> (N, outputs, H/s, W/s)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        design: LayerDesign,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        is_linear: bool = False,
    ) -> None:
        padding = dilation * (kernel // 2)
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        layers = [conv, design.norm(outputs)]
        super().__init__(*layers, *([] if is_linear else [design.activation()]))


def inverted_layers(shape: InvertedShape, design: LayerDesign) -> Iterator[nn.Module]:
    """The layers of a block: expand, depthwise, gate, project; without those that it lacks."""
    hidden = shape.hidden
    if hidden != shape.in_channels:
        yield ConvNormAct(shape.in_channels, hidden, 1, design=design)
    yield ConvNormAct(
        hidden,
        hidden,
        shape.kernel,
        design=design,
        stride=shape.stride,
        dilation=shape.dilation,
        groups=hidden,
    )
    if shape.squeeze:
        yield SqueezeExcite(
            channels=hidden,
            hidden=shape.squeeze,
            activation=design.squeeze_activation,
            gate=design.gate,
        )
    yield ConvNormAct(hidden, shape.out_channels, 1, design=design, is_linear=True)


class InvertedResidual(nn.Module):
    """One block.

    Args:
        drop_path: rate of stochastic depth.
    """

    def __init__(self, shape: InvertedShape, design: LayerDesign, drop_path: float = 0.0) -> None:
        super().__init__()
        self.block = nn.Sequential(*inverted_layers(shape, design))
        self.drop_path = DropPath(rate=drop_path)
        self.keeps_shape = shape.keeps_shape

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        y: Tensor = self.block(x)  # (N, C', H/s, W/s)
        return x + self.drop_path(y) if self.keeps_shape else y


class StagedBackbone(Backbone, ABC):
    """`features`, in order: a stem, blocks or stages of them, and perhaps a last 1x1 convolution.

    The maps are the deepest of each stride from 2 on. The last one is that of the last block
    (``last_map="stage"``), that of the last convolution ("features"), or the only one, a vector
    behind the mean over the image and `vector_layers` ("pooled").
    """

    features: nn.Sequential

    def set_features(
        self,
        layers: Sequence[nn.Module],
        widths: Iterable[int],
        strides: Iterable[int],
        *,
        last_map: LastMap,
        has_last_conv: bool = True,
    ) -> None:
        """Set `features`, `channels` and `strides`, and the layers whose outputs are maps.

        Args:
            widths: channels of each layer's output.
            strides: of each layer's output, counted from the input.
            has_last_conv: whether the last layer is left out of ``last_map="stage"``.
        """
        count = len(layers) - (has_last_conv and last_map == "stage")
        rows = list(enumerate(zip(widths, strides, strict=True)))[:count]
        self.features = nn.Sequential(*layers[:count])
        deepest = {stride: (index, width) for index, (width, stride) in rows}
        self.map_indices = tuple(index for index, _ in deepest.values())
        self.channels = tuple(width for _, width in deepest.values())
        self.strides = tuple(deepest)
        self.is_pooled = last_map == "pooled"
        if self.is_pooled:
            self.channels, self.strides = self.channels[-1:], self.strides[-1:]

    def vector_layers(self) -> list[nn.Module]:
        """Layers behind the mean over the image that belong to ``last_map="pooled"``."""
        return []

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # (N, C_in, H, W)
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.map_indices:
                maps.append(x)  # (N, channels[i], H / strides[i], W / strides[i])
        if not self.is_pooled:
            return tuple(maps)
        x = x.mean((2, 3))  # (N, C)
        for layer in self.vector_layers():
            x = layer(x)
        return (x,)

    def stage_modules(self) -> list[list[nn.Module]]:
        ends = [index + 1 for index in self.map_indices]
        layers = list(self.features)
        stages = [layers[a:b] for a, b in itertools.pairwise([0, *ends])]
        return [*stages[:-1], [*stages[-1], *self.vector_layers()]]
