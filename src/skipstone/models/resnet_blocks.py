"""The blocks of residual networks: basic and bottleneck, each in post- and pre-activation form.

`skipstone.models.resnet` has the formulas. Module names (conv1, bn1, ..., downsample) are
torchvision's; ``bn1`` is the first norm, of any kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skipstone.models.image_backbone_options import Shortcut
from skipstone.models.layers import DropPath, NormFactory, SqueezeExcite, ZeroPadShortcut


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """Sizes of one block: (N, in_channels, H, W) -> (N, expansion * channels, H/s, W/s).

    ``dilation`` is that of the first 3x3 convolution, which strides; ``inner_dilation`` that of the
    second one, if the block has it.
    """

    in_channels: int
    channels: int
    stride: int = 1
    dilation: int = 1
    inner_dilation: int = 1


@dataclass(frozen=True, kw_only=True)
class BlockDesign:
    """Settings that all blocks of one network share.

    Args:
        norm: makes the norm layer for a number of channels.
        bias: whether convolutions have a bias; a norm behind them would cancel it.
        shortcut: how shortcuts change shape; None removes all shortcuts (a plain net).
        dropout: drop rate before the branch's last convolution.
        squeeze_excite: whether the branch ends in a `SqueezeExcite`.
        zero_init: whether the branch's last norm starts with scale 0.
        branch_scale: factor on the initial weights of the branch's last convolution.
    """

    norm: NormFactory = nn.BatchNorm2d
    bias: bool = False
    shortcut: Shortcut | None = "B"
    dropout: float = 0.0
    squeeze_excite: bool = False
    zero_init: bool = False
    branch_scale: float = 1.0

    def make_conv(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1
    ) -> nn.Conv2d:
        """A convolution to ceil(H / stride) x ceil(W / stride), initialised as He et al. do."""
        padding = dilation * (kernel // 2)
        layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=self.bias)
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        return layer


class ResidualBlock(nn.Module, ABC):
    """Base of the four blocks: branch, shortcut, and their sum.

    Args:
        shape: sizes of this block.
        design: settings of all blocks of the network.
        drop_path: rate of stochastic depth.
    """

    expansion = 1
    pre_activation = False

    def __init__(self, *, shape: BlockShape, design: BlockDesign, drop_path: float = 0.0) -> None:
        super().__init__()
        outputs = self.expansion * shape.channels
        self.residual = design.shortcut is not None
        self.reshapes = shape.stride != 1 or shape.in_channels != outputs
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(design.dropout)
        last_conv, last_norm = self.build_branch(shape, design)
        self.se = SqueezeExcite(channels=outputs) if design.squeeze_excite else nn.Identity()
        self.drop_path = DropPath(rate=drop_path)
        if self.residual and self.reshapes:
            self.downsample = self.build_shortcut(shape, design)
        else:
            self.downsample = nn.Identity()

        with torch.no_grad():
            last_conv.weight.mul_(design.branch_scale)
            if design.zero_init:
                nn.init.zeros_(last_norm.get_parameter("weight"))

    @abstractmethod
    def build_branch(self, shape: BlockShape, design: BlockDesign) -> tuple[nn.Conv2d, nn.Module]:
        """Set conv1, bn1, ... and return the last convolution and the last norm."""

    def build_shortcut(self, shape: BlockShape, design: BlockDesign) -> nn.Module:
        """A shortcut to the shape of the branch's output.

        A: zero-padding. B: 1x1 convolution (both He et al. 2015, section 3.3). D: average pool,
        then 1x1 convolution (He et al. 2018, "Bag of Tricks", section 4.2), because a 1x1
        convolution with stride 2 ignores three quarters of the pixels. Where a stage dilates
        instead of striding, D does not pool.
        """
        inputs, outputs, stride = shape.in_channels, self.expansion * shape.channels, shape.stride
        if design.shortcut == "A":
            return ZeroPadShortcut(in_channels=inputs, out_channels=outputs, stride=stride)
        # with pre-activation the input is normalised already
        norm = nn.Identity() if self.pre_activation else design.norm(outputs)
        if design.shortcut == "B":
            return nn.Sequential(design.make_conv(inputs, outputs, 1, stride=stride), norm)
        # ceil_mode, because the branch's convolution rounds odd sizes up
        pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        return nn.Sequential(pool, design.make_conv(inputs, outputs, 1), norm)

    def add_shortcut(self, branch: Tensor, x: Tensor) -> Tensor:
        """The sum of branch and shortcut; the branch alone in a plain net."""
        branch = self.se(branch)
        if not self.residual:
            return branch
        total: Tensor = self.drop_path(branch) + self.downsample(x)
        return total


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions: y = relu(x + branch(x))."""

    def build_branch(self, shape: BlockShape, design: BlockDesign) -> tuple[nn.Conv2d, nn.Module]:
        c, conv = shape.channels, design.make_conv
        self.conv1 = conv(shape.in_channels, c, 3, stride=shape.stride, dilation=shape.dilation)
        self.bn1 = design.norm(c)
        self.conv2 = conv(c, c, 3, dilation=shape.inner_dilation)
        self.bn2 = design.norm(c)
        return self.conv2, self.bn2

    def forward(self, x: Tensor) -> Tensor:  # (N, C_in, H, W)
        y = self.relu(self.bn1(self.conv1(x)))  # (N, C, H/s, W/s)
        y = self.bn2(self.conv2(self.dropout(y)))  # (N, C, H/s, W/s)
        out: Tensor = self.relu(self.add_shortcut(y, x))  # (N, C, H/s, W/s)
        return out


class Bottleneck(ResidualBlock):
    """1x1 convolution to fewer channels, 3x3, then 1x1 to four times as many."""

    expansion = 4

    def build_branch(self, shape: BlockShape, design: BlockDesign) -> tuple[nn.Conv2d, nn.Module]:
        c, conv = shape.channels, design.make_conv
        self.conv1 = conv(shape.in_channels, c, 1)
        self.bn1 = design.norm(c)
        self.conv2 = conv(c, c, 3, stride=shape.stride, dilation=shape.dilation)
        self.bn2 = design.norm(c)
        self.conv3 = conv(c, self.expansion * c, 1)
        self.bn3 = design.norm(self.expansion * c)
        return self.conv3, self.bn3

    def forward(self, x: Tensor) -> Tensor:  # (N, C_in, H, W)
        y = self.relu(self.bn1(self.conv1(x)))  # (N, C, H, W)
        y = self.relu(self.bn2(self.conv2(y)))  # (N, C, H/s, W/s)
        y = self.bn3(self.conv3(self.dropout(y)))  # (N, 4C, H/s, W/s)
        out: Tensor = self.relu(self.add_shortcut(y, x))  # (N, 4C, H/s, W/s)
        return out


class PreActBasicBlock(ResidualBlock):
    """y = x + branch(x), where norm and ReLU come before each convolution (He et al. 2016).

    The sum has no activation, so a signal can pass all blocks of a stage unchanged. A shortcut
    that changes shape starts from the activated input, as in their published code.
    """

    pre_activation = True

    def build_branch(self, shape: BlockShape, design: BlockDesign) -> tuple[nn.Conv2d, nn.Module]:
        c, conv = shape.channels, design.make_conv
        self.bn1 = design.norm(shape.in_channels)
        self.conv1 = conv(shape.in_channels, c, 3, stride=shape.stride, dilation=shape.dilation)
        self.bn2 = design.norm(c)
        self.conv2 = conv(c, c, 3, dilation=shape.inner_dilation)
        return self.conv2, self.bn2

    def forward(self, x: Tensor) -> Tensor:  # (N, C_in, H, W)
        active = self.relu(self.bn1(x))  # (N, C_in, H, W)
        y = self.relu(self.bn2(self.conv1(active)))  # (N, C, H/s, W/s)
        y = self.conv2(self.dropout(y))  # (N, C, H/s, W/s)
        return self.add_shortcut(y, active if self.reshapes else x)


class PreActBottleneck(ResidualBlock):
    """The bottleneck with norm and ReLU before each convolution; see `PreActBasicBlock`."""

    expansion = 4
    pre_activation = True

    def build_branch(self, shape: BlockShape, design: BlockDesign) -> tuple[nn.Conv2d, nn.Module]:
        c, conv = shape.channels, design.make_conv
        self.bn1 = design.norm(shape.in_channels)
        self.conv1 = conv(shape.in_channels, c, 1)
        self.bn2 = design.norm(c)
        self.conv2 = conv(c, c, 3, stride=shape.stride, dilation=shape.dilation)
        self.bn3 = design.norm(c)
        self.conv3 = conv(c, self.expansion * c, 1)
        return self.conv3, self.bn3

    def forward(self, x: Tensor) -> Tensor:  # (N, C_in, H, W)
        active = self.relu(self.bn1(x))  # (N, C_in, H, W)
        y = self.relu(self.bn2(self.conv1(active)))  # (N, C, H, W)
        y = self.relu(self.bn3(self.conv2(y)))  # (N, C, H/s, W/s)
        y = self.conv3(self.dropout(y))  # (N, 4C, H/s, W/s)
        return self.add_shortcut(y, active if self.reshapes else x)
