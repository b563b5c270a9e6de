"""The input `audio`: recordings to waveforms of one length, and to spectrograms inside the graph.

file bytes --decode.py--> record (L,) float32 --spectrogram.py, in the graph--> (N, 1, bands, frames)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from skipstone.audio.decode import fit_length, read_samples, to_mono
from skipstone.audio.goldens import make_golden_recordings, write_wav
from skipstone.audio.inspect_recording import draw_spectrogram
from skipstone.audio.options import MAX_AUTO_RATE, MAX_AUTO_SECONDS, MAX_WINDOW, AudioOptions
from skipstone.audio.spectrogram import (
    COEFFICIENTS,
    DecibelMel,
    FrameSpec,
    LogMel,
    MfccStatistics,
    RawWaveform,
)
from skipstone.core.errors import DamagedError, DataError
from skipstone.data.sources import FileRef, Inline, Source, read_source
from skipstone.inputs.base import Array, DecodedSample, FeatureSpec, Input, SourceWindow

#: Recordings that `fit` reads for the rate and length, and for means and deviations.
_FIT_SAMPLE = 400
#: Windows are this much longer than the recordings that have to fit: the silence around them tells
#: networks where they begin and end.
_MARGIN_SECONDS = 0.1
#: A recording longer than this many windows is predicted window by window.
_LONGER = 1.5
#: The kind of features by `AudioOptions.audio_features`.
_KINDS = {"mel": "spectrogram", "mfcc": "statistics", "waveform": "waveform"}


class AudioInput(Input):
    """Recordings as float32 records (L,) of one channel.

    Args:
        state: {"rate", "length", "mean", "std"}; mean and std are per band or coefficient.
        arrays: accepted as by every input, but always empty.
    """

    standalone_decoder = "skipstone.audio.decode:decode_waveform"

    def __init__(
        self,
        options: AudioOptions,
        state: Mapping[str, Any] | None = None,
        arrays: Mapping[str, Array] | None = None,
    ) -> None:
        if arrays:
            raise DamagedError(f"an audio input holds no arrays, but {sorted(arrays)} were stored.")
        self.options = options
        self._state = dict(state or {})
        if state is not None:
            _check_state(self._state)

    # --- fitting ----------------------------------------------------------------------------------

    def survey(self, sources: Sequence[Source]) -> Mapping[str, Any]:
        """{"rate", "seconds"}: the most frequent rate, and the seconds that hold 98 % of the
        recordings.

        Raises:
            DataError: none of the recordings can be read.
        """
        return _survey(_read_sample(sources))

    def fit(self, sources: Sequence[Source]) -> AudioInput:
        recordings = _read_sample(sources)
        data, options = _survey(recordings), self.options
        rate = options.sample_rate or min(data["rate"], MAX_AUTO_RATE)
        seconds = options.seconds or min(data["seconds"] + _MARGIN_SECONDS, MAX_AUTO_SECONDS)
        state = {"rate": rate, "length": max(1, round(rate * seconds))}
        unscaled = AudioInput(options, {**state, **_unit_scale(options)})
        windows = [
            fit_length(to_mono(samples, own_rate, rate), state["length"])
            for samples, own_rate in recordings
        ]
        return AudioInput(options, {**state, **unscaled.measure_scale(np.stack(windows))})

    def measure_scale(self, windows: Array) -> dict[str, list[float]]:
        """{"mean", "std"} of the spectrogram's bands, or of the statistics, of (N, L) waveforms."""
        if not _unit_scale(self.options):
            return {}
        front = self.preprocessing_module()
        with torch.inference_mode():
            batches = torch.split(torch.from_numpy(windows), 64)
            parts = [front({"waveform": batch}) for batch in batches]
        values = torch.cat(parts).double()
        axes = (0, 1, 3) if values.ndim == 4 else (0,)
        mean, std = values.mean(dim=axes), values.std(dim=axes, correction=0)
        return {"mean": mean.tolist(), "std": std.clamp(min=1e-3).tolist()}

    # --- recordings -------------------------------------------------------------------------------

    @property
    def decode_spec(self) -> dict[str, Any]:
        return {"rate": self.rate, "length": self.length}

    @property
    def rate(self) -> int:
        """Samples per second."""
        return int(self._get_state("rate"))

    @property
    def length(self) -> int:
        """Samples of a window."""
        return int(self._get_state("length"))

    def decode(self, source: Source) -> DecodedSample:
        waveform = self.read_waveform(source)
        return DecodedSample(fit_length(waveform, self.length), (len(waveform),))

    def read_waveform(self, source: Source) -> Array:
        """(T,): the whole recording at the model's rate; an array is a waveform at that rate.

        Raises:
            DataError: it cannot be read; names it.
        """
        data = read_source(source)
        if isinstance(data, np.ndarray):
            if data.ndim != 1 or not len(data) or not np.isfinite(data).all():
                raise DataError(f"{source.name} is not a waveform of finite samples (T,).")
            return data.astype(np.float32, copy=False)
        try:
            samples, rate = read_samples(data)
            return to_mono(cut_span(samples, rate, source), rate, self.rate)
        except ValueError as error:
            raise DataError(f"{source.name}: {error}.") from error

    def encode(self, raw: DecodedSample) -> dict[str, Array]:
        return {"waveform": raw.value}

    def list_windows(self, source: Source) -> list[SourceWindow]:
        """Windows that overlap by half, the last one at the end, of a longer recording."""
        waveform, length = self.read_waveform(source), self.length
        if len(waveform) <= self.longest_whole:
            return []
        begins = list(range(0, len(waveform) - length, max(1, length // 2)))
        begins.append(len(waveform) - length)
        return [self.make_window(waveform, begin, 0, source.name) for begin in begins]

    @property
    def longest_whole(self) -> int:
        """Samples of the longest recording that is predicted as a whole."""
        return int(_LONGER * self.length)

    def make_window(self, waveform: Array, begin: int, first: int, name: str) -> SourceWindow:
        """The window that begins at sample `begin` of a recording whose samples from `first` on
        are `waveform`."""
        part = waveform[begin - first : begin - first + self.length]
        end = (begin + self.length) / self.rate
        return SourceWindow(Inline(part, name), round(begin / self.rate, 3), round(end, 3))

    def draw_record(self, record: Array) -> Array:
        return draw_spectrogram(record, self.rate)

    def encode_wav(self, record: Array) -> bytes:
        return write_wav(record, self.rate)

    # --- the graph --------------------------------------------------------------------------------

    def feature_spec(self) -> FeatureSpec:
        kind = self.options.audio_features
        self._get_state("rate")
        channels = 4 * COEFFICIENTS if kind == "mfcc" else 1
        return FeatureSpec(_KINDS[kind], channels, requires_float32=kind != "mfcc")

    def preprocessing_module(self) -> nn.Module:
        options = self.options
        if options.audio_features == "waveform":
            return RawWaveform()
        if options.audio_features == "mel" and options.loudness == "decibels":
            return DecibelMel(self._frames())
        mean, std = self._get_state("mean"), self._get_state("std")
        if options.audio_features == "mfcc":
            return MfccStatistics(self._frames(), mean, std)
        return LogMel(self._frames(), options.loudness, mean, std)

    def _frames(self) -> FrameSpec:
        options, rate = self.options, self.rate
        return FrameSpec(
            rate=rate,
            length=self.length,
            window=max(2, round(rate * options.window_ms / 1000)),
            hop=max(1, round(rate * options.hop_ms / 1000)),
            bands=options.bands,
            low=options.min_hz,
            high=min(options.max_hz or rate / 2, rate / 2),
        )

    def make_example(self, batch: int) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        noise = rng.normal(0, 0.1, (batch, self.length))
        return {"waveform": noise.astype(np.float32)}

    def make_golden_files(self, count: int) -> list[tuple[str, bytes]]:
        return make_golden_recordings(count, self.rate, self.length)

    def get_state(self) -> tuple[dict[str, Any], Mapping[str, Array]]:
        return dict(self._state), {}

    def _get_state(self, key: str) -> Any:
        if key not in self._state:
            raise ValueError(f"the audio input has no {key} before it is fitted; call fit first")
        return self._state[key]


def cut_span(samples: Array, rate: int, source: Source) -> Array:
    """The part (T, channels) of a recording that the source names; all of it without a span.

    Raises:
        ValueError: the recording ends before the part begins.
    """
    if not isinstance(source, FileRef) or source.span is None:
        return samples
    begin, end = (round(rate * second) for second in source.span)
    if begin >= len(samples):
        raise ValueError(f"truncated: the recording ends after {len(samples) / rate:.3f} s")
    return samples[begin:end]


def _unit_scale(options: AudioOptions) -> dict[str, list[float]]:
    """The state of an input that does not standardise yet; {} for features that never are."""
    kind = options.audio_features
    if kind == "waveform" or (kind == "mel" and options.loudness == "decibels"):
        return {}
    count = 4 * COEFFICIENTS if kind == "mfcc" else options.bands
    return {"mean": [0.0] * count, "std": [1.0] * count}


def _read_sample(sources: Sequence[Source]) -> list[tuple[Array, int]]:
    """(samples, rate) of up to 400 sources at even distances; unreadable ones are left out."""
    if not sources:
        raise DataError("fitting the audio input needs recordings, but got none.")
    step = max(1, len(sources) // _FIT_SAMPLE)
    recordings, first_error = [], None
    for source in list(sources)[::step][:_FIT_SAMPLE]:
        try:
            data = read_source(source)
            if isinstance(data, np.ndarray):
                raise DataError(f"{source.name} is an array, not a recording.")
            samples, rate = read_samples(data)
            recordings.append((cut_span(samples, rate, source), rate))
        except (DataError, ValueError) as error:
            first_error = first_error or f"{source.name}: {error}"
    if not recordings:
        raise DataError(f"none of {len(sources)} recordings can be read; the first: {first_error}")
    return recordings


def _survey(recordings: Sequence[tuple[Array, int]]) -> dict[str, Any]:
    rates = Counter(rate for _, rate in recordings)
    seconds = [len(samples) / rate for samples, rate in recordings]
    longest = float(np.quantile(seconds, 0.98))
    # up to a hundredth of a second, so that equal data gives equal windows
    return {"rate": rates.most_common(1)[0][0], "seconds": math.ceil(100 * longest) / 100}


def _check_state(state: Mapping[str, Any]) -> None:
    """Raises DamagedError for a state that `fit` cannot produce."""
    rate, length = state.get("rate"), state.get("length")
    if type(rate) is not int or not 1 <= rate <= 192_000:
        raise DamagedError(f"an audio input's rate is {rate!r:.60}; allowed: 1 to 192000.")
    if type(length) is not int or not 1 <= length <= MAX_WINDOW:
        raise DamagedError(
            f"an audio input's length is {length!r:.60}; allowed: 1 to {MAX_WINDOW}."
        )
    for name, least in (("mean", -math.inf), ("std", 0.0)):
        values = state.get(name, [])
        if not isinstance(values, list) or not all(
            type(value) in (int, float) and least < value < math.inf for value in values
        ):
            raise DamagedError(
                f"an audio input's {name} is {values!r:.60}; allowed: finite numbers"
                + (" above 0." if name == "std" else ".")
            )
