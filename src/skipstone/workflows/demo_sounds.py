"""The recordings of `skipstone demo --task audio`: synthesised sounds of six kinds, eight devices.

No recordings ship with a dependency, so these are made of tones and noise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from skipstone.audio.goldens import write_wav
from skipstone.workflows.demo_images import Demonstration

_RATE, _SECONDS = 8000, 0.8
_DEVICES, _PER_DEVICE = 8, 4
Rng = np.random.Generator


def write_sounds(folder: Path, devices: int = _DEVICES, per_device: int = _PER_DEVICE) -> None:
    """<sound>/device<n>_<number>.wav"""
    for kind, make in SOUND_MAKERS.items():
        (folder / kind).mkdir(parents=True)
        for device in range(devices):
            for number in range(per_device):
                rng = np.random.default_rng([list(SOUND_MAKERS).index(kind), device, number])
                name = f"device{device}_{number}.wav"
                (folder / kind / name).write_bytes(write_wav(synthesise(make, device, rng), _RATE))


def synthesise(make: Callable[[np.ndarray, Rng], np.ndarray], device: int, rng: Rng) -> np.ndarray:
    """A sound as a device records it: with its own level, echo and noise."""
    times = np.arange(round(_RATE * _SECONDS * rng.uniform(0.7, 1.0))) / _RATE
    sound = make(times, rng)
    device_rng = np.random.default_rng(device)
    delay = int(device_rng.integers(8, 80))
    echo = np.concatenate([np.zeros(delay), sound[:-delay]])
    mixed = sound / np.abs(sound).max() + device_rng.uniform(0.1, 0.5) * echo
    noise = rng.normal(0, device_rng.uniform(0.002, 0.03), len(mixed))
    return np.asarray(0.6 * device_rng.uniform(0.3, 1.0) * (mixed + noise))


def _make_siren(times: np.ndarray, rng: Rng) -> np.ndarray:
    swing = rng.uniform(2, 4)
    phase = 700 * times + 40 * np.sin(2 * np.pi * swing * times)
    return np.asarray(np.sin(2 * np.pi * phase))


def _make_bell(times: np.ndarray, rng: Rng) -> np.ndarray:
    base = rng.uniform(500, 900)
    tones = [np.sin(2 * np.pi * base * k * times) * np.exp(-4 * k * times) for k in (1, 2.76, 5.4)]
    return np.asarray(np.sum(tones, axis=0))


def _make_rain(times: np.ndarray, rng: Rng) -> np.ndarray:
    drops = (rng.random(len(times)) < 0.02) * rng.exponential(1.0, len(times))
    return np.asarray(
        np.convolve(drops, np.exp(-np.arange(30) / 6), "same") + rng.normal(0, 0.1, len(times))
    )


def _make_engine(times: np.ndarray, rng: Rng) -> np.ndarray:
    base = rng.uniform(50, 90)
    tones = [np.sin(2 * np.pi * base * k * times + rng.uniform(0, 6)) / k for k in range(1, 12)]
    return np.asarray(np.sum(tones, axis=0))


def _make_bird(times: np.ndarray, rng: Rng) -> np.ndarray:
    rate = rng.uniform(5, 9)
    place = (times * rate) % 1
    return np.asarray(np.sin(2 * np.pi * (2200 + 900 * place) * times) * (place < 0.5))


def _make_knock(times: np.ndarray, rng: Rng) -> np.ndarray:
    place = (times * rng.uniform(4, 7)) % 1
    return np.asarray(rng.normal(0, 1, len(times)) * np.exp(-place * 40))


SOUND_MAKERS: dict[str, Callable[[np.ndarray, Rng], np.ndarray]] = {
    "bell": _make_bell,
    "bird": _make_bird,
    "engine": _make_engine,
    "knock": _make_knock,
    "rain": _make_rain,
    "siren": _make_siren,
}

SOUNDS = Demonstration(
    folder="sounds",
    title="Synthesised sounds",
    write_data=write_sounds,
    choose_files=lambda data: [sorted((data / kind).iterdir())[0] for kind in SOUND_MAKERS],
    next_command="skipstone train recordings/  (one folder of recordings per class)",
)
