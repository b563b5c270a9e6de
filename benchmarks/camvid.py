"""Road scenes (CamVid, 11 classes, 480x360), judged on the user's val folder, scored once.

Bars: mean IoU >= 65 % within 45 minutes on two cores from the offline pretrained backbone; each
decoder within 2 points of the peer's same decoder (torchvision, segmentation_models_pytorch) on the
same backbone by the same schedule; INT8 within 0.5 points and >= 6 times faster than eager float32.

--part bar, int8, decoders or all; --flags "..." is added to every training (to try a recipe, or to
compare decoders sooner: --flags "--size 240").
SegNet has no peer in either package and is printed alone. Torchvision's FCN is FCN-32s, so ours is
trained as that for the comparison.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS, install
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

BAR = 0.65
MINUTES = 45
#: Points of mean IoU that a decoder may be below the peer's.
BEHIND = 2.0
#: INT8 may lose this many points, and has to be so many times as fast as eager float32.
INT8_DROP, INT8_FASTER = 0.5, 6.0
#: The bar's training, chosen on validation rows after three epochs of one seed: DeepLab v3+ (at an
#: output stride of 16) had a mean IoU of 54 % and U-Net 42 %, both with Dice, which is there for
#: classes of few pixels: by cross-entropy alone U-Net never answered poles and cyclists.
TRAINING = ("--head", "deeplabv3plus", "--loss", "cross_entropy_dice", "--budget", "38m")
#: What makes ours the peer's same decoder, where there is a choice.
SAME = {"fcn": ("--fcn-stride", "32")}
#: A network of all the strides that decoders ask for, as little as it can be.
SMOKE = ("--size", "96", "--model", "resnet18", "--width", "0.25", "--weights", "none")
#: SegNet's encoder has no weights offline; smaller, it fits the short schedule.
ALONE = {"segnet": ("--model", "vgg16_bn", "--width", "0.5", "--weights", "none")}


def parser() -> argparse.ArgumentParser:
    made = arguments_for("camvid", __doc__)
    made.set_defaults(seeds="0")
    made.add_argument("--part", default="all", choices=["all", "bar", "int8", "decoders"])
    made.add_argument("--epochs", default="6", help="of each decoder and its peer (default 6)")
    made.add_argument("--flags", default="", help="more flags for every training")
    return made


def main(arguments: list[str]) -> int:
    given = parser().parse_args(arguments)
    if (data := data_of(given)) is None:
        return skipped(NO_DATA)
    bench = Bench(given, data)
    met = True
    for seed in ["0"] if given.smoke else given.seeds.split(","):
        if given.part in ("all", "bar", "int8"):
            met &= bench.bar(seed)
        if given.part in ("all", "int8"):
            met &= bench.int8(seed)
        if given.part in ("all", "decoders"):
            met &= bench.decoders(seed)
    print("bars met" if met else "bars NOT met")
    return 0 if met else 1


class Bench:
    """The three parts, each measured once and kept."""

    def __init__(self, given: argparse.Namespace, data: Path) -> None:
        self.given = given
        self.data, self.out = data / "camvid", Path(given.out)
        self.results = Results(self.out)
        self.smoke = (*SHORT, *SMOKE) if given.smoke else ()

    def train(self, name: str, seed: str, *flags: str) -> dict[str, Any]:
        """A run's result; `name` and the flags are its key."""
        key = " ".join([name, f"seed-{seed}", *flags, *self.smoke])
        out = str(self.out / "runs")
        found = self.results.get(key)
        return found or self.results.add(
            key,
            skipstone("train", str(self.data), "--out", out, "--seed", seed, *flags, *self.smoke),
        )

    def bar(self, seed: str) -> bool:
        row = self._barred(seed)
        minutes = row["wall_seconds"] / 60
        print(f"seed {seed}: mean IoU {shown(row['metrics']['miou'])}, {minutes:.1f} min")
        met = row["metrics"]["miou"]["value"] >= BAR and minutes <= MINUTES
        return bool(self.given.smoke or met)

    def _barred(self, seed: str) -> dict[str, Any]:
        return self.train("bar", seed, *TRAINING, *shlex.split(self.given.flags))

    def int8(self, seed: str) -> bool:
        run = self._barred(seed)["run"]
        key = f"int8 {run}"
        allowed = "100" if self.given.smoke else str(INT8_DROP)
        small = self.results.get(key) or self.results.add(
            key, skipstone("shrink", run, "--max-drop", allowed)
        )
        for sentence in describe_receipt(small["receipt"]):
            print(f"    {sentence}")
        return bool(self.given.smoke or _int8_met(small["receipt"]))

    def decoders(self, seed: str) -> bool:
        if importlib.util.find_spec("segmentation_models_pytorch") is None:
            return not skipped("segmentation-models-pytorch is not installed", known=True)
        install(self.out / "plugin")
        length = [] if self.given.smoke else ["--epochs", str(self.given.epochs)]
        length += shlex.split(self.given.flags)
        heads = ["lraspp"] if self.given.smoke else list(PEERS)
        met = True
        for head in heads:
            both = [
                self.train(name, seed, "--head", name, *flags, *length)
                for name, flags in ((head, SAME.get(head, ())), (f"peer-{head}", ()))
            ]
            ours, peer = (row["metrics"]["miou"] for row in both)
            gap = 100 * (ours["value"] - peer["value"])
            minutes = " and ".join(f"{row['wall_seconds'] / 60:.1f}" for row in both)
            print(f"{head}: {shown(ours)}, the peer's {shown(peer)}: {gap:+.2f}; {minutes} min")
            met &= self.given.smoke or gap >= -BEHIND
        for head, flags in ({} if self.given.smoke else ALONE).items():
            row = self.train(head, seed, "--head", head, *flags, *length)
            print(f"{head}: {shown(row['metrics']['miou'])}, {row['wall_seconds'] / 60:.1f} min")
        return met


def _int8_met(receipt: dict[str, Any]) -> bool:
    drop = (receipt["test"] or receipt["val"])["drop"]["value"]
    faster = max(
        (
            row["value"] or 0.0  # None: the control was not steady
            for row in receipt["latency"]["ratios"]
            if row["slow"].startswith("torch")
        ),
        default=0.0,
    )
    return bool(receipt["accepted"] and drop <= INT8_DROP and faster >= INT8_FASTER)
