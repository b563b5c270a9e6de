"""The command line in this process, for chains that outlive one test's capture."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from skipstone.cli.main import main

#: A network and a length that learn the generated photos in a second or two.
SMALL = [
    *("--model", "resnet20", "--weights", "none", "--width", "0.25", "--depth", "0.34"),
    *("--size", "24", "--augment", "none", "--batch-size", "8", "--seed", "3"),
    *("--optimizer", "adamw", "--lr", "0.01", "--threads", "1"),
    *("--precision", "f32", "--channels-last"),
]


@dataclass(frozen=True)
class Answer:
    code: int
    value: Any  # the one JSON object on standard output
    err: str


def ask(*words: object) -> Answer:
    """Run `skipstone WORDS --json`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*map(str, words), "--json"])
    text = out.getvalue()
    assert text.count("\n") == 1, text + err.getvalue()
    return Answer(code, json.loads(text, parse_constant=_refuse), err.getvalue())


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


def tree(folder: Path) -> dict[str, int]:
    """Every file below `folder` with its time of change."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


#: Runs a script as a machine without skipstone would: importing it fails.
_WITHOUT_SKIPSTONE = (
    "import runpy, sys; sys.modules['skipstone'] = None; sys.argv = sys.argv[1:]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def script_answers(out: Path, rows: Sequence[Mapping[str, Any]], *words: object) -> list[Any]:
    """What the exported script says of the files of predictions, where skipstone is not found."""
    asked = ["--json", *(row["path"] for row in rows), *map(str, words)]
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_SKIPSTONE, out / "predict.py", *asked],
        capture_output=True,
        text=True,
        cwd=out,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)["predictions"]
    return found


def assert_same_answers(found: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> None:
    for row, ours in zip(found, rows, strict=True):
        assert row["label"] == ours["label"]
        assert row["probability"] == pytest.approx(ours["probability"], abs=1e-4)
