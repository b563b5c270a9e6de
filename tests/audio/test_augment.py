"""What each operation on recordings does, and that it depends on its key alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skipstone.audio import augment
from skipstone.audio.audio_augment_options import (
    AUDIO_OPERATIONS,
    AUDIO_PRESETS,
    AudioAugmentOptions,
)
from skipstone.audio.augment import AudioAugmentation, make_audio_augmentation, make_audio_mixing
from skipstone.audio.input import AudioInput
from skipstone.audio.options import AudioOptions
from skipstone.core.errors import UsageError
from skipstone.inputs.base import DecodedSample
from tests.recordings import RATE, write_recording

LENGTH = 8000


def tone(hertz: float = 440.0) -> np.ndarray:
    times = np.arange(LENGTH) / RATE
    level = 0.5 * np.sin(np.pi * times) ** 2
    return (level * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def pitch_of(wave: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(wave * np.hanning(len(wave)))).argmax() * RATE / len(wave))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def draw(seed: int, low: float, high: float) -> float:
    return float(rng(seed).uniform(low, high))


@pytest.mark.parametrize("seed", range(4))
def test_speed_moves_pitch(seed: int) -> None:
    factor = 1 + draw(seed, -0.2, 0.2)
    assert pitch_of(augment.change_speed(tone(), 0.2, rng(seed))) == pytest.approx(
        440 * factor, rel=0.01
    )


@pytest.mark.parametrize("seed", range(4))
def test_pitch_moves_and_the_envelope_stays(seed: int) -> None:
    factor = 2 ** (draw(seed, -4, 4) / 12)
    moved = augment.change_pitch(tone(), 4, rng(seed))
    assert len(moved) == LENGTH
    assert pitch_of(moved) == pytest.approx(440 * factor, rel=0.01)
    blocks = np.sqrt(np.square(moved).reshape(10, -1).mean(axis=1))
    before = np.sqrt(np.square(tone()).reshape(10, -1).mean(axis=1))
    assert np.abs(blocks - before).max() < 0.08


def test_noise_has_the_level_that_is_asked_for() -> None:
    wave = np.full(LENGTH, 0.5, np.float32)
    for seed in range(5):
        generator = rng(seed)
        noise = augment.add_hiss(wave, 10, generator) - wave
        decibels = 20 * np.log10(0.5 / np.sqrt(np.square(noise).mean()))
        assert 9.5 < decibels < 30.5
    assert np.array_equal(augment.add_hiss(0 * wave, 10, rng()), 0 * wave)


def test_delay_moves_and_loses_nothing_else() -> None:
    wave = np.zeros(100, np.float32)
    wave[50] = 1.0
    places = {int(augment.shift_waveform(wave, 20, rng(n)).argmax()) for n in range(200)}
    assert min(places) >= 30
    assert max(places) <= 70
    assert len(places) > 30


def test_masks_remove_a_part() -> None:
    noise = rng().normal(size=LENGTH)
    for seed in range(5):
        masked = augment.mask_time(noise, 0.3, rng(seed))
        silent = np.flatnonzero(masked == 0)
        assert len(silent) <= 0.3 * LENGTH
        assert len(silent) == 0 or np.array_equal(np.diff(silent), np.ones(len(silent) - 1))
        assert np.array_equal(masked[masked != 0], noise[masked != 0])
        filtered = np.abs(np.fft.rfft(augment.mask_band(noise, 0.3, rng(seed))))
        assert 0 <= (filtered < 1e-6).mean() < 0.5


def test_a_room_rings() -> None:
    click = np.zeros(LENGTH, np.float32)
    click[100] = 1.0
    heard = augment.add_reverb(click, 1.0, rng(), RATE)
    assert heard[100] == pytest.approx(1.0, abs=0.05)
    assert np.abs(heard[:95]).max() < 1e-6
    assert np.abs(heard[110:400]).max() > 1e-3
    assert augment.add_reverb(click, 1e-9, rng(), RATE) is click


@pytest.mark.parametrize("name", [name for name in AUDIO_OPERATIONS if name != "mixup"])
def test_every_operation_keeps_length_and_type_and_is_keyed(name: str) -> None:
    strengths = {name: AUDIO_OPERATIONS[name][0]}
    change = AudioAugmentation(strengths, RATE, [tone(1000.0)[:3000]])
    raw = DecodedSample(tone(), (LENGTH,))

    def run(**key: int) -> np.ndarray:
        keys = {"id": 1, "view": 0, "seed": 2, "epoch": 3, **key}
        return change.augment_record(raw, **keys).value

    views = [run(epoch=epoch) for epoch in range(8)]
    assert all(view.shape == (LENGTH,) and view.dtype == np.float32 for view in views)
    assert all(np.isfinite(view).all() for view in views)
    assert np.array_equal(run(), run())
    assert len({view.tobytes() for view in views}) > 1
    assert any(not np.array_equal(run(id=other), run()) for other in range(2, 9))
    assert np.array_equal(raw.value, tone())


def test_presets_and_names() -> None:
    assert AudioAugmentOptions().get_strengths() == dict(
        sorted(
            AUDIO_PRESETS["standard"].items(),
            key=lambda item: list(AUDIO_OPERATIONS).index(item[0]),
        )
    )
    named = AudioAugmentOptions(augment="gain,band-mask", speed=0.3)
    assert named.get_strengths() == {"speed": 0.3, "gain": 6.0, "band_mask": 0.1}
    with pytest.raises(UsageError, match="'hum' is neither a preset"):
        AudioAugmentOptions(augment="hum")
    with pytest.raises(UsageError, match="--background needs recordings"):
        AudioAugmentOptions(background=10.0)


def test_backgrounds_come_from_a_folder(tmp_path: Path) -> None:
    state = {"rate": RATE, "length": 4000, "mean": [0.0] * 40, "std": [1.0] * 40}
    input = AudioInput(AudioOptions(), state)
    options = AudioAugmentOptions(augment="none", background_folder=str(tmp_path))
    with pytest.raises(UsageError, match="holds no recordings"):
        make_audio_augmentation(options, input)
    write_recording(tmp_path / "noise" / "1.wav", 1, "noise")
    change = make_audio_augmentation(options, input)
    assert change is not None
    assert list(change.strengths) == ["background"]
    assert len(change.backgrounds) == 1


def test_mixing_is_off_unless_asked_for() -> None:
    from skipstone.core.registry import TASKS

    entry = TASKS["classify"]
    task = entry.load()(entry.make_options(), {"classes": ["a", "b"]})
    assert make_audio_mixing(AudioAugmentOptions(), task) is None
    mixing = make_audio_mixing(AudioAugmentOptions(mixup=0.4), task)
    assert mixing is not None
    assert (mixing.key, mixing.mixup, mixing.cutmix) == ("waveform", 0.4, 0.0)
