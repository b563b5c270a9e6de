"""Options of timm's networks. Free of torch and timm, so that ``--help`` stays fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from skipstone.models.resnet_options import OutputStride
from skipstone.option_types import CHANCE, check_options

LastMap = Literal["features", "stage"]


@dataclass(frozen=True, kw_only=True)
class TimmOptions:
    """What most of timm's networks let one change; one that does not is refused when built.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    stochastic_depth: float = field(
        default=0.0,
        metadata={
            "help": "chance to skip the last block's branch while training, in [0, 1); earlier "
            "blocks are skipped less (timm's drop_path_rate)"
        },
    )
    output_stride: OutputStride = field(
        default=32,
        metadata={
            "help": "input pixels per pixel of the deepest map, at most; below the network's own "
            "stride, later stages dilate instead of striding"
        },
    )
    last_map: LastMap = field(
        default="features",
        metadata={
            "help": "the deepest map: 'features', what the network's own classifier reads, or "
            "'stage', the last stage's, where the two differ (EfficientNet widens it fourfold)"
        },
    )

    def __post_init__(self) -> None:
        check_options(self, stochastic_depth=CHANCE)
