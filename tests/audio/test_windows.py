"""Long recordings are predicted window by window, in a file or as they arrive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skipstone.audio.goldens import write_wav
from skipstone.audio.input import AudioInput
from skipstone.audio.options import AudioOptions
from skipstone.audio.stream import RecordingStream
from skipstone.core.errors import UsageError
from skipstone.data.sources import Inline
from skipstone.workflows.answer import predict
from skipstone.workflows.train_model import train
from tests.recordings import RATE, make_recording, write_recording_folders

LENGTH = 4000


def make_input() -> AudioInput:
    return AudioInput(
        AudioOptions(),
        {"rate": RATE, "length": LENGTH, "mean": [0.0] * 40, "std": [1.0] * 40},
    )


@pytest.mark.parametrize("count", [1, LENGTH, 6000, 6001, 8000, 23_456])
@pytest.mark.parametrize(("rate", "part"), [(RATE, 1000), (RATE, 7777), (44_100, 5000)])
def test_a_stream_gives_the_windows_of_the_file(count: int, rate: int, part: int) -> None:
    count = count * rate // RATE
    wave = np.random.default_rng(0).normal(0, 0.1, count).astype(np.float32)
    input, source = make_input(), Inline(write_wav(wave, rate, bits=32, is_float=True), "a")
    expected = input.list_windows(source)
    stream = RecordingStream(input, rate=rate, name="a")
    found = []
    for begin in range(0, count, part):
        found += stream.add_samples(wave[begin : begin + part])
    found += stream.finish()
    if not expected:  # short: one window, which decoding pads or cuts
        (only,) = found
        assert np.abs(input.decode(only.source).value - input.decode(source).value).max() < 1e-4
        return
    assert [window[1:] for window in found] == [window[1:] for window in expected]
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one.source.data - other.source.data).max() < 1e-4


def test_windows_overlap_by_half_and_cover_everything() -> None:
    wave = np.arange(10_000, dtype=np.float32) / 10_000
    windows = make_input().list_windows(Inline(wave, "a"))
    assert [(window.begin, window.end) for window in windows] == [
        (0.0, 0.5),
        (0.25, 0.75),
        (0.5, 1.0),
        (0.75, 1.25),
    ]
    assert windows[-1].source.data[-1] == wave[-1]


def test_another_input_has_no_stream() -> None:
    with pytest.raises(UsageError, match="whose input is audio"):
        RecordingStream(object(), rate=8000)  # type: ignore[arg-type]


def test_predict_gives_times(tmp_path: Path) -> None:
    data = write_recording_folders(tmp_path / "sounds", 16)
    settings = {"dedup": "exact", "threads": 1, "seconds": 0.5}
    run = train(data, out=tmp_path / "runs", model="mfcc-svm", settings=settings)
    parts = [make_recording(900 + n, kind) for n, kind in enumerate(("low", "low", "high", "high"))]
    (tmp_path / "long.wav").write_bytes(write_wav(np.concatenate(parts), RATE))
    short = data / "low" / "0.wav"
    result = predict(run.run, [tmp_path / "long.wav", short], out=tmp_path / "answers.csv")
    rows = result.to_json()["predictions"]
    assert rows[0]["begin"] == 0
    assert rows[-2]["end"] == pytest.approx(2.0, abs=0.01)
    assert rows[0]["label"] == "low"
    assert rows[-2]["label"] == "high"
    assert "begin" not in rows[-1]
    assert rows[-1]["label"] == "low"
    header = (tmp_path / "answers.csv").read_text().splitlines()[0]
    assert header.startswith("path,begin,end,label")
