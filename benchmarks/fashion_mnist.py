"""Fashion-MNIST from scratch by a small residual network, the test files absent while training.

Bar: accuracy >= 93.5 % on the 10,000 test pictures within 30 minutes on two cores; of its INT8
model, the upper end of the paired interval of the drop <= 0.6 points.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.runs import Results, arguments_for, shown, skipstone

BAR, BAR_DROP = 0.935, 0.6
#: A mirrored shirt is a shirt: the one thing a user knows here that the data cannot tell.
FLAGS = ("--flip", "0.5")


def main(arguments: list[str]) -> int:
    given = arguments_for("fashion-mnist", __doc__).parse_args(arguments)
    if given.data is None:
        print("skipped: needs --data or SKIPSTONE_DATA")
        return 0
    out = Path(given.out)
    train, test = _halves(Path(given.data) / "fashion-mnist", out)
    results = Results(out)
    extra = ["--steps", "4"] if given.smoke else []
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
    print("bar met" if met else f"bar NOT met: {BAR:.1%} for each seed")
    return 0 if met else 1


def _halves(source: Path, out: Path) -> tuple[Path, Path]:
    """Training files in one folder and test files in another, so that training cannot see them."""
    train, test = out / "train-only", out / "test-only"
    for folder, prefix in ((train, "train"), (test, "t10k")):
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(source.glob(f"{prefix}-*")):
            if not (folder / file.name).exists():
                shutil.copy(file, folder / file.name)
    return train, test
