"""Fashion-MNIST from scratch by a small residual network, the test files absent while training.

Bar: accuracy >= 93.5 % on the 10,000 test pictures within 30 minutes on two cores; of its INT8
model, the upper end of the paired interval of the drop <= 0.6 points.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from benchmarks.runs import (
    NO_DATA,
    SHORT,
    Results,
    arguments_for,
    data_of,
    describe_receipt,
    shown,
    skipped,
    skipstone,
)
from skipstone.data.read import read_manifest
from skipstone.evaluation.intervals import paired_difference
from skipstone.inference.open_model import open_model

BAR, BAR_DROP = 0.935, 0.6
#: A mirrored shirt is a shirt: the one thing a user knows here that the data cannot tell.
FLAGS = ("--flip", "0.5")


def parser() -> argparse.ArgumentParser:
    return arguments_for("fashion-mnist", __doc__)


def main(arguments: list[str]) -> int:
    given = parser().parse_args(arguments)
    if (data := data_of(given)) is None:
        return skipped(NO_DATA)
    out = Path(given.out)
    train, test = _halves(data / "fashion-mnist", out)
    results = Results(out)
    extra = SHORT if given.smoke else ()
    seeds = ["0"] if given.smoke else given.seeds.split(",")
    met = True
    for seed in seeds:
        tag = f"{seed}-smoke" if given.smoke else seed
        run = results.get(f"train-{tag}") or results.add(
            f"train-{tag}",
            skipstone(
                "train", str(train), "--out", str(out / "runs"), "--seed", seed, *FLAGS, *extra
            ),
        )
        scored = results.get(f"test-{tag}") or results.add(
            f"test-{tag}", skipstone("evaluate", run["run"], str(test), "--split", "test")
        )
        accuracy = scored["metrics"]["accuracy"]
        print(f"seed {seed}: test {shown(accuracy)}, {run['wall_seconds'] / 60:.1f} min")
        met &= given.smoke or accuracy["value"] >= BAR
        met &= _int8(results, tag, run["run"], test, given.smoke)
    print("bar met" if met else f"bar NOT met: {BAR:.1%} for each seed")
    return 0 if met else 1


def _int8(results: Results, tag: str, run: str, test: Path, smoke: bool) -> bool:
    """The INT8 model against the float one on the same test pictures."""
    small = results.get(f"int8-{tag}") or results.add(
        f"int8-{tag}", skipstone("shrink", run, "--max-drop", "100" if smoke else "1")
    )
    for sentence in describe_receipt(small["receipt"]):
        print(f"    {sentence}")
    drop = results.get(f"drop-{tag}") or results.add(
        f"drop-{tag}", _paired_drop(run, small["bundle"], test)
    )
    value, high = 100 * drop["value"], 100 * drop["high"]
    print(
        f"    on the {drop['n']:,} test pictures INT8 loses {value:.2f} points, at most {high:.2f}"
    )
    return smoke or high <= BAR_DROP


def _paired_drop(run: str, small: str, test: Path) -> dict[str, float | int]:
    """Accuracy of the float network minus INT8's, paired by picture."""
    manifest = read_manifest(test)
    before, after = open_model(run, "torch"), open_model(small)
    accuracy = next(m for m in before.task.list_metrics() if m.name == "accuracy")
    first, second = before.evaluate(manifest).records, after.evaluate(manifest).records
    return paired_difference(accuracy, first, second, before.task).to_json()


def _halves(source: Path, out: Path) -> tuple[Path, Path]:
    """Training files in one folder and test files in another, so that training cannot see them."""
    train, test = out / "train-only", out / "test-only"
    for folder, prefix in ((train, "train"), (test, "t10k")):
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(source.glob(f"{prefix}-*")):
            if not (folder / file.name).exists():
                shutil.copy(file, folder / file.name)
    return train, test
