"""Tables whose rows are parts of recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skipstone.audio.goldens import write_wav
from skipstone.audio.input import AudioInput
from skipstone.audio.options import AudioOptions
from skipstone.core.errors import DataError
from skipstone.data.manifest import load_manifest, save_manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.datasets.row_scan import group_identical, scan_rows
from tests.recordings import RATE, make_recording


def write_table(root: Path, *more: str) -> Path:
    """Three recordings of two sounds each."""
    lines = ["path,start,end,label"]
    for number in range(3):
        waves = [make_recording(number, kind) for kind in ("low", "high")]
        (root / f"{number}.wav").write_bytes(write_wav(np.concatenate(waves), RATE))
        lines += [f"{number}.wav,0,0.5,low", f"{number}.wav,0.5,1.0,high"]
    (root / "parts.csv").write_text("\n".join([*lines, *more]) + "\n")
    return root / "parts.csv"


def test_each_row_is_its_part(tmp_path: Path) -> None:
    manifest = read_manifest(write_table(tmp_path))
    assert len(manifest) == 6
    assert manifest.row_names()[1] == "0.wav@0.5-1s"
    assert manifest.column_values("group") == ["0.wav", "0.wav", "1.wav", "1.wav", "2.wav", "2.wav"]
    input = AudioInput(AudioOptions()).fit(manifest.list_sources())
    assert input.length == round(0.6 * RATE)
    for row, (number, kind) in enumerate((n, k) for n in range(3) for k in ("low", "high")):
        wave = input.read_waveform(manifest.source_at(row))
        assert np.abs(wave - make_recording(number, kind)).max() < 1e-4
    assert group_identical(manifest, scan_rows(manifest)) == []
    save_manifest(manifest, tmp_path / "rows.parquet")
    again = load_manifest(tmp_path / "rows.parquet")
    assert again.list_sources() == manifest.list_sources()


def test_the_same_part_twice_is_one_row(tmp_path: Path) -> None:
    manifest = read_manifest(write_table(tmp_path, "0.wav,0,0.5,low"))
    assert len(manifest) == 6


@pytest.mark.parametrize("cells", ["0.5,0.5", "-1,2"])
def test_a_part_ends_after_it_begins(tmp_path: Path, cells: str) -> None:
    with pytest.raises(DataError, match="ends after it begins"):
        read_manifest(write_table(tmp_path, f"0.wav,{cells},low"))


def test_a_part_after_the_end_names_its_row(tmp_path: Path) -> None:
    manifest = read_manifest(write_table(tmp_path, "2.wav,7,8,low"), ReadOptions())
    input = AudioInput(AudioOptions()).fit(manifest.list_sources())
    with pytest.raises(DataError, match=r"2\.wav@7-8s: truncated: the recording ends after 1.000"):
        input.decode(manifest.source_at(6))
