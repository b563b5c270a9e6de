"""Options of the input `audio`. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skipstone.core.options import POSITIVE, Range, check_options, int_range, option

AudioFeatures = Literal["mel", "mfcc", "waveform"]
Loudness = Literal["log", "decibels", "pcen"]

#: The highest rate and the longest window that are chosen automatically.
MAX_AUTO_RATE, MAX_AUTO_SECONDS = 16_000, 10.0
#: The most samples of a window: a bundle from a stranger cannot ask for more memory.
MAX_WINDOW = 1 << 22


@dataclass(frozen=True, kw_only=True)
class AudioOptions:
    """How recordings become the input of a network.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    audio_features: AudioFeatures = option(
        "mel",
        help="what the network gets: 'mel' (a log-mel spectrogram, as a picture of one channel), "
        "'mfcc' (statistics of cepstral coefficients) or 'waveform' (default: what the model takes)",
    )
    sample_rate: int = option(
        0,
        choices=(0,),
        range=int_range(4000, 192_000),
        help="samples per second; recordings of another rate are resampled; 0: the most frequent "
        f"rate of the training recordings, at most {MAX_AUTO_RATE}",
    )
    seconds: float = option(
        0.0,
        choices=(0.0,),
        range=Range(0.05, 120),
        help="length of the window that the network sees; shorter recordings are padded with "
        "silence, longer ones give their middle (predict: windows one after the other); 0: long "
        f"enough for 98 % of the training recordings, at most {MAX_AUTO_SECONDS:g}",
    )
    bands: int = option(
        40,
        range=int_range(8, 256),
        help="mel and mfcc: bands of the spectrogram",
    )
    window_ms: float = option(
        25.0, range=Range(2, 1000), help="mel and mfcc: milliseconds of a frame"
    )
    hop_ms: float = option(
        10.0, range=Range(1, 1000), help="mel and mfcc: milliseconds between frames"
    )
    min_hz: float = option(20.0, range=Range(0, 90_000), help="mel and mfcc: the lowest frequency")
    max_hz: float = option(
        0.0,
        choices=(0.0,),
        range=POSITIVE,
        help="mel and mfcc: the highest frequency; 0 is half the sample rate",
    )
    loudness: Loudness = option(
        "log",
        requires={"audio_features": "mel"},
        help="mel: how energies are compressed: 'log' (natural logarithm, standardised per band), "
        "'decibels' (at most 80 below the loudest) or 'pcen' (per-channel energy normalisation, "
        "Wang 2017, standardised per band)",
    )

    def __post_init__(self) -> None:
        problems = []
        if self.hop_ms > self.window_ms:
            problems.append(
                f"hop_ms is {self.hop_ms:g}, more than window_ms {self.window_ms:g}: sound between "
                "frames would be skipped"
            )
        if self.max_hz and self.max_hz <= self.min_hz:
            problems.append(f"max_hz is {self.max_hz:g}, not above min_hz {self.min_hz:g}")
        if self.sample_rate and self.max_hz > self.sample_rate / 2:
            problems.append(
                f"max_hz is {self.max_hz:g}, more than half of sample_rate {self.sample_rate}"
            )
        check_options(self, problems)
