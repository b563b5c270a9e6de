"""Packages laid out on disk as pip leaves them, and a process that finds them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from skipstone.core.registry import BACKBONES, HEADS, INPUTS, READERS, STEPS, TASKS, Registry

#: Group of entry points -> the registry, and what a plugin's package calls its entry.
GROUPS: dict[str, tuple[Registry[Any], str]] = {
    "readers": (READERS, "READER"),
    "inputs": (INPUTS, "INPUT"),
    "backbones": (BACKBONES, "BACKBONE"),
    "heads": (HEADS, "HEAD"),
    "tasks": (TASKS, "TASK"),
    "steps": (STEPS, "STEP"),
}
#: Runs command lines one after the other in one process: [[code, JSON on standard output], ...].
_RUNNER = """
import contextlib, io, json, sys
from skipstone.cli.main import main
from skipstone.compression import latency
from skipstone.compression import apply_plan as shrink
shrink.race = lambda calls, *, seconds, **more: latency.race(calls, seconds=0.4, **more)
answers = []
for words in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main([*words, "--json"])
    answers.append([code, json.loads(out.getvalue())])
print(json.dumps(answers))
"""


def install(package: ModuleType, folder: Path) -> Path:
    """Make `folder`, once on a path, bring `package` (such as skipstone_boxes) and its entries."""
    name = package.__name__.rpartition(".")[2]
    source = Path(str(package.__file__))
    if source.name == "__init__.py":
        shutil.copytree(source.parent, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n"
    )
    points = [
        f"[skipstone.{group}]\n{getattr(package, entry).name} = {name}:{entry}\n"
        for group, (_, entry) in GROUPS.items()
        if hasattr(package, entry)
    ]
    (info / "entry_points.txt").write_text("".join(points))
    return folder


@contextlib.contextmanager
def registered(package: ModuleType) -> Iterator[None]:
    """The package's names are known in this process, within the block."""
    added = [
        (registry, getattr(package, entry))
        for registry, entry in GROUPS.values()
        if hasattr(package, entry)
    ]
    for registry, entry in added:
        registry.register(entry)
    try:
        yield
    finally:
        for registry, entry in added:
            registry.unregister(entry.name)


def skipstone(*commands: list[object], path: Path, cwd: Path) -> tuple[list[tuple[int, Any]], str]:
    """(exit code, JSON) of each command, in one process that finds what lies in `path`; stderr."""
    words = json.dumps([[str(word) for word in command] for command in commands])
    source = Path(__file__).parents[2] / "src"
    paths = [str(path), str(source), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        [sys.executable, "-c", _RUNNER, words], capture_output=True, text=True, cwd=cwd, env=env
    )
    assert done.returncode == 0, done.stderr
    return [(code, value) for code, value in json.loads(done.stdout)], done.stderr
