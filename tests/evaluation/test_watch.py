"""The watch itself sees what it is there to see: else "nothing was executed" would mean nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.evaluation.watch import watching


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    folder = tmp_path / "canary"
    folder.mkdir()
    (folder / "secret.bin").write_bytes(b"secret" * 100)
    return folder


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda path: path.read_bytes(), "opened"),
        (lambda path: exec(compile("1", str(path), "exec")), "executed code"),
        (lambda path: subprocess.run(["/bin/true"], check=True), "started"),
        (lambda path: subprocess.run(["/bin/cat", path], check=True, stdout=-3), "canary"),
    ],
)
def test_what_must_not_happen_is_seen(
    canary: Path, tmp_path: Path, act: Callable[[Path], object], words: str
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with watching(inside, canary) as watch:
        act(canary / "secret.bin")
    assert any(words in sentence for sentence in watch.found), watch.found


def test_what_may_happen_is_not_reported(canary: Path, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "a").write_bytes(b"1")
    with watching(inside, canary) as watch:
        (inside / "a").read_bytes()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
    assert watch.found == []
