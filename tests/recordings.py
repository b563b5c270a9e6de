"""Small recordings whose classes a network tells apart in a few steps."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from skipstone.audio.goldens import write_wav

RATE, SECONDS = 8000, 0.5
#: Frequencies of the classes.
CLASSES = {"low": 300.0, "high": 1500.0, "noise": 0.0}


def make_recording(number: int, kind: str, *, seconds: float = SECONDS) -> np.ndarray:
    """float64 (T,) in -1..1"""
    rng = np.random.default_rng([number, list(CLASSES).index(kind)])
    times = np.arange(round(RATE * seconds)) / RATE
    noise = rng.normal(0, 0.02, len(times))
    if not CLASSES[kind]:
        return np.asarray(noise * 5)
    base = CLASSES[kind] * rng.uniform(0.85, 1.15)
    level = np.sin(np.pi * times / seconds) * rng.uniform(0.2, 0.6)
    return np.asarray(level * np.sin(2 * np.pi * base * times) + noise)


def write_recording(path: Path, number: int, kind: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write_wav(make_recording(number, kind), RATE))
    return path


def write_recording_folders(root: Path, per_class: int, first: int = 0) -> Path:
    """root/<kind>/<number>.wav"""
    for kind in CLASSES:
        for number in range(first, first + per_class):
            write_recording(root / kind / f"{number}.wav", number, kind)
    return root


def write_recording_table(root: Path, per_class: int) -> Path:
    """root/sounds.csv with the columns path, tags (several separated by |) and speaker."""
    lines = [["path", "tags", "speaker"]]
    for kind in CLASSES:
        for number in range(per_class):
            path = write_recording(root / "clips" / f"{kind}{number}.wav", number, kind)
            tags = kind if number % 3 else f"{kind}|short"
            lines.append([path.relative_to(root).as_posix(), tags, f"speaker{number % 4}"])
    with (root / "sounds.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return root / "sounds.csv"
