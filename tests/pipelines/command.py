"""The command line in this process, for chains that outlive one test's capture."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
