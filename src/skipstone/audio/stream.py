"""Recordings that arrive in parts: the same windows as of the whole file, as soon as each is there.

stream = RecordingStream(model.input, rate=44_100)
for samples in microphone:                       # float32 (T,) or (T, channels)
    for window in stream.add_samples(samples):
        (prediction,) = model.predict(window.source)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skipstone.audio.input import AudioInput
from skipstone.core.errors import UsageError
from skipstone.data.sources import Inline
from skipstone.inputs.base import Array, SourceWindow


class RecordingStream:
    """Windows of a recording that arrives in parts.

    Args:
        input: of a model that takes recordings.
        rate: samples per second of the parts.
        name: of the recording, in predictions.
    """

    def __init__(self, input: AudioInput, *, rate: int, name: str = "<stream>") -> None:
        if not isinstance(input, AudioInput):
            raise UsageError("a stream of recordings needs a model whose input is audio.")
        self.input, self.name = input, name
        self._resampler: Any = None
        if rate != input.rate:
            import soxr

            self._resampler = soxr.ResampleStream(rate, input.rate, 1, dtype="float32")
        self._kept: Array = np.zeros(0, np.float32)
        self._dropped = 0  # samples before the kept ones
        self._next = 0  # where the next window begins

    def add_samples(self, samples: Array) -> list[SourceWindow]:
        """The windows that end within `samples` (T,) or (T, channels)."""
        return self._take(np.asarray(samples, np.float32), is_last=False)

    def finish(self) -> list[SourceWindow]:
        """The last window, which ends with the recording; a short recording is one window."""
        return self._take(np.zeros(0, np.float32), is_last=True)

    def _take(self, samples: Array, *, is_last: bool) -> list[SourceWindow]:
        mono = samples.mean(axis=1, dtype=np.float32) if samples.ndim == 2 else samples
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(mono, last=is_last)
        self._kept = np.concatenate([self._kept, mono])
        total, length = self._dropped + len(self._kept), self.input.length
        hop = max(1, length // 2)
        windows = []
        # the whole file decides whether it is split, so the first window waits
        while self._next + length < total and total > self.input.longest_whole:
            windows.append(self._make_window(self._next))
            self._next += hop
        if is_last and total > self.input.longest_whole:
            windows.append(self._make_window(total - length))
        elif is_last and total:
            end = round(total / self.input.rate, 3)
            windows.append(SourceWindow(Inline(self._kept, self.name), 0.0, end))
        drop = min(self._next, max(0, total - length)) - self._dropped
        if drop > 0 and total > self.input.longest_whole:
            self._kept, self._dropped = self._kept[drop:], self._dropped + drop
        return windows

    def _make_window(self, begin: int) -> SourceWindow:
        return self.input.make_window(self._kept, begin, self._dropped, self.name)
