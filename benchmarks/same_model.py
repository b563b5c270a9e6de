"""The same program against itself, opened twice: how often a latency receipt sees a difference.

Bar: "no difference" in at least 95 of 100 races, in each runtime that the model has.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.runs import SHORT, Results, arguments_for, skipstone
from benchmarks.stand_in import write_stand_in
from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import resolve_bundle
from skipstone.compression.latency import default_threads, interleaved_benchmark, make_timed_call
from skipstone.inference.open_model import open_runtime
from skipstone.inference.programs import read_programs
from skipstone.inference.restore import restore_input

BAR = 0.95


def parser() -> argparse.ArgumentParser:
    made = arguments_for("same-model", __doc__)
    made.add_argument("--model", help="a run or bundle (default: the demo's, trained first)")
    made.add_argument("--runs", type=int, default=100, help="races (default 100)")
    made.add_argument("--seconds", type=float, default=2.0, help="of each race (default 2)")
    made.add_argument("--only", help="runtimes, separated by commas (default all)")
    return made


def main(arguments: list[str]) -> int:
    given = parser().parse_args(arguments)
    results = Results(Path(given.out))
    folder = resolve_bundle(given.model or _trained(results, Path(given.out), given.smoke))
    runs, seconds = (2, 0.3) if given.smoke else (given.runs, given.seconds)
    met = True
    every = ("torch-f32", *read_programs(folder).by_name)
    for name in given.only.split(",") if given.only else every:
        key = f"{name} {folder} {seconds:g} s"
        row = results.get(key)
        if row is None or row["of"] < runs:
            row = results.add(key, _raced(folder, name, runs, seconds))
        print(
            f"{name}: no difference in {row['same']} of {row['of']} "
            f"(ratios {min(row['ratios']):.3f} to {max(row['ratios']):.3f})",
            flush=True,
        )
        met &= given.smoke or row["same"] >= BAR * row["of"]
    print("bar met" if met else f"bar NOT met: {BAR:.0%} of races")
    return 0 if met else 1


def _trained(results: Results, out: Path, smoke: bool) -> str:
    """The demo's shrunk model; at smoke size one of two steps on generated pictures."""
    if smoke:
        pictures = str(write_stand_in(out / "stand-in") / "fashion-mnist")
        return str(skipstone("train", pictures, "--out", str(out / "runs"), *SHORT)["bundle"])
    made = results.get("demo") or results.add("demo", skipstone("demo", "--out", str(out / "demo")))
    return str(made["shrink"]["bundle"])


def _raced(folder: Path, name: str, runs: int, seconds: float) -> dict[str, Any]:
    """How many of so many races of a program with itself saw no difference, and their ratios."""
    bundle, threads = Bundle.load(folder), default_threads()
    arrays = restore_input(bundle).make_example(1)
    races = []
    for number in range(runs):
        calls = {
            which: make_timed_call(open_runtime(folder, bundle, name, threads=threads), arrays)
            for which in ("one", "again")
        }
        races.append(interleaved_benchmark(calls, seconds=seconds, threads=threads, seed=number))
    found = [each.speed_ratio("one", "again") for each in races]
    same = sum(not ratio.is_different for ratio in found)
    return {"same": same, "of": runs, "ratios": [ratio.value for ratio in found]}
