"""Building blocks of networks, independent of options."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.nn import functional as F

NormFactory = Callable[[int], nn.Module]
"""From a number of channels to a module that maps (N, channels, H, W) to the same shape."""


@runtime_checkable
class OnnxTranslations(Protocol):
    """A module with custom operators that the ONNX exporter has to translate."""

    def onnx_operators(self) -> Mapping[Any, Callable[..., Any]]:
        """{torch operator: its translation to ONNX}."""


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round ``value`` channels to the nearest multiple of ``divisor``, at least one multiple.

    Rounds up where rounding down would lose more than a tenth (MobileNetV2's reference code;
    multiples of 8 are fast on hardware).
    """
    rounded = max(divisor, math.floor(value / divisor + 0.5) * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def group_norm(channels: int) -> nn.Module:
    """Group normalisation (Wu & He 2018), which does not depend on the batch.

    32 groups as in the paper; fewer where 32 does not divide ``channels``, or would give groups of
    one channel, whose normalisation removes the channel's mean activation.
    """
    groups = math.gcd(channels, 32)
    if groups == channels > 1:
        groups //= 2
    return nn.GroupNorm(groups, channels)


def no_norm(channels: int) -> nn.Module:
    """Identity in place of a norm; ``channels`` is unused, as `NormFactory` requires it."""
    return nn.Identity()


NORMS: dict[str, NormFactory] = {
    "batch": nn.BatchNorm2d,
    "group": group_norm,
    "none": no_norm,
}


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training, sets the branch of a sample to zero.

    Other branches are divided by the survival probability, so the expected value is the input. In
    evaluation the layer is the identity. Draws from torch's global generator.

    Args:
        rate: probability that a sample's branch becomes zero, in [0, 1).
    """

    def __init__(self, *, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"rate is {rate}; a drop rate is at least 0 and less than 1")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:  # (N, ...)
        if not self.training or self.rate == 0:
            return x
        survival = 1 - self.rate
        keep = x.new_empty((x.shape[0],) + (1,) * (x.dim() - 1)).bernoulli_(survival)  # (N, 1, ...)
        return x * (keep / survival)  # (N, ...)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3g}"


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate of the image's channel means (Hu et al. 2018, section 3).

    Args:
        channels: channels in and out.
        hidden: units of the hidden layer; by default about ``channels / 16``, a multiple of 8.
        activation: of the hidden layer.
        gate: from any number to a factor, usually in 0..1.
    """

    def __init__(
        self,
        *,
        channels: int,
        hidden: int | None = None,
        activation: type[nn.Module] = nn.ReLU,
        gate: type[nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        hidden = make_divisible(channels / 16) if hidden is None else hidden
        # 1x1 convolutions instead of linear layers: no reshape, so channels_last is preserved
        self.fc1 = nn.Conv2d(channels, hidden, kernel_size=1)
        self.fc2 = nn.Conv2d(hidden, channels, kernel_size=1)
        self.activation, self.gate = activation(), gate()

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        squeezed = x.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
        factor: Tensor = self.gate(self.fc2(self.activation(self.fc1(squeezed))))  # (N, C, 1, 1)
        return x * factor  # (N, C, H, W)


class ZeroPadShortcut(nn.Module):
    """Shortcut A, without parameters: every ``stride``-th pixel, new channels are zero.

    Half of the zero channels come before the old ones and half behind, as in the published CIFAR
    weights (He et al. 2015, section 4.2, does not specify it).
    """

    def __init__(self, *, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        assert out_channels >= in_channels, "padding cannot remove channels"
        self.before = (out_channels - in_channels) // 2
        self.behind = out_channels - in_channels - self.before
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:  # (N, C_in, H, W)
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.before, self.behind))  # (N, C_out, H/stride, W/stride)

    def extra_repr(self) -> str:
        return f"before={self.before}, behind={self.behind}, stride={self.stride}"


@dataclass(frozen=True, kw_only=True)
class StageStep:
    """Stride and dilation of a stage, and the dilation of the stage before."""

    stride: int
    dilation_before: int
    dilation: int

    def of_block(self, position: int) -> tuple[int, int]:
        """(stride, dilation) of a block's convolution. Only the first block strides; it has the
        dilation of the stage before."""
        return (1, self.dilation) if position else (self.stride, self.dilation_before)


def stage_steps(strides: Sequence[int], before: int, output_stride: int) -> list[StageStep]:
    """Stride and dilation of stages with these ``strides``, behind a stem of stride ``before``.

    A stage that would exceed ``output_stride`` dilates instead (DeepLabv3, Chen et al. 2017,
    section 3.1): the same weights, applied at more positions.
    """
    steps = []
    total, dilation = before, 1
    for stride in strides:
        dilation_before = dilation
        if total * stride > output_stride:
            dilation, stride = dilation * stride, 1
        total *= stride
        steps.append(StageStep(stride=stride, dilation_before=dilation_before, dilation=dilation))
    return steps


def hidden_layers(
    inputs: int, hidden: int, *, dropout: float, drops_first: bool = False
) -> nn.Sequential:
    """Two linear layers with ReLU and dropout, as AlexNet and VGG have before their last layer:
    (N, inputs) -> (N, hidden). Indices are those of torchvision's state dicts.

    Args:
        drops_first: whether dropout comes before each layer (AlexNet) instead of behind it (VGG).
    """
    sizes = ((inputs, hidden), (hidden, hidden))
    layers: list[nn.Module] = []
    for size in sizes:
        layer = [nn.Linear(*size), nn.ReLU()]
        drop = [nn.Dropout(dropout)]
        layers += [*drop, *layer] if drops_first else [*layer, *drop]
    return nn.Sequential(*layers)
