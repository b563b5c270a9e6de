"""The report shows recordings as spectrograms with players."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest

from skipstone.audio.decode import read_samples
from skipstone.audio.inspect_recording import draw_spectrogram
from skipstone.core.errors import DamagedError
from skipstone.report.blocks import block_from_json
from skipstone.workflows.train_model import train
from tests.recordings import RATE, make_recording, write_recording_folders


@pytest.mark.parametrize(("hertz", "low", "high"), [(200, 60, 100), (2000, 10, 40)])
def test_low_sounds_are_at_the_bottom(hertz: int, low: int, high: int) -> None:
    wave = np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)
    picture = draw_spectrogram(wave, RATE)
    assert picture.dtype == np.uint8
    assert picture.shape == (128, 101, 1)
    assert low < picture[:, 50, 0].argmax() < high
    assert draw_spectrogram(np.zeros(100 * RATE), RATE).shape[1] <= 513


def test_a_sound_is_a_wav_file_or_refused() -> None:
    item = {"id": 1, "name": "a.wav", "caption": "", "truth": "a", "answer": "b"}
    gallery = {"kind": "gallery", "title": "t", "items": [{**item, "probability": 1.0}]}
    assert block_from_json(gallery)
    gallery["items"][0]["sound"] = "https://example.org/a.wav"  # type: ignore[index]
    with pytest.raises(DamagedError, match="a sound is not a data URI of a WAV file"):
        block_from_json(gallery)


def test_mistakes_have_a_picture_and_a_player(tmp_path: Path) -> None:
    """A model of one step is wrong often enough."""
    data = write_recording_folders(tmp_path / "sounds", 12)
    settings = {"steps": 1, "batch_size": 4, "width": 0.1, "augment": "none", "dedup": "exact"}
    result = train(
        data,
        out=tmp_path / "runs",
        model="m5",
        settings={**settings, "precision": "f32", "threads": 1},
    )
    page = Path(result.report).read_text(encoding="utf-8")
    sounds = re.findall(r'<audio controls preload="none" src="data:audio/wav;base64,([^"]+)"', page)
    assert sounds
    assert "media-src data:" in page
    samples, rate = read_samples(base64.b64decode(sounds[0]))
    assert rate == RATE
    assert len(samples) >= len(make_recording(0, "low"))
