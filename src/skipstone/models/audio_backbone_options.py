"""Options of the audio backbones. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skipstone.core.options import (
    POSITIVE,
    PROBABILITY,
    CheckedOptions,
    Range,
    check_options,
    int_range,
    option,
)

Cell = Literal["gru", "lstm"]


@dataclass(frozen=True, kw_only=True)
class BcResNetOptions:
    """Options of BC-ResNet. The default is the published BC-ResNet-2.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    width: float = option(
        2.0,
        range=Range(0, 100, open_low=True),
        help="BC-ResNet-N has 8 N channels (1, 1.5, 2, 3, 6 and 8 are published)",
    )
    block_dropout: float = option(
        0.1, range=PROBABILITY, help="chance to drop a channel of each block's temporal branch"
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, kw_only=True)
class WaveNetworkOptions:
    """Options of the network on waveforms. The default is the published M5 of 128 channels.

    Raises:
        UsageError: naming the value that is not allowed.
    """

    width: float = option(1.0, range=POSITIVE, help="multiplies the channels of every convolution")

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, kw_only=True)
class CrnnOptions(CheckedOptions):
    """Options of the convolutional recurrent network."""

    cell: Cell = option("gru", help="recurrent layer: 'gru' (Cho 2014) or 'lstm' (Hochreiter 1997)")
    hidden: int = option(64, range=int_range(1), help="size of the state of each direction")
    layers: int = option(1, range=int_range(1), help="stacked recurrent layers")
    dropout: float = option(0.3, range=PROBABILITY, help="chance to drop a feature while training")
