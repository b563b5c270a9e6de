"""Options of the image backbones. Free of torch and timm, so that ``--help`` stays fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skipstone.core.options import (
    PROBABILITY,
    CheckedOptions,
    Range,
    check_options,
    option,
)

Norm = Literal["batch", "group", "none"]
Shortcut = Literal["A", "B", "D"]
OutputStride = Literal[8, 16, 32]
LastMap = Literal["pooled", "features", "stage"]
#: Factor on the published width or depth.
_TIMES = Range(0, 100, open_low=True)


@dataclass(frozen=True, kw_only=True)
class ResNetOptions:
    """Options of a named residual network. The defaults are the published networks.

    Raises:
        UsageError: naming every value that is not allowed, and every conflicting pair.
    """

    norm: Norm = option(
        "batch",
        help="normalisation after (or before) each convolution; 'group' does not depend on the "
        "batch, 'none' gives the convolutions a bias instead",
    )
    block_dropout: float = option(
        0.0,
        range=PROBABILITY,
        help="chance to drop a value before the last convolution of each block (Wide ResNet, 2016)",
    )
    stochastic_depth: float = option(
        0.0,
        range=PROBABILITY,
        help="chance to skip the last block's branch while training; earlier blocks are skipped "
        "less, in proportion to their depth (Huang 2016)",
    )
    shortcut: Shortcut | None = option(
        None,
        help="how a shortcut changes shape: A zero-padding, B 1x1 convolution, D average pool "
        "then 1x1 convolution; default: the family's, A for CIFAR, else B",
    )
    pre_activation: bool = option(
        False, help="norm and ReLU before each convolution instead of after (He 2016)"
    )
    zero_init_last_norm: bool = option(
        False, help="initialise every block as its shortcut alone (Goyal 2017)"
    )
    squeeze_excite: bool = option(
        False, help="weight each block's channels by their mean over the image (Hu 2018)"
    )
    width: float = option(
        1.0,
        range=_TIMES,
        help="multiplies the channels of the stem and of every convolution, each rounded to a "
        "multiple of 8 that is at least 8 and at least 0.9 of the exact value",
    )
    depth: float = option(
        1.0,
        range=_TIMES,
        help="multiplies the blocks of every stage, each rounded to the nearest whole number "
        "(half up) and at least 1",
    )
    output_stride: OutputStride = option(
        32,
        help="input pixels per pixel of the deepest map, at most; below the family's own stride, "
        "later stages dilate instead of striding (DeepLab)",
    )
    residual: bool = option(
        True,
        help="False removes the shortcuts: the plain nets that He et al. (2015, figure 6) compare "
        "with",
    )

    def __post_init__(self) -> None:
        check_options(self, self._conflicts())

    def _conflicts(self) -> list[str]:
        problems = []
        if self.zero_init_last_norm and self.norm == "none":
            problems.append("zero_init_last_norm needs norm 'batch' or 'group', not 'none'")
        if self.zero_init_last_norm and self.pre_activation:
            # with gamma 0 before a ReLU, the gradient is zero and stays zero
            problems.append(
                "zero_init_last_norm needs a block that ends in a norm; with pre_activation it "
                "ends in a convolution: choose one of the two"
            )
        if not self.residual:
            for name in ("zero_init_last_norm", "stochastic_depth", "shortcut"):
                if getattr(self, name):
                    problems.append(
                        f"{name} needs shortcuts: leave it at its default where residual is False"
                    )
        return problems


@dataclass(frozen=True, kw_only=True)
class TimmOptions(CheckedOptions):
    """Options of timm's networks. Building fails where a network does not support one."""

    stochastic_depth: float = option(
        0.0,
        range=PROBABILITY,
        help="chance to skip the last block's branch while training; earlier blocks are skipped "
        "less (timm's drop_path_rate)",
    )
    output_stride: OutputStride = option(
        32,
        help="input pixels per pixel of the deepest map, at most; below the network's own stride, "
        "later stages dilate instead of striding",
    )
    last_map: LastMap = option(
        "features",
        help="the deepest map: 'pooled', the vector that the network's own classifier reads "
        "(without masks the default); 'features', what its pooling reads; or 'stage', the last "
        "stage's, where the two differ (EfficientNet widens it fourfold)",
    )


@dataclass(frozen=True, kw_only=True)
class InceptionOptions(CheckedOptions):
    """Options of a network whose channels can be multiplied. The default is the published network.

    Raises:
        UsageError: naming the value that is not allowed.
    """

    width: float = option(
        1.0,
        range=_TIMES,
        help="multiplies the channels of every layer, each rounded to a multiple of 8 (LeNet-5: to "
        "a whole number)",
    )


@dataclass(frozen=True, kw_only=True)
class MapOptions(InceptionOptions):
    """Options of a network that ends at one of several maps."""

    last_map: LastMap = option(
        "pooled",
        help="the deepest map: 'pooled', the vector that the network's own classifier reads, behind "
        "hidden layers where it has them; 'features', what its pooling reads; or 'stage', the last "
        "stage's, where a last 1x1 convolution widens it (masks and boxes use that)",
    )


@dataclass(frozen=True, kw_only=True)
class VggOptions(MapOptions):
    """Options of networks with hidden layers of linear units behind their maps."""

    hidden_dropout: float = option(
        0.5,
        range=PROBABILITY,
        help="chance to drop a value at each hidden layer (with last_map 'pooled')",
    )


@dataclass(frozen=True, kw_only=True)
class AlexNetOptions(VggOptions):
    """Options of AlexNet."""

    local_response_norm: bool = option(
        False,
        help="divide each value by those of neighbouring channels after the first two "
        "convolutions, as in the paper of 2012",
    )


@dataclass(frozen=True, kw_only=True)
class MobileNetOptions(MapOptions):
    """Options of the MobileNets."""

    output_stride: OutputStride = option(
        32,
        help="input pixels per pixel of the deepest map, at most; below 32, later stages dilate "
        "instead of striding",
    )


@dataclass(frozen=True, kw_only=True)
class EfficientNetOptions(MobileNetOptions):
    """Options of the EfficientNets."""

    depth: float = option(
        1.0, range=_TIMES, help="multiplies the blocks of every stage, each rounded up"
    )
    stochastic_depth: float = option(
        0.0,
        range=PROBABILITY,
        help="chance to skip the last block's branch while training; earlier blocks are skipped "
        "less, in proportion to their depth",
    )
