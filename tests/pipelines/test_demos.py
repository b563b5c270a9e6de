"""`skipstone demo`, every demonstration: the whole way, offline, and with what score.

How long it takes is printed and not held: other tests run beside it.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from skipstone.core.registry import INPUTS, TASKS
from tests.pipelines.sockets import watched

SHOWN = [entry.name for entry in (*TASKS, *INPUTS) if entry.demo is not None]
#: The headline metric of each, at least: some points below what it has.
LEAST = {"classify": 0.96, "segment": 0.68, "detect": 0.7, "text": 0.85, "audio": 0.85}


def test_every_demonstration_is_run() -> None:
    assert set(SHOWN) == set(LEAST)


@pytest.mark.proof
@pytest.mark.parametrize("name", SHOWN)
def test_a_demonstration_goes_the_whole_way_offline(name: str, tmp_path: Path) -> None:
    began = time.monotonic()
    words = ["-m", "skipstone", "demo", "--task", name, "--out", str(tmp_path / "demo")]
    done = watched(words, tmp_path / "watched")
    assert done.code == 0, done.err
    assert done.sockets == []
    assert done.processes >= 1
    run = tmp_path / "demo" / "runs" / "001"
    story = json.loads((run / "report.json").read_text())["story"]
    (score,) = [row["value"] for row in story["metrics"] if row["name"] == story["headline"]]
    assert score >= LEAST[name]
    assert story["verification"]["ok"]
    assert story["receipts"]
    print(f"{name}: {story['headline']} {score:.3f}, {time.monotonic() - began:.0f} s")
    assert "A few predictions" in done.out
    assert "Verified from raw bytes" in done.out
    assert ("the baseline" in done.out) == (story["baseline"] is not None)
    assert done.out.splitlines()[-1].startswith("Next:    skipstone train ")
