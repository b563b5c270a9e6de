"""Boxes around blood cells and raccoons, with no flag but the data.

Bars: blood-cells, judged once on its `val`: mAP at IoU 0.5 >= 88 % within 25 minutes on two cores, from
process start; >= 84 % with `--budget 9m`, within 10. Raccoons, judged on a part of our own: >= 75 %
on average over the seeds. Then INT8: accepted within one point.

    python -m benchmarks boxes --data ../data --seeds 0,1,2
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.runs import (
    NO_DATA,
    SHORT,
    SMALL,
    Results,
    arguments_for,
    data_of,
    describe_receipt,
    shown,
    skipped,
    skipstone,
)

#: mAP at IoU 0.5 within minutes: without a flag, and with QUICK.
BAR, MINUTES = 0.88, 25.0
QUICK, QUICK_BAR, QUICK_MINUTES = ("--budget", "9m"), 0.84, 10.0
RACCOONS_BAR = 0.75
MAX_DROP = 1.0


def parser() -> argparse.ArgumentParser:
    return arguments_for("boxes", __doc__)


def main(arguments: list[str]) -> int:
    given = parser().parse_args(arguments)
    if (data := data_of(given)) is None:
        return skipped(NO_DATA)
    out = Path(given.out)
    results = Results(out)
    seeds = ["0"] if given.smoke else given.seeds.split(",")
    cells, run = _train(results, data / "blood-cells", seeds[0], out, given.smoke)
    met = _judge("blood-cells, no flag", cells, BAR, MINUTES) or given.smoke
    if not given.smoke:
        quick, _ = _train(results, data / "blood-cells", seeds[0], out, False, QUICK)
        met &= _judge("blood-cells, 9 minutes", quick, QUICK_BAR, QUICK_MINUTES)
        scores = [_train(results, data / "raccoons", seed, out, False)[0][0] for seed in seeds]
        mean = sum(scores) / len(scores)
        print(f"raccoons: mAP50 {mean:.1%} over {len(seeds)} seeds (bar {RACCOONS_BAR:.0%})")
        met &= mean >= RACCOONS_BAR
    allowed = "100" if given.smoke else f"{MAX_DROP:g}"
    key = f"int8, {allowed}" + ("-smoke" if given.smoke else "")
    shrunk = results.get(key) or results.add(
        key, skipstone("shrink", run, "--plan", "int8", "--max-drop", allowed)
    )
    print(f"INT8: accepted {shrunk['accepted']}, proven {shrunk['proven']}")
    for sentence in describe_receipt(shrunk["receipt"]):
        print(f"    {sentence}")
    met &= shrunk["accepted"] or given.smoke
    print("bars met" if met else "bars NOT met: see the header of benchmarks/boxes.py")
    return 0 if met else 1


def _train(
    results: Results,
    data: Path,
    seed: str,
    out: Path,
    smoke: bool,
    flags: tuple[str, ...] = (),
) -> tuple[tuple[float, float], str]:
    """(mAP at IoU 0.5, minutes) and the run's folder."""
    extra = (*SHORT, *SMALL) if smoke else flags
    key = " ".join(["train", data.name, seed, *extra])
    row = results.get(key) or results.add(
        key, skipstone("train", str(data), "--out", str(out / "runs"), "--seed", seed, *extra)
    )
    print(f"{data.name}, seed {seed}: mAP50 {shown(row['metrics']['map50'])}", flush=True)
    return (row["metrics"]["map50"]["value"], row["wall_seconds"] / 60), row["run"]


def _judge(title: str, found: tuple[float, float], bar: float, most: float) -> bool:
    value, minutes = found
    met = value >= bar and minutes <= most
    print(
        f"{title}: {'met' if met else 'NOT met'}: mAP50 {value:.1%} (bar {bar:.0%}) in "
        f"{minutes:.1f} minutes (bar {most:g})"
    )
    return met
