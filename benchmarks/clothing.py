"""Photos of clothing, fine-tuned with no flag at all, then INT8.

Bar: accuracy >= 87 % on the user's validation folder, scored once, each seed, within 30 minutes on
two cores. INT8 against eager float32 torch and OpenVINO's faster float mode is printed as measured.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.runs import Results, arguments_for, shown, skipstone
from skipstone.shrink.receipt import describe

BAR = 0.87


def main(arguments: list[str]) -> int:
    given = arguments_for("clothing", __doc__).parse_args(arguments)
    if given.data is None:
        print("skipped: needs --data or SKIPSTONE_DATA")
        return 0
    data, out = Path(given.data) / "clothing", Path(given.out)
    results = Results(out)
    extra = ["--steps", "4"] if given.smoke else []
    seeds = ["0"] if given.smoke else given.seeds.split(",")
    met = True
    for seed in seeds:
        key = f"train-{seed}" + ("-smoke" if given.smoke else "")
        row = results.get(key) or results.add(
            key,
            skipstone("train", str(data), "--out", str(out / "runs"), "--seed", seed, *extra),
        )
        metrics = row["metrics"]
        print(
            f"seed {seed}: accuracy {shown(metrics['accuracy'])}, "
            f"balanced {shown(metrics['balanced_accuracy'])}, {row['wall_seconds'] / 60:.1f} min"
        )
        if row.get("calibration"):
            before, after = (shown(row["calibration"][when]) for when in ("before", "after"))
            print(f"    ECE {before} before temperature scaling, {after} after")
            print(f"    {row['calibration']['reason']}")
        met &= given.smoke or metrics["accuracy"]["value"] >= BAR
        key = key.replace("train", "int8")
        small = results.get(key) or results.add(
            key, skipstone("shrink", row["run"], "--max-drop", "100" if given.smoke else "1")
        )
        for sentence in describe(small["receipt"]):
            print(f"    {sentence}")
    print("bar met" if met else f"bar NOT met: {BAR:.0%} for each seed")
    return 0 if met else 1
