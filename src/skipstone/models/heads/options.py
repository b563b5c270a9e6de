"""Options of the heads. Free of torch, so that `--help` stays fast."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from skipstone.errors import UsageError

FcnStride = Literal[8, 16, 32]


def _dropout(default: float) -> Any:
    return field(
        default=default,
        metadata={
            "help": "chance to drop one of the head's features while training, in [0, 1); default "
            "0, in fcn 0.1, in the deeplabs 0.5"
        },
    )


class _Checked:
    """Every field of an options class is checked when it is made; all problems are told at once."""

    def __post_init__(self) -> None:
        problems: list[str] = []
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if item.name == "dropout" and not 0 <= value < 1:
                problems.append(f"dropout is {value}; allowed: at least 0 and less than 1")
            if item.name.endswith("channels") or item.name.endswith("rates"):
                numbers = value if isinstance(value, (tuple, list)) else (value,)
                if any(type(number) is not int or number < 1 for number in numbers):
                    problems.append(f"{item.name} is {value}; allowed: whole numbers from 1")
        problems += self.more_problems()
        if problems:
            raise UsageError("; ".join(problems) + ".")

    def more_problems(self) -> list[str]:
        """What is wrong beyond the range of a single number."""
        return []


@dataclass(frozen=True, kw_only=True)
class HeadChoice:
    """Which head."""

    head: str = field(
        default="auto",
        metadata={
            "help": "auto: the task's usual one; or a name, where the task has a choice. For "
            "masks: lraspp, fcn, unet, segnet, deeplabv3, deeplabv3plus"
        },
    )


@dataclass(frozen=True, kw_only=True)
class LinearOptions(_Checked):
    """Average the deepest feature map, then one linear layer."""

    dropout: float = _dropout(0.0)


@dataclass(frozen=True, kw_only=True)
class FcnOptions(_Checked):
    """FCN-32s, 16s or 8s."""

    fcn_stride: FcnStride = field(
        default=8,
        metadata={"help": "pixels per pixel of the finest map that is scored: FCN-8s, 16s, 32s"},
    )
    dropout: float = _dropout(0.1)

    def more_problems(self) -> list[str]:
        if self.fcn_stride in get_args(FcnStride):
            return []
        return [f"fcn_stride is {self.fcn_stride!r}; allowed: 8, 16, 32"]


@dataclass(frozen=True, kw_only=True)
class LrasppOptions(_Checked):
    """LR-ASPP."""

    lraspp_channels: int = field(
        default=128, metadata={"help": "channels of LR-ASPP's two branches on the deepest map"}
    )


@dataclass(frozen=True, kw_only=True)
class UNetOptions(_Checked):
    """U-Net."""

    decoder_channels: tuple[int, ...] = field(
        default=(256, 128, 64, 32, 16),
        metadata={"help": "channels of U-Net's steps, deepest first (default 256,128,64,32,16)"},
    )


@dataclass(frozen=True, kw_only=True)
class SegNetOptions(_Checked):
    """SegNet's decoder mirrors its encoder; there is nothing to choose."""


@dataclass(frozen=True, kw_only=True)
class DeepLabOptions(_Checked):
    """DeepLab v3 and v3+."""

    aspp_channels: int = field(
        default=256, metadata={"help": "channels of each branch of DeepLab's pyramid"}
    )
    atrous_rates: tuple[int, ...] = field(
        default=(),
        metadata={
            "help": "distances between the taps of DeepLab's branches, in pixels of the deepest "
            "map; default 6,12,18 at stride 16, others in proportion"
        },
    )
    dropout: float = _dropout(0.5)
