"""Inspect one recording for the audit: what is wrong with it, and its fingerprint."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from skipstone.audio.decode import missing_wav_bytes, read_samples, read_wav_header, to_mono
from skipstone.inputs.inspection import InspectionResult

#: Samples this near to the greatest possible value are clipped, if several follow each other.
_CLIP_LEVEL, _CLIP_RUN = 0.999, 3
#: Mean of a recording with an offset; root mean square below which there is only silence.
MAX_OFFSET, SILENCE = 0.02, 10 ** (-70 / 20)
#: The fingerprint: frames of 32 ms every 10 ms at 8 kHz, log energies of bands from 150 to 3600 Hz.
FINGERPRINT_RATE, _FRAME, _HOP, BANDS = 8000, 256, 80, 16
_LOW, _HIGH = 150.0, 3600.0
#: Energies are clamped to 35 dB below the loudest frame, under which noise hides what is alike.
_RANGE = 3.5 * np.log(10.0)
#: Frames of a fingerprint: five seconds from the first that is loud.
_MAX_FRAMES = 500
#: A quieter frame than this (relative to the loudest, natural logarithm) is before or after sound.
_ACTIVE = 2.5 * np.log(10.0)

_DRAWN_FRAMES, _DRAWN_BANDS, _DRAWN_RANGE = 512, 128, 60.0


@dataclass(frozen=True, slots=True)
class RecordingContent:
    """What the audit knows of a recording.

    Args:
        clipped: share of samples that are clipped.
        offset: mean of the samples, in -1..1.
        level: root mean square.
        fingerprint: float16 (frames, BANDS), log energies of the loud part; empty for silence.
    """

    rate: int
    channels: int
    seconds: float
    clipped: float
    offset: float
    level: float
    fingerprint: np.ndarray

    @property
    def is_silent(self) -> bool:
        return self.level < SILENCE


def inspect_recording(data: bytes | np.ndarray) -> InspectionResult:
    """`inspect` of the spec of the input `audio`."""
    if isinstance(data, np.ndarray):
        return InspectionResult("not a recording: an array of numbers", format="array")
    try:
        samples, rate = read_samples(data)
        header = read_wav_header(data)
        mono = to_mono(samples, rate, FINGERPRINT_RATE)
    except ValueError as error:
        return InspectionResult(str(error))
    damage, missing = "", 0 if header is None else missing_wav_bytes(header)
    if missing:
        damage = f"its header announces {missing:,} bytes more than there are"
    digest = hashlib.sha256(f"{rate} {samples.shape}\n".encode() + samples.tobytes()).hexdigest()
    content = RecordingContent(
        rate=rate,
        channels=samples.shape[1],
        seconds=len(samples) / rate,
        clipped=measure_clipping(samples),
        offset=float(np.abs(samples.mean(axis=0)).max()),
        level=float(np.sqrt(np.mean(np.square(samples - samples.mean(axis=0)), dtype=np.float64))),
        fingerprint=make_fingerprint(mono),
    )
    return InspectionResult(
        size=(round(1000 * content.seconds),),
        format=_format_name(data),
        mode=f"{rate} Hz, {_CHANNELS.get(content.channels, f'{content.channels} channels')}",
        content=content,
        damage=damage,
        copy_digest=digest,
    )


_CHANNELS = {1: "mono", 2: "stereo"}


def _format_name(data: bytes) -> str:
    names = {b"RIFF": "WAV", b"fLaC": "FLAC", b"OggS": "OGG", b"FORM": "AIFF"}
    return names.get(data[:4], "MP3" if data[:3] == b"ID3" or data[0] == 0xFF else "other")


def measure_clipping(samples: np.ndarray) -> float:
    """The share of samples (T, channels) in runs of at least 3 at the recording's greatest value,
    where that is the greatest possible."""
    extreme = np.abs(samples) >= _CLIP_LEVEL
    if not extreme.any():
        return 0.0
    total = 0
    for column in extreme.T:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], column.astype(np.int8), [0]])))
        runs = edges[1::2] - edges[::2]
        total += int(runs[runs >= _CLIP_RUN].sum())
    return total / int(extreme.size)


def draw_spectrogram(wave: np.ndarray, rate: int) -> np.ndarray:
    """A picture of (T,) samples, uint8 (128, frames, 1): low frequencies at the bottom, loud bright,
    over 60 decibels; at most 512 frames."""
    hop = max(rate // 100, -(-len(wave) // _DRAWN_FRAMES), 1)
    size = max(64, 1 << (rate // 50).bit_length())
    padded = np.pad(wave, size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    spectrum = np.square(np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)))
    edges = np.geomspace(50, rate / 2, _DRAWN_BANDS + 1) * size / rate
    starts = np.minimum(np.floor(edges).astype(int), spectrum.shape[1] - 1)
    stops = np.maximum(starts[1:], starts[:-1] + 1)
    sums = np.concatenate([np.zeros((len(spectrum), 1)), np.cumsum(spectrum, axis=1)], axis=1)
    energies = (sums[:, stops] - sums[:, starts[:-1]]) / (stops - starts[:-1])
    decibels = 10 * np.log10(energies + 1e-10)
    brightness = np.clip((decibels - decibels.max()) / _DRAWN_RANGE + 1, 0, 1)
    return np.asarray(np.rint(255 * brightness.T[::-1]), np.uint8)[:, :, None]


def make_recording_preview(data: bytes | np.ndarray, side: int) -> np.ndarray | None:
    """`preview` of the spec of the input `audio`: a spectrogram; None if unreadable."""
    if isinstance(data, np.ndarray):
        return None
    try:
        samples, rate = read_samples(data)
    except ValueError:
        return None
    return draw_spectrogram(samples.mean(axis=1), rate).repeat(3, axis=2)


def make_fingerprint(mono: np.ndarray) -> np.ndarray:
    """float16 (frames, BANDS) of a waveform at 8 kHz; of a silent one (0, BANDS)."""
    padded = np.pad(mono, (0, max(0, _FRAME - len(mono))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    spectrum = np.square(np.abs(np.fft.rfft(frames * np.hanning(_FRAME), axis=1)))
    edges = np.geomspace(_LOW, _HIGH, BANDS + 1) * _FRAME / FINGERPRINT_RATE
    starts = np.unique(np.round(edges).astype(int))
    bands = np.add.reduceat(spectrum[:, : starts[-1]], starts[:-1], axis=1)
    loudness = np.log(bands.sum(axis=1) + 1e-12)
    if loudness.max() < np.log(1e-6):
        return np.zeros((0, bands.shape[1]), np.float16)
    active = np.flatnonzero(loudness > loudness.max() - _ACTIVE)
    part = np.log(bands[active[0] : active[-1] + 1][:_MAX_FRAMES] + 1e-12)
    return np.asarray(np.maximum(part, part.max() - _RANGE), np.float16)
