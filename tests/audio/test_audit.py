"""What the audit of recordings finds, and what it leaves alone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from skipstone.audio.goldens import write_wav
from skipstone.audio.inspect_recording import inspect_recording
from skipstone.audio.near_duplicates import SAME, compare_fingerprints
from skipstone.auditing.run_checks import audit_rows
from skipstone.data.findings import Finding
from skipstone.data.read import read_manifest
from tests.recordings import CLASSES, RATE, make_recording, write_recording


def audit(root: Path) -> dict[str, Finding]:
    return {finding.kind: finding for finding in audit_rows(read_manifest(root)).findings}


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finding]:
    """Two voices in two splits, and one recording of each kind that is bad."""
    root = tmp_path_factory.mktemp("sounds")
    for kind in CLASSES:
        for number in range(16):
            split = "train" if number < 12 else "val"
            name = f"{'anna' if number % 2 else 'ben'}_{number}.wav"
            write_recording(root / split / kind / name, number, kind)
    wave, folder = make_recording(200, "low"), root / "train" / "low"
    clip = np.clip(8 * make_recording(201, "low"), -1, 1)
    bad = {
        "anna_clipped": write_wav(clip, RATE),
        "anna_offset": write_wav(0.3 * wave + 0.2, RATE),
        "anna_silent": write_wav(np.zeros(4000), RATE),
        "anna_cut": write_wav(wave, RATE)[:3000],
        "anna_text": b"a text with the wrong name",
        "anna_empty": b"",
        "anna_nan": write_wav(wave * np.nan, RATE, bits=32, is_float=True),
        "anna_fast": write_wav(soxr.resample(make_recording(99, "low"), RATE, 16_000), 16_000),
        "anna_again": (folder / "ben_2.wav").read_bytes() + b"LIST\0\0\0\0",
        "anna_louder": write_wav(1.4 * make_recording(4, "low"), RATE),
    }
    for name, data in bad.items():
        (folder / f"{name}.wav").write_bytes(data)
    return audit(root)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("clipped", {"anna_clipped"}),
        ("offset", {"anna_offset"}),
        ("silent", {"anna_silent"}),
        ("truncated", {"anna_cut"}),
        ("not_a_recording", {"anna_text"}),
        ("empty_file", {"anna_empty"}),
        ("unreadable", {"anna_nan"}),
        ("mixed_rates", {"anna_fast"}),
        ("duplicate", {"anna_again", "ben_2"}),
        ("near_duplicate", {"anna_louder", "ben_4"}),
    ],
)
def test_each_problem_is_found_where_it_is(
    findings: dict[str, Finding], kind: str, names: set[str]
) -> None:
    assert {Path(path).stem for path in findings[kind].paths} == names


def test_voices_in_two_splits(findings: dict[str, Finding]) -> None:
    finding = findings["voice_across_splits"]
    assert "2 voices or sources (anna, ben)" in finding.message
    assert all(path.startswith("val/") for path in finding.paths)


def test_labels_in_names_are_not_voices(tmp_path: Path) -> None:
    for kind in CLASSES:
        for number in range(12):
            split = "train" if number < 8 else "val"
            write_recording(tmp_path / split / kind / f"{kind}_{number}.wav", number, kind)
    assert "voice_across_splits" not in audit(tmp_path)


def encode(wave: np.ndarray, kind: str, subtype: str) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, wave, RATE, format=kind, subtype=subtype)
    return stream.getvalue()


@pytest.mark.parametrize("change", ["mp3", "ogg", "flac", "louder", "noise", "silence", "rate"])
def test_copies_are_recognised(change: str) -> None:
    """Sweeps, which are alike at no shift in time."""
    times = np.arange(6000) / RATE
    rng = np.random.default_rng(0)
    wave = 0.5 * np.sin(2 * np.pi * (200 * times + 900 * times**2)) + rng.normal(0, 0.01, 6000)
    changed = {
        "mp3": lambda: encode(wave, "MP3", "MPEG_LAYER_III"),
        "ogg": lambda: encode(wave, "OGG", "VORBIS"),
        "flac": lambda: encode(wave, "FLAC", "PCM_16"),
        "louder": lambda: write_wav(1.6 * wave, RATE),
        "noise": lambda: write_wav(wave + rng.normal(0, 0.02, 6000), RATE),
        "silence": lambda: write_wav(np.pad(wave, (2000, 1000)), RATE),
        "rate": lambda: write_wav(soxr.resample(wave, RATE, 22_050), 22_050),
    }
    one, other = (inspect_recording(d) for d in (write_wav(wave, RATE), changed[change]()))
    assert compare_fingerprints(*(r.content.fingerprint.astype("f4") for r in (one, other))) > SAME
    another = write_wav(wave[::-1], RATE)
    prints = [r.content.fingerprint.astype("f4") for r in (one, inspect_recording(another))]
    assert compare_fingerprints(*prints) < SAME
