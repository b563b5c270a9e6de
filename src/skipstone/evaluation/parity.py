"""verify: check that every exported program gives the same predictions as the trained network.

The bundle holds the network's predictions for its goldens. A new process predicts the goldens again
from their raw bytes, with every runtime: the network in torch, each program in exports/, and the
stand-alone script. The bundle states the tolerance of each. A program with weights of its own is
also compared with its own stored outputs (`runtime.own_answers`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.bundle.locate import resolve_bundle
from skipstone.core.errors import SkipstoneError, UsageError
from skipstone.core.strict_json import JsonFields


@dataclass(frozen=True)
class Verification(JsonFields):
    """The result of `verify`.

    Args:
        ok: every check passed.
        max_difference: greatest difference in probability over all runtimes.
        flips: predictions that changed, over all runtimes, without near ties.
        rows: one per check: {"name", "ok", "problem"}. Rows of runtimes also have "max_difference",
            "max_relative", "flips", "near_ties", "n", "tolerance", "precision". Rows of programs
            with stored outputs of their own have "own": {"compared": whether they were compared,
            "remark": a sentence}, with "difference" and "allowed", relative to their scale, if so.
    """

    ok: bool
    max_difference: float
    flips: int
    rows: list[dict[str, Any]]

    @property
    def problems(self) -> list[str]:
        """The failed checks, one sentence each."""
        return [f"{row['name']}: {row['problem']}" for row in self.rows if not row["ok"]]

    @staticmethod
    def from_rows(rows: list[dict[str, Any]]) -> Verification:
        measured = [row for row in rows if "max_difference" in row]
        return Verification(
            all(row["ok"] for row in rows) and bool(measured),
            max((row["max_difference"] for row in measured), default=0.0),
            sum(row["flips"] for row in measured),
            rows,
        )


#: Run by a new interpreter that ignores the environment (-I); it gets this process's `sys.path`, so
#: that it finds the same plugins.
_FRESH = """
import json, sys
request = json.load(sys.stdin)
sys.path[:] = request["path"]
from skipstone.evaluation.verify_worker import main
main(request["folder"])
"""


def verify(path: Path | str) -> Verification:
    """Predict the goldens again and compare.

    Raises:
        UsageError: not a model, no goldens, or a missing plugin.
    """
    folder = resolve_bundle(path).absolute()
    request = {"path": sys.path, "folder": str(folder)}
    process = subprocess.run(
        [sys.executable, "-I", "-c", _FRESH],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = process.stdout.strip().splitlines()
    try:
        answer = json.loads(lines[-1])
    except (IndexError, ValueError):
        ending = "\n".join(process.stderr.strip().splitlines()[-3:])
        raise SkipstoneError(
            f"the process that verifies {folder} ended with code {process.returncode}: {ending}"
        ) from None
    if "usage" in answer:
        raise UsageError(answer["usage"], hint=answer["hint"])
    return Verification.from_rows(answer["rows"])
