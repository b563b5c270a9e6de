"""Options of SegNet's encoder. Free of torch, so that ``--help`` stays fast."""

from __future__ import annotations

from dataclasses import dataclass, field

from skipstone.option_types import POSITIVE, check_options


@dataclass(frozen=True, kw_only=True)
class SegNetEncoderOptions:
    """What can be changed about SegNet's encoder. The default is VGG-16.

    Raises:
        UsageError: naming the value that is not allowed.
    """

    width: float = field(
        default=1.0,
        metadata={
            "help": "multiplies the channels of every convolution, each rounded to a multiple of 8"
        },
    )

    def __post_init__(self) -> None:
        check_options(self, width=POSITIVE)
