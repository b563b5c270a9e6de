"""The input as a whole: what fitting decides, what is refused, a contact sheet, a demo, a script."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipstone.audio.auto import SMALL_DATA, choose_audio_model
from skipstone.audio.goldens import write_wav
from skipstone.audio.input import AudioInput
from skipstone.audio.options import AudioOptions
from skipstone.core.errors import DamagedError, DataError, UsageError
from skipstone.core.registry import BACKBONES
from skipstone.data.read import read_manifest
from skipstone.data.sources import Inline
from skipstone.inference.export.script import run_script
from skipstone.workflows.demo_sounds import SOUND_MAKERS, write_sounds
from skipstone.workflows.show_augmented import write_augmented_samples
from skipstone.workflows.train_model import train
from tests.recordings import RATE, make_recording, write_recording_folders


def sources(*lengths: int, rate: int = RATE) -> list[Inline]:
    rng = np.random.default_rng(0)
    return [Inline(write_wav(rng.normal(0, 0.1, n), rate), f"{n}.wav") for n in lengths]


def test_rate_and_length_come_from_the_recordings() -> None:
    fitted = AudioInput(AudioOptions()).fit([*sources(*[4000] * 99), *sources(80_000)])
    assert (fitted.rate, fitted.length) == (RATE, 4800)  # the longest one is an exception
    assert AudioInput(AudioOptions()).fit(sources(48_000, rate=48_000)).rate == 16_000
    chosen = AudioInput(AudioOptions(sample_rate=4000, seconds=2)).fit(sources(4000))
    assert (chosen.rate, chosen.length) == (4000, 8000)


def test_bands_are_standardised() -> None:
    fitted = AudioInput(AudioOptions(bands=12)).fit(sources(*range(3000, 4000, 100)))
    values = [fitted.encode(fitted.decode(s))["waveform"] for s in sources(*range(3000, 4000, 100))]
    scale = AudioInput(AudioOptions(bands=12), fitted.get_state()[0]).measure_scale(
        np.stack(values)
    )
    assert scale["mean"] == pytest.approx([0.0] * 12, abs=1e-5)
    assert scale["std"] == pytest.approx([1.0] * 12, abs=1e-5)
    assert fitted.get_state()[0]["mean"][0] < -1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop_ms": 50.0}, "hop_ms is 50, more than window_ms 25"),
        ({"min_hz": 900.0, "max_hz": 800.0}, "max_hz is 800, not above min_hz 900"),
        ({"sample_rate": 8000, "max_hz": 5000.0}, "more than half of sample_rate 8000"),
        ({"seconds": 0.01}, "seconds is 0.01"),
        ({"bands": 2}, "bands is 2"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AudioOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"rate": 0, "length": 8}, "rate is 0"),
        ({"rate": 8000, "length": 1 << 40}, "length is 1099511627776"),
        ({"rate": 8000, "length": 8, "std": [0.0]}, "std is"),
        ({"rate": 8000, "length": 8, "mean": ["x"]}, "mean is"),
    ],
)
def test_a_forged_state_is_refused(state: dict[str, object], message: str) -> None:
    with pytest.raises(DamagedError, match=message):
        AudioInput(AudioOptions(), state)


def test_errors_name_the_recording() -> None:
    input = AudioInput(AudioOptions()).fit(sources(4000))
    with pytest.raises(DataError, match=r"bad\.wav: not a recording"):
        input.decode(Inline(b"no sound", "bad.wav"))
    with pytest.raises(DataError, match="array is not a waveform"):
        input.decode(Inline(np.full(10, np.nan, np.float32), "array"))
    with pytest.raises(DataError, match=r"none of 1 recordings can be read; the first: bad\.wav"):
        AudioInput(AudioOptions()).fit([Inline(b"no sound", "bad.wav")])


def test_the_model_follows_the_number_of_recordings() -> None:
    state = {"rate": RATE, "seconds": 0.75}

    def choose(rows: int, model: str = "auto") -> object:
        return choose_audio_model(model=model, weights="auto", state=state, rows=rows, classes=3)

    small = choose_audio_model(model="auto", weights="auto", state=state, rows=500, classes=3)
    assert (small.model, small.weights) == ("speech-logistic", "pretrained")
    assert small.input["seconds"] == 1.25
    large = choose_audio_model(
        model="auto", weights="auto", state=state, rows=SMALL_DATA, classes=3
    )
    assert (large.model, large.weights) == ("bcresnet", "none")
    assert "resnet20 as requested, from scratch" in str(choose(10, "resnet20"))
    for entry in BACKBONES:
        if {"spectrogram", "statistics", "waveform"} & set(entry.accepts) and "*" not in entry.name:
            made = choose_audio_model(
                model=entry.name, weights="auto", state=state, rows=9, classes=3
            )
            AudioOptions(**made.input)


def test_a_contact_sheet_of_spectrograms(tmp_path: Path) -> None:
    data = write_recording_folders(tmp_path / "sounds", 8)
    result = write_augmented_samples(
        data,
        tmp_path / "sheet.png",
        model="bcresnet",
        weights="auto",
        seed=0,
        settings={"augment": "speed,gain", "dedup": "exact"},
    )
    assert result.description == "augmentation 'speed,gain': speed 0.1, gain 6"
    assert Image.open(result.file).width > 8 * 96


def test_the_demo_writes_recordings_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    write_sounds(tmp_path / "sounds", devices=2, per_device=1)
    manifest = read_manifest(tmp_path / "sounds")
    assert manifest.input == "audio"
    assert list(manifest.schema["classes"]) == sorted(SOUND_MAKERS)
    assert len(manifest) == 2 * len(SOUND_MAKERS)


def test_the_script_answers_as_the_model(tmp_path: Path) -> None:
    """With the speech embedding, from WAV at another rate than the model's."""
    data = write_recording_folders(tmp_path / "sounds", 14)
    run = train(data, out=tmp_path / "runs", settings={"dedup": "exact", "threads": 1})
    assert run.verification.ok
    assert {"onnxruntime-f32", "stand-alone script"} <= {
        row["name"] for row in run.verification.rows
    }
    waves = [make_recording(700 + n, kind) for n, kind in enumerate(("low", "high", "noise"))]
    files = [Inline(write_wav(wave, RATE), f"{n}.wav") for n, wave in enumerate(waves)]
    rows = run_script(run.bundle, files)
    assert [row["label"] for row in rows] == ["low", "high", "noise"]


def test_options_are_stored_and_read_again() -> None:
    options = AudioOptions(loudness="pcen", bands=16)
    fitted = AudioInput(options).fit(sources(4000))
    again = AudioInput(AudioOptions(**dataclasses.asdict(options)), fitted.get_state()[0])
    arrays = fitted.encode(fitted.decode(sources(3000)[0]))
    other = again.encode(again.decode(sources(3000)[0]))
    assert np.array_equal(arrays["waveform"], other["waveform"])
    assert again.feature_spec() == fitted.feature_spec()
