"""Every 4 KiB block of a checkpoint and of a bundle, flipped or cut away: found and named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from skipstone.bundle import files as bundle_files
from skipstone.bundle.files import read_bundle_json, read_file
from skipstone.core import events
from skipstone.core.errors import DamagedError, SkipstoneError
from skipstone.core.storage import write_json
from skipstone.evaluation.parity import verify
from skipstone.training.checkpoint import (
    GENERATIONS,
    Checkpoint,
    TrainState,
    load_checkpoint,
    save_checkpoint,
)

BLOCK = 4096


def damages(data: bytes) -> Iterator[tuple[str, bytes]]:
    """One flipped bit in each block, at a place drawn by the block's number, and each cut."""
    rng = np.random.default_rng(len(data))
    for start in range(0, len(data), BLOCK):
        at = start + int(rng.integers(min(BLOCK, len(data) - start)))
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(rng.integers(8))
        yield f"bit at {at}", bytes(flipped)
        yield f"cut at {start}", data[:start]


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """A run's two checkpoints, numbers 4 and 5, of 50 KB each."""
    folder = tmp_path / "checkpoint"
    for number in (4, 5):
        generator = torch.Generator().manual_seed(number)
        tensors = {f"model.{i}": torch.randn(2000, generator=generator) for i in range(6)}
        save_checkpoint(folder, Checkpoint(number, TrainState(step=10 * number), tensors, {}))
    return folder


def test_every_block_of_the_newer_checkpoint(checkpoints: Path) -> None:
    newer, count = checkpoints / GENERATIONS[1], 0
    for path in sorted(newer.iterdir()):
        data = path.read_bytes()
        for what, damaged in damages(data):
            path.write_bytes(damaged)
            said: list[str] = []
            with events.use_listener(lambda event, said=said: said.append(str(event))):  # type: ignore[misc]
                found = load_checkpoint(checkpoints)
            assert found is not None, what
            assert (found.number, found.state.step) == (4, 40), f"{path.name}, {what}"
            assert any(path.name in text for text in said), f"{path.name}, {what}: {said}"
            count += 1
        path.write_bytes(data)
    assert count > 25
    whole = load_checkpoint(checkpoints)
    assert whole is not None
    assert whole.number == 5


def test_every_block_of_a_bundle(copied: Path) -> None:
    """Named by the file, and by its place in a file of more than one megabyte."""
    for path in sorted(copied.rglob("*")):
        if not path.is_file():
            continue
        name, data = path.relative_to(copied).as_posix(), path.read_bytes()
        for what, damaged in damages(data):
            path.write_bytes(damaged)
            with pytest.raises(DamagedError) as caught:
                _read_all(copied)
            assert path.name in str(caught.value), f"{name}, {what}"
        path.write_bytes(data)
    _read_all(copied)


def _read_all(folder: Path) -> None:
    record = read_bundle_json(folder)
    for name in record["files"]:
        read_file(folder, name, record)


def test_verify_names_each_damaged_file(copied: Path) -> None:
    path = copied / "exports/openvino/model.bin"
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    found = verify(copied)
    assert not found.ok
    assert "model.bin is damaged" in found.problems[0]


def test_without_the_comparison_damage_goes_unseen(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sabotage: the test above is red where nothing compares."""
    monkeypatch.setattr(bundle_files.hashlib, "sha256", lambda data: _Agreeing())
    path = copied / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    record = {"files": {path.name: {"bytes": len(data), "sha256": "same"}}}
    assert read_file(copied, path.name, record) == bytes(data)


class _Agreeing:
    def hexdigest(self) -> str:
        return "same"


def test_a_checkpoint_of_which_nothing_is_left(tmp_path: Path) -> None:
    for name in GENERATIONS:
        (tmp_path / name).mkdir(parents=True)
        write_json(tmp_path / name / "hashes.json", {})
    with pytest.raises(SkipstoneError, match="no checkpoint can be read"):
        load_checkpoint(tmp_path)
