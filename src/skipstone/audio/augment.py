"""Augmentation of recordings, on waveforms, each with a generator keyed by (seed, epoch, id, view).

Masks in time and frequency are those of SpecAugment (Park et al. 2019, arXiv:1904.08779), made by
silence and by a band-stop filter, so that they suit spectrograms and waveforms alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from skipstone.audio.audio_augment_options import AudioAugmentOptions
from skipstone.audio.input import AudioInput
from skipstone.core.errors import DataError, UsageError
from skipstone.data.readers.scan import walk_folders
from skipstone.data.samples import Sample
from skipstone.data.sources import FileRef
from skipstone.datasets.mixing import ImageMixing, unmixable_error
from skipstone.inputs.base import DecodedSample, Input
from skipstone.tasks.base import Task

Wave = np.ndarray
Rng = np.random.Generator
#: Background recordings that are kept in memory.
_MAX_BACKGROUNDS = 200
#: Range of decibels of added noise, from the strength on.
_NOISE_RANGE = 20.0
#: Frames of the phase vocoder.
_FRAME, _HOP = 512, 128


class AudioAugmentation:
    """The operations of `strengths` in order.

    Args:
        rate: samples per second.
        backgrounds: waveforms at that rate.
    """

    #: It changes decoded records, before they are encoded.
    augments_records = True
    is_thread_safe = True

    def __init__(
        self, strengths: Mapping[str, float], rate: int, backgrounds: Sequence[Wave] = ()
    ) -> None:
        self.strengths = dict(strengths)
        self.rate = rate
        self.backgrounds = list(backgrounds)

    def __call__(self, sample: Sample, *, seed: int, epoch: int) -> Sample:
        return sample

    def augment_record(
        self, raw: DecodedSample, *, id: int, view: int, seed: int, epoch: int
    ) -> DecodedSample:
        rng = np.random.default_rng([seed, epoch, id, view])
        wave = self.augment_waveform(raw.value, rng)
        return DecodedSample(wave, raw.size, is_augmented=True)

    def augment_waveform(self, wave: Wave, rng: Rng) -> Wave:
        """float32 (L,) -> float32 (L,)"""
        for name, strength in self.strengths.items():
            wave = self._operations[name](wave, strength, rng)
        return np.ascontiguousarray(wave, np.float32)

    @cached_property
    def _operations(self) -> dict[str, Callable[[Wave, float, Rng], Wave]]:
        return {
            "speed": change_speed,
            "pitch": change_pitch,
            "reverb": lambda wave, s, rng: add_reverb(wave, s, rng, self.rate),
            "delay": lambda wave, s, rng: shift_waveform(wave, s * self.rate, rng),
            "background": lambda wave, s, rng: add_background(wave, s, rng, self.backgrounds),
            "hiss": add_hiss,
            "gain": lambda wave, s, rng: wave * 10 ** (rng.uniform(-s, s) / 20),
            "band_mask": mask_band,
            "time_mask": mask_time,
        }


def make_audio_augmentation(
    options: AudioAugmentOptions, input: Input, task: Task | None = None
) -> AudioAugmentation | None:
    """The augmentation of single recordings, or None if nothing changes them.

    Raises:
        UsageError: the folder of backgrounds holds no recordings.
    """
    strengths = {name: s for name, s in options.get_strengths().items() if name != "mixup"}
    if not strengths or not isinstance(input, AudioInput):
        return None
    backgrounds = []
    if "background" in strengths:
        assert options.background_folder is not None, "the options checked it"
        backgrounds = read_backgrounds(Path(options.background_folder), input)
    return AudioAugmentation(strengths, input.rate, backgrounds)


def make_audio_mixing(options: AudioAugmentOptions, task: Task) -> ImageMixing | None:
    """MixUp of waveforms, or None if it is off.

    Raises:
        UsageError: the task's targets cannot be mixed.
    """
    strength = options.get_strengths().get("mixup", 0.0)
    if not strength:
        return None
    if task.spatial_targets:
        raise unmixable_error(task)
    return ImageMixing(task, mixup=strength, cutmix=0.0, key="waveform")


def read_backgrounds(folder: Path, input: AudioInput) -> list[Wave]:
    """Up to 200 recordings below a folder, at the input's rate."""
    waves: list[Wave] = []
    if not folder.is_dir():
        raise UsageError(f"--background-folder {folder} is not a folder.")
    for _, files in walk_folders(folder, Counter()):
        for name, _ in files:
            if len(waves) < _MAX_BACKGROUNDS:
                try:
                    waves.append(input.read_waveform(FileRef(folder / name)))
                except DataError:
                    continue
    if not waves:
        raise UsageError(
            f"--background-folder {folder} holds no recordings.", hint="WAV files are read best."
        )
    return waves


# --- operations: waveform, strength, generator -> waveform of the same length --------------------


def change_speed(wave: Wave, strength: float, rng: Rng) -> Wave:
    """Faster or slower around the middle, by linear interpolation."""
    return stretch_waveform(wave, 1 + rng.uniform(-strength, strength))


def stretch_waveform(wave: Wave, factor: float) -> Wave:
    """The waveform `factor` times as fast, around its middle."""
    center = (len(wave) - 1) / 2
    places = (np.arange(len(wave)) - center) * factor + center
    return np.asarray(np.interp(places, np.arange(len(wave)), wave, left=0.0, right=0.0))


def change_pitch(wave: Wave, strength: float, rng: Rng) -> Wave:
    """Stretched in time by a phase vocoder, then played at another speed."""
    factor = 2 ** (rng.uniform(-strength, strength) / 12)
    return stretch_waveform(_fit_middle(stretch_time(wave, factor), len(wave)), factor)


def stretch_time(wave: Wave, factor: float) -> Wave:
    """`factor` times as long at the same pitch (Flanagan and Golden 1966; Laroche and Dolson 1999,
    IEEE TSAP 7(3), section II)."""
    window = np.hanning(_FRAME + 1)[:-1]
    padded = np.pad(wave, _FRAME)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    spectrum = np.fft.rfft(frames * window, axis=1)
    magnitude, phase = np.abs(spectrum), np.angle(spectrum)
    expected = 2 * np.pi * _HOP * np.arange(spectrum.shape[1]) / _FRAME
    steps = np.arange(0, len(spectrum) - 1, 1 / factor)
    before = steps.astype(int)
    part = (steps - before)[:, None]
    change = phase[before + 1] - phase[before] - expected
    change -= 2 * np.pi * np.round(change / (2 * np.pi))
    total = phase[0] + np.concatenate(
        [np.zeros((1, len(expected))), np.cumsum((expected + change)[:-1], axis=0)]
    )
    strength = (1 - part) * magnitude[before] + part * magnitude[before + 1]
    pieces = np.fft.irfft(strength * np.exp(1j * total), _FRAME, axis=1) * window
    out = np.zeros(_HOP * (len(pieces) - 1) + _FRAME)
    for number, piece in enumerate(pieces):
        out[number * _HOP : number * _HOP + _FRAME] += piece
    begin = round(_FRAME * factor)
    return out[begin : begin + round(len(wave) * factor)] / (1.5 * _FRAME / _HOP / 4)


def _fit_middle(wave: Wave, length: int) -> Wave:
    spare = len(wave) - length
    if spare >= 0:
        return wave[spare // 2 : spare // 2 + length]
    return np.pad(wave, (-spare // 2, -spare - (-spare // 2)))


def add_reverb(wave: Wave, strength: float, rng: Rng, rate: int) -> Wave:
    """Convolution with decaying noise, a room's response: 0.1 to 0.5 s until 60 dB less."""
    if rng.random() >= strength:
        return wave
    seconds, wet = rng.uniform(0.1, 0.5), rng.uniform(0.05, 0.3)
    count = max(2, round(rate * seconds))
    echo = rng.normal(size=count) * np.exp(-6.9 * np.arange(count) / count)
    echo[0] = 0.0
    room = wet * echo / np.linalg.norm(echo)
    room[0] = 1.0
    size = 1 << (len(wave) + count).bit_length()
    mixed = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(room, size), size)
    return mixed[: len(wave)]


def shift_waveform(wave: Wave, most: float, rng: Rng) -> Wave:
    shift = round(rng.uniform(-most, most))
    shift = max(-len(wave), min(len(wave), shift))
    moved = np.zeros_like(wave)
    if shift >= 0:
        moved[shift:] = wave[: len(wave) - shift]
    else:
        moved[:shift] = wave[-shift:]
    return moved


def add_hiss(wave: Wave, strength: float, rng: Rng) -> Wave:
    return _add_noise(wave, rng.normal(size=len(wave)), strength, rng)


def add_background(wave: Wave, strength: float, rng: Rng, backgrounds: Sequence[Wave]) -> Wave:
    noise = backgrounds[int(rng.integers(len(backgrounds)))]
    begin = rng.integers(max(1, len(noise) - len(wave) + 1))
    part = np.resize(noise[begin : begin + len(wave)], len(wave))
    return _add_noise(wave, part, strength, rng)


def _add_noise(wave: Wave, noise: Wave, strength: float, rng: Rng) -> Wave:
    """Noise whose level is `strength` to `strength` + 20 decibels below the loud part of a wave."""
    loud = wave[np.abs(wave) > 0.1 * np.abs(wave).max(initial=0.0)]
    signal = np.sqrt(np.mean(np.square(loud))) if len(loud) else 0.0
    level = signal * 10 ** (-rng.uniform(strength, strength + _NOISE_RANGE) / 20)
    scale = np.sqrt(np.mean(np.square(noise)))
    return wave + noise * (level / scale if scale > 0 else 0.0)


def mask_time(wave: Wave, strength: float, rng: Rng) -> Wave:
    count = round(len(wave) * rng.uniform(0, strength))
    begin = rng.integers(len(wave) - count + 1)
    masked = wave.copy()
    masked[begin : begin + count] = 0.0
    return masked


def mask_band(wave: Wave, strength: float, rng: Rng) -> Wave:
    """Remove a band of frequencies, evenly spread on a scale like mel's."""
    spectrum = np.fft.rfft(wave)
    width = rng.uniform(0, strength)
    begin = rng.uniform(0, 1 - width)
    # share of the scale -> share of all frequencies: linear below a tenth, then logarithmic
    low, high = (np.expm1(3 * share) / np.expm1(3) for share in (begin, begin + width))
    spectrum[round(low * len(spectrum)) : round(high * len(spectrum))] = 0.0
    return np.fft.irfft(spectrum, len(wave))
