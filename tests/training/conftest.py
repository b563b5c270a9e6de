"""Tests marked `own_process` run in a Python of their own, those of one file together.

They fork and train in the child, and torch's autograd refuses that once its threads have been
started, as an export in an earlier test of the same process does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

#: Set in such a process: the file that gets what became of each phase of each test.
INSIDE = "SKIPSTONE_TEST_OWN_PROCESS"
_ENDED = pytest.StashKey[dict[str, list[dict[str, Any]]]]()


@pytest.fixture(autouse=True)
def _nothing_measured(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each test times its own steps."""
    monkeypatch.setenv("SKIPSTONE_CACHE", str(tmp_path_factory.mktemp("measurements")))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """What became of the test in the new process is what becomes of it here, output and all."""
    if pyfuncitem.get_closest_marker("own_process") is None or INSIDE in os.environ:
        return None
    ended = pyfuncitem.session.stash.setdefault(_ENDED, {})
    if pyfuncitem.nodeid not in ended:
        with tempfile.TemporaryDirectory() as folder:
            ended |= _run_apart(pyfuncitem, Path(folder, "ended.jsonl"))
    phases = ended[pyfuncitem.nodeid]
    print(*(phase["out"] for phase in phases), sep="")
    said = "".join(phase["said"] for phase in phases) or "the process ended in the middle of it"
    assert [phase["outcome"] for phase in phases] == ["passed"] * 3, said
    return True


def _run_apart(item: pytest.Function, file: Path) -> dict[str, list[dict[str, Any]]]:
    """{test: its phases} of all tests of the item's file that ask for a process of their own."""
    names = [
        other.nodeid
        for other in item.session.items
        if other.path == item.path and other.get_closest_marker("own_process") is not None
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "", *names],
        cwd=item.config.rootpath,
        env={**os.environ, INSIDE: str(file), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    lost = [{"outcome": "lost", "out": "", "said": done.stdout + done.stderr}]
    found: dict[str, list[dict[str, Any]]] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        phase = json.loads(line)
        found.setdefault(phase["test"], []).append(phase)
    return {name: found.get(name, lost) for name in names}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if INSIDE not in os.environ:
        return
    phase = {
        "test": report.nodeid,
        "outcome": report.outcome,
        "out": report.capstdout if report.when == "call" else "",
        "said": report.longreprtext,
    }
    with Path(os.environ[INSIDE]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(phase) + "\n")
