"""Packages laid out on disk as pip leaves them, and a process that finds them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

#: Runs command lines one after the other in one process: [[code, JSON on standard output], ...].
_RUNNER = """
import contextlib, io, json, sys
from skipstone.cli.main import main
from skipstone.shrink import latency, shrink
shrink.race = lambda calls, *, seconds, **more: latency.race(calls, seconds=0.4, **more)
answers = []
for words in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main([*words, "--json"])
    answers.append([code, json.loads(out.getvalue())])
print(json.dumps(answers))
"""


def install_curves(folder: Path) -> Path:
    """Make `folder`, once on a path, bring skipstone-curves."""
    shutil.copytree(Path(__file__).parent / "skipstone_curves", folder / "skipstone_curves")
    info = folder / "skipstone_curves-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: skipstone-curves\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[skipstone.readers]\ncurves = skipstone_curves:READER\n"
        "[skipstone.inputs]\ncurve = skipstone_curves:INPUT\n"
        "[skipstone.backbones]\ncurvenet = skipstone_curves:BACKBONE\n"
    )
    return folder


def skipstone(
    *commands: list[object], path: Path | None, cwd: Path
) -> tuple[list[tuple[int, Any]], str]:
    """(exit code, JSON) of each command, in one process that finds what lies in `path`; stderr."""
    words = json.dumps([[str(word) for word in command] for command in commands])
    paths = [str(path)] if path is not None else []
    paths += [str(Path(__file__).parents[2] / "src"), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    env |= {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _RUNNER, words], capture_output=True, text=True, cwd=cwd, env=env
    )
    assert done.returncode == 0, done.stderr
    return [(code, value) for code, value in json.loads(done.stdout)], done.stderr
