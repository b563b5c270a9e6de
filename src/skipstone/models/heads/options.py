"""Options of the heads. Free of torch, so that `--help` stays fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from skipstone.option_types import CHANCE, check_options, whole

FcnStride = Literal[8, 16, 32]


def _dropout(default: float) -> Any:
    return field(
        default=default,
        metadata={
            "help": "chance to drop one of the head's features while training, in [0, 1); default "
            "0; fcn 0.1; deeplabv3 and deeplabv3plus 0.5"
        },
    )


@dataclass(frozen=True, kw_only=True)
class HeadChoice:
    """The choice of head."""

    head: str = field(
        default="auto",
        metadata={
            "help": "auto: the task's default; or a name, where the task has a choice. For "
            "masks: lraspp, fcn, unet, segnet, deeplabv3, deeplabv3plus"
        },
    )


@dataclass(frozen=True, kw_only=True)
class LinearOptions:
    """Average the deepest feature map, then one linear layer."""

    dropout: float = _dropout(0.0)

    def __post_init__(self) -> None:
        check_options(self, dropout=CHANCE)


@dataclass(frozen=True, kw_only=True)
class FcnOptions:
    """FCN-32s, 16s or 8s."""

    fcn_stride: FcnStride = field(
        default=8,
        metadata={"help": "stride of the finest map that is classified: FCN-8s, 16s, 32s"},
    )
    dropout: float = _dropout(0.1)

    def __post_init__(self) -> None:
        check_options(self, dropout=CHANCE)


@dataclass(frozen=True, kw_only=True)
class LrasppOptions:
    """LR-ASPP."""

    lraspp_channels: int = field(
        default=128, metadata={"help": "channels of LR-ASPP's two branches on the deepest map"}
    )

    def __post_init__(self) -> None:
        check_options(self, lraspp_channels=whole(1))


@dataclass(frozen=True, kw_only=True)
class UNetOptions:
    """U-Net."""

    decoder_channels: tuple[int, ...] = field(
        default=(256, 128, 64, 32, 16),
        metadata={"help": "channels of U-Net's steps, deepest first (default 256,128,64,32,16)"},
    )

    def __post_init__(self) -> None:
        check_options(self, decoder_channels=whole(1))


@dataclass(frozen=True, kw_only=True)
class SegNetOptions:
    """SegNet's decoder, which mirrors its encoder and has no options."""


@dataclass(frozen=True, kw_only=True)
class DeepLabOptions:
    """DeepLab v3 and v3+."""

    aspp_channels: int = field(
        default=256, metadata={"help": "channels of each branch of DeepLab's pyramid"}
    )
    atrous_rates: tuple[int, ...] = field(
        default=(),
        metadata={
            "help": "dilation rates of DeepLab's branches, in pixels of the deepest "
            "map; default 6,12,18 at stride 16, others in proportion"
        },
    )
    dropout: float = _dropout(0.5)

    def __post_init__(self) -> None:
        check_options(self, aspp_channels=whole(1), atrous_rates=whole(1), dropout=CHANCE)
