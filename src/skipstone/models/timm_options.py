"""Options of timm's networks. Free of torch and timm, so that ``--help`` stays fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from skipstone.errors import UsageError
from skipstone.models.resnet_options import OutputStride


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

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.stochastic_depth < 1:
            problems.append(
                f"stochastic_depth is {self.stochastic_depth}; allowed: at least 0 and less than 1"
            )
        if self.output_stride not in get_args(OutputStride):
            problems.append(f"output_stride is {self.output_stride!r}; allowed: 8, 16, 32")
        if problems:
            raise UsageError("; ".join(problems) + ".")
