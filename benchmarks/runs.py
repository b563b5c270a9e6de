"""What the benchmarks share: the data's place, resumable results, and running the command line."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.stand_in import write_stand_in
from skipstone.commands.rendering import make_receipt_table
from skipstone.compression.receipt import describe_verdict

NO_DATA = "needs --data FOLDER or SKIPSTONE_DATA"
#: What makes a training as short as it can be; no way of a step is timed before it.
SHORT = ("--steps", "2", "--batch-size", "8", "--precision", "f32", "--channels-last")
#: A network that takes as little time as one can, where any will do.
SMALL = ("--model", "resnet20", "--width", "0.5", "--weights", "none", "--size", "32")


def arguments_for(name: str, description: str | None) -> argparse.ArgumentParser:
    """The flags of a benchmark whose data has to be there."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=description)
    parser.add_argument("--data", help="folder of data (default: SKIPSTONE_DATA)")
    parser.add_argument("--out", default=f"runs/benchmarks/{name}", help="folder for results")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated (default 0,1,2)")
    parser.add_argument(
        "--smoke", action="store_true", help="the smallest size, on generated files without --data"
    )
    return parser


def data_of(given: argparse.Namespace) -> Path | None:
    """The folder of data: the one that was named, generated files at smoke size, or the
    environment's; None where there is none."""
    if given.data is not None:
        return Path(given.data)
    if given.smoke:
        return write_stand_in(Path(given.out) / "stand-in")
    found = os.environ.get("SKIPSTONE_DATA")
    return Path(found) if found else None


def skipped(reason: str, *, known: bool = False) -> int:
    """Say why nothing was measured. The exit code is 1 where everything is meant to run
    (SKIPSTONE_STRICT_SKIPS=1) and this may not be missing.

    Args:
        known: it is none of ours and may be missing anywhere, such as a peer's package.
    """
    print(f"skipped: {reason}", flush=True)
    return int(os.environ.get("SKIPSTONE_STRICT_SKIPS") == "1" and not known)


class Results:
    """JSON lines by key; what is there is not measured again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "results.jsonl"
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        self.rows: dict[str, dict[str, Any]] = {}
        for line in lines:
            row = json.loads(line)
            self.rows[row["key"]] = row

    def get(self, key: str) -> dict[str, Any] | None:
        return self.rows.get(key)

    def add(self, key: str, value: dict[str, Any]) -> dict[str, Any]:
        row = {"key": key, **value}
        self.rows[key] = row
        with self._file.open("a") as file:
            file.write(json.dumps(row, sort_keys=True) + "\n")
        return row


def skipstone(*arguments: str) -> dict[str, Any]:
    """Run a verb with --json in a process of its own; its one object, and the seconds it took.

    Raises:
        SystemExit: the command failed; its own message has been printed.
    """
    began = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-m", "skipstone", *arguments, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    found: dict[str, Any] = json.loads(process.stdout)
    if process.returncode != 0 and "error" in found:
        raise SystemExit(f"skipstone {' '.join(arguments)} failed: {found['error']}")
    return {**found, "wall_seconds": round(time.monotonic() - began, 1)}


def shown(metric: dict[str, float]) -> str:
    """87.4 % (83.5 - 90.5, n = 341)."""
    return (
        f"{100 * metric['value']:.2f} % "
        f"({100 * metric['low']:.2f} - {100 * metric['high']:.2f}, n = {metric['n']})"
    )


def describe_receipt(receipt: dict[str, Any]) -> list[str]:
    """The lines of a receipt: what, before, after, change; and the verdict."""
    rows = [
        f"{what}: {before}, {after}; {change}"
        for what, before, after, change in make_receipt_table(receipt)[1]
    ]
    return [*rows, describe_verdict(receipt)]
