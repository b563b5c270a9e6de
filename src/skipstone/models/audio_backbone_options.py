"""Options of the audio backbones. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass

from skipstone.core.options import POSITIVE, PROBABILITY, Range, check_options, option


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
