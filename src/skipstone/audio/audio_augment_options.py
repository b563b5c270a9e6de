"""Options of the augmentation of recordings. Free of torch, so that ``--help`` stays fast.

light      gain 6, delay 0.1
standard   gain 6, delay 0.1, speed 0.1, hiss 15, time_mask 0.1, band_mask 0.1
strong     the same stronger, pitch 2, reverb 0.3, mixup 0.2
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from skipstone.core.errors import UsageError
from skipstone.core.options import Range, check_options, option
from skipstone.inputs.augmentation_options import AugmentationOptions, describe_strengths

#: {operation: (strength when named alone, greatest strength, help text)}, in the order in which
#: they run.
AUDIO_OPERATIONS: Mapping[str, tuple[float, float, str]] = {
    "speed": (0.1, 0.5, "played faster or slower by up to the share s, which moves pitch, too"),
    "pitch": (2.0, 12.0, "moved up or down by up to s semitones, at the same speed"),
    "reverb": (0.3, 1.0, "the echo of a random room, with probability s"),
    "delay": (0.1, 10.0, "moved in time by up to s seconds"),
    "background": (
        10.0,
        80.0,
        "a part of a random recording of --background-folder, at s to s + 20 decibels below",
    ),
    "hiss": (15.0, 80.0, "white noise at s to s + 20 decibels below the recording"),
    "gain": (6.0, 60.0, "louder or quieter by up to s decibels"),
    "band_mask": (
        0.1,
        0.9,
        "a random band of up to the share s of all frequencies is removed (SpecAugment, Park 2019)",
    ),
    "time_mask": (
        0.1,
        0.9,
        "a random part of up to the share s of the window is silent (SpecAugment, Park 2019)",
    ),
    "mixup": (0.2, math.inf, "blend pairs of recordings, share from Beta(s, s) (Zhang 2018)"),
}
_STANDARD = {
    "speed": 0.1,
    "delay": 0.1,
    "hiss": 15.0,
    "gain": 6.0,
    "band_mask": 0.1,
    "time_mask": 0.1,
}
AUDIO_PRESETS: Mapping[str, Mapping[str, float]] = {
    "none": {},
    "light": {"delay": 0.1, "gain": 6.0},
    "standard": _STANDARD,
    "strong": {
        **_STANDARD,
        "speed": 0.15,
        "pitch": 2.0,
        "reverb": 0.3,
        "hiss": 5.0,
        "band_mask": 0.2,
        "time_mask": 0.2,
        "mixup": 0.2,
    },
}


def _operation(name: str) -> float | None:
    strength, greatest, text = AUDIO_OPERATIONS[name]
    help = f"recordings: {text}; 0 is off, s is {strength:.3g} when named alone"
    return option(None, range=Range(0, greatest), help=help)


@dataclass(frozen=True, kw_only=True)
class AudioAugmentOptions(AugmentationOptions):
    """A preset, operations by name, or both; an operation's own value overrides the preset's.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    augmentation_factory = "skipstone.audio.augment:make_audio_augmentation"
    mixing_factory = "skipstone.audio.augment:make_audio_mixing"
    what = "recordings"
    preset_names = tuple(AUDIO_PRESETS)
    strengths_alone = MappingProxyType({name: row[0] for name, row in AUDIO_OPERATIONS.items()})

    augment: str = option(
        "standard",
        help="recordings: none, light, standard (default) or strong; or operations by name, "
        "separated by commas: speed,hiss,gain",
    )
    speed: float | None = _operation("speed")
    pitch: float | None = _operation("pitch")
    reverb: float | None = _operation("reverb")
    delay: float | None = _operation("delay")
    background: float | None = _operation("background")
    hiss: float | None = _operation("hiss")
    gain: float | None = _operation("gain")
    band_mask: float | None = _operation("band_mask")
    time_mask: float | None = _operation("time_mask")
    mixup: float | None = _operation("mixup")
    background_folder: str | None = option(
        None,
        metavar="DIR",
        names_outside=True,
        help="recordings: a folder of background recordings; turns --background on",
    )

    def __post_init__(self) -> None:
        check_options(self, self.list_unknown_names())
        if "background" in self.get_strengths() and self.background_folder is None:
            raise UsageError(
                "--background needs recordings to add.",
                hint="Name their folder: --background-folder noises/",
            )

    def get_strengths(self) -> dict[str, float]:
        """{operation: strength} of the enabled ones in the order in which they run."""
        strengths = self.enabled_strengths(AUDIO_PRESETS.get(self.augment))
        if self.background_folder is not None and self.background is None:
            strengths = {"background": self.strengths_alone["background"], **strengths}
        return {name: strengths[name] for name in AUDIO_OPERATIONS if name in strengths}

    def describe_operations(self, size: int = 0) -> str:
        """One sentence for the user; `size` is ignored."""
        return describe_strengths(f"{self.augment!r}", self.get_strengths())
