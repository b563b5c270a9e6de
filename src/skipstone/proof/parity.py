"""verify: does what ships answer as what was trained?

The answers that the network gave to the bundle's goldens when it was made are asked for again, in
a fresh process, from the files' raw bytes, of every runtime: the network in torch, each program in
exports/, and the stand-alone script. Each is held to its own tolerance, which is in the bundle,
and a program of weights that are in no other one to its own answers (`runtime.own_answers`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.bundle.locate import bundle_of
from skipstone.errors import SkipstoneError, UsageError


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Args:
        ok: everything answers within its tolerance, and nothing else differs.
        max_difference: greatest difference in probability over all runtimes.
        flips: answers that changed, over all runtimes, without near ties.
        rows: one a check: {"name", "ok", "problem"} and, for a runtime, also "max_difference",
            "max_relative", "flips", "near_ties", "n", "tolerance", "precision"; where a program
            keeps its own answers, "own" says whether it was held to them: {"held", "told"}, with
            "difference" and "allowed" of their scale where it was.
    """

    ok: bool
    max_difference: float
    flips: int
    rows: list[dict[str, Any]]

    @property
    def problems(self) -> list[str]:
        """What differs, a sentence each."""
        return [f"{row['name']}: {row['problem']}" for row in self.rows if not row["ok"]]

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "max_difference": self.max_difference,
            "flips": self.flips,
            "rows": self.rows,
        }

    @staticmethod
    def of(rows: list[dict[str, Any]]) -> Verification:
        measured = [row for row in rows if "max_difference" in row]
        return Verification(
            all(row["ok"] for row in rows) and bool(measured),
            max((row["max_difference"] for row in measured), default=0.0),
            sum(row["flips"] for row in measured),
            rows,
        )


#: Run by a fresh interpreter that takes nothing from the environment (-I); where packages lie is
#: handed over, so that plugins are found as they are here.
_FRESH = """
import json, sys
request = json.load(sys.stdin)
sys.path[:] = request["path"]
from skipstone.proof.fresh import main
main(request["folder"])
"""


def verify(path: Path | str) -> Verification:
    """Answer the goldens again and compare.

    Raises:
        UsageError: no model, or one without goldens, or a plugin that is missing.
    """
    folder = bundle_of(path).absolute()
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
    return Verification.of(answer["rows"])
