"""The same program against itself, opened twice: how often a latency receipt sees a difference.

Bar: "no difference" in at least 95 of 100 races, in each runtime that the model has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.runs import Results, arguments_for, skipstone
from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import bundle_of
from skipstone.runtime.open import open_runtime
from skipstone.runtime.parts import input_of
from skipstone.runtime.programs import read_programs
from skipstone.shrink.latency import bind, race, usual_threads

BAR = 0.95


def main(arguments: list[str]) -> int:
    parser = arguments_for("same-model", __doc__)
    parser.add_argument("--model", help="a run or bundle (default: the demo's, trained first)")
    parser.add_argument("--runs", type=int, default=100, help="races (default 100)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each race (default 2)")
    parser.add_argument("--only", help="runtimes, separated by commas (default all)")
    given = parser.parse_args(arguments)
    out = Path(given.out)
    results = Results(out)
    model = given.model
    if model is None:
        made = results.get("demo") or results.add(
            "demo", skipstone("demo", "--out", str(out / "demo"))
        )
        model = made["shrink"]["bundle"]
    folder = bundle_of(model)
    runs = 3 if given.smoke else given.runs
    met = True
    every = ("torch-f32", *read_programs(folder).rows)
    for name in given.only.split(",") if given.only else every:
        key = f"{name} {folder} {given.seconds:g} s"
        row = results.get(key)
        if row is None or row["of"] < runs:
            row = results.add(key, _raced(folder, name, runs, given.seconds))
        print(
            f"{name}: no difference in {row['same']} of {row['of']} "
            f"(ratios {min(row['ratios']):.3f} to {max(row['ratios']):.3f})",
            flush=True,
        )
        met &= given.smoke or row["same"] >= BAR * row["of"]
    print("bar met" if met else f"bar NOT met: {BAR:.0%} of races")
    return 0 if met else 1


def _raced(folder: Path, name: str, runs: int, seconds: float) -> dict[str, Any]:
    """How many of so many races of a program with itself saw no difference, and their ratios."""
    bundle, threads = Bundle.load(folder), usual_threads()
    arrays = input_of(bundle).example(1)
    races = []
    for number in range(runs):
        calls = {
            which: bind(open_runtime(folder, bundle, name, threads=threads), arrays)
            for which in ("one", "again")
        }
        races.append(race(calls, seconds=seconds, threads=threads, seed=number))
    found = [each.ratio("one", "again") for each in races]
    same = sum(not ratio.differs for ratio in found)
    return {"same": same, "of": runs, "ratios": [ratio.value for ratio in found]}
