"""The same program against itself, opened twice: how often a latency receipt sees a difference.

Bar: "no difference" in at least 95 of 100 races, in each runtime that the model has.
"""

from __future__ import annotations

from pathlib import Path

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
    bundle, threads = Bundle.load(folder), usual_threads()
    arrays = input_of(bundle).example(1)
    runs = 3 if given.smoke else given.runs
    met = True
    for name in ("torch-f32", *read_programs(folder).rows):
        same, found = 0, []
        for number in range(runs):
            calls = {
                which: bind(open_runtime(folder, bundle, name, threads=threads), arrays)
                for which in ("one", "again")
            }
            ratio = race(calls, seconds=given.seconds, threads=threads, seed=number).ratio(
                "one", "again"
            )
            same += not ratio.differs
            found.append(ratio.value)
        results.add(name, {"same": same, "of": runs, "ratios": found})
        print(
            f"{name}: no difference in {same} of {runs} "
            f"(ratios {min(found):.3f} to {max(found):.3f})",
            flush=True,
        )
        met &= given.smoke or same >= BAR * runs
    print("bar met" if met else f"bar NOT met: {BAR:.0%} of races")
    return 0 if met else 1
