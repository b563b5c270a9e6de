"""Bundles from an attacker who recomputes every hash: refused by name, or the same answers.

Nothing is executed, nothing outside the bundle is read (`tests/evaluation/watch.py`), nothing larger
than the files is allocated. `make proof` adds 1,000 mutants by seed.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skipstone.evaluation import parity as fresh
from skipstone.inference.backends import onnx_backend as onnx_runtime
from skipstone.inference.export import script as standalone
from tests.evaluation import hostile
from tests.evaluation.attacks import ATTACKS, Attack, external
from tests.evaluation.hostile import (
    change_onnx,
    write_canary,
)
from tests.evaluation.watch import watching
from tests.small_bundles import write_small


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small(tmp_path_factory.mktemp("bare") / "bundle")


@pytest.fixture(scope="session")
def imported(bare: Path, exported: Path) -> None:
    """Everything that answering needs is imported, and that an untouched bundle answers is sure."""
    for source in (bare, exported):
        assert hostile.judge(source, hostile.known(source)) == "answers"


@pytest.fixture
def no_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script is another process, and has a test of its own below."""
    monkeypatch.setattr(fresh, "find_script_program", lambda *_: None)


@pytest.mark.parametrize(
    ("attack", "words", "programs"), [a[1:] for a in ATTACKS], ids=[a[0] for a in ATTACKS]
)
def test_is_refused_by_name(
    attack: Attack,
    words: str,
    programs: bool,
    bare: Path,
    exported: Path,
    tmp_path: Path,
    no_script: None,
    imported: None,
) -> None:
    source = exported if programs else bare
    folder = Path(shutil.copytree(source, tmp_path / "bundle"))
    canary = write_canary(tmp_path / "canary")
    known = hostile.known(source)
    attack(folder, canary)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with watching(folder, canary) as watch:
        verdict = hostile.judge(folder, known)
    assert watch.found == []
    assert verdict.startswith("refused"), verdict
    assert words in verdict
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB


def test_there_are_fifty() -> None:
    assert len(ATTACKS) >= 50


def test_the_stand_alone_script_gets_no_program_that_is_refused(
    copied: Path, tmp_path: Path
) -> None:
    canary = write_canary(tmp_path / "canary")
    known = hostile.known(copied)
    external("initializer")(copied, canary)
    with watching(copied, canary) as watch:
        verdict = hostile.judge(copied, known)
    assert watch.found == []
    assert "stand-alone script: the ONNX program stores tensor" in verdict


def test_without_the_check_the_canary_is_read(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sabotage: the product without its defence is seen to read outside."""
    for room in (onnx_runtime, standalone):
        monkeypatch.setattr(room, "check_onnx", lambda program: None)
    canary = write_canary(tmp_path / "canary")
    link = tmp_path / "secret.bin"  # ONNX Runtime wants a relative path without "..", as of 1.23
    os.link(canary / "secret.bin", link)
    monkeypatch.chdir(tmp_path)

    def change(model: Any) -> None:
        hostile.outside(model.graph.initializer[0], canary)
        model.graph.initializer[0].external_data[0].value = "secret.bin"
        count = int(np.prod(model.graph.initializer[0].dims))
        model.graph.initializer[0].external_data[2].value = str(4 * count)

    known = hostile.known(copied)
    change_onnx(copied, change)
    with watching(copied, canary) as watch:
        verdict = hostile.judge(copied, known)
    assert watch.found or "answers" in verdict or "onnxruntime-f32" in verdict
    assert any("canary" in sentence for sentence in watch.found), (watch.found, verdict)


@pytest.mark.proof
def test_a_thousand_mutants(bare: Path, exported: Path) -> None:
    """Two processes of 500 each, with 4 GB to spend; a crash names its seed."""
    command = [sys.executable, "-m", "tests.evaluation.mutants", str(bare), str(exported)]
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen([*command, str(first), "500"], cwd=root, stdout=subprocess.PIPE, text=True)
        for first in (0, 500)
    ]
    rows = []
    for process in processes:
        output, _ = process.communicate(timeout=900)
        found = [json.loads(line) for line in output.splitlines()]
        assert process.returncode == 0, f"the process ended with {found[-1]}"
        rows += [row for row in found if "done" in row]
    bad = [row for row in rows if row["bad"]]
    refused = sum(row["verdict"].startswith("refused") for row in rows)
    slowest = max(rows, key=lambda row: row["seconds"])
    print(
        f"{len(rows):,} hostile bundles: {refused} refused by name, "
        f"{sum(row['verdict'] == 'answers' for row in rows)} answer the goldens identically, "
        f"{len(bad)} otherwise; the slowest took {slowest['seconds']} s"
    )
    assert len(rows) == 1000
    assert bad == []
    assert slowest["seconds"] < 30
