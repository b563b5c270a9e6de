"""Every program of a model against its network in float32, on at least 1,000 real photos; or, with
--set camvid, on all of its pictures, pixel by pixel.

Bar: float32 programs differ by at most 1e-4 in probability and 1e-4 of the logits' scale, and no
answer (no pixel) flips outside that margin; one by one and in batches. Lower precisions are printed
as they are. Without --model, a network of pretrained weights is fine-tuned for a few steps first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.agreement import measure_agreement
from benchmarks.runs import (
    NO_DATA,
    SHORT,
    SMALL,
    Results,
    arguments_for,
    data_of,
    skipped,
    skipstone,
)
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.inference.programs import FLOAT32_TOLERANCE

LEAST = 1000


def parser() -> argparse.ArgumentParser:
    made = arguments_for("parity", __doc__)
    made.add_argument("--model", help="a run or bundle (default: a few steps of training)")
    made.add_argument("--files", type=int, default=LEAST, help="how many (default 1000)")
    made.add_argument("--set", default="clothing", choices=["clothing", "camvid"])
    return made


def main(arguments: list[str]) -> int:
    given = parser().parse_args(arguments)
    if (data := data_of(given)) is None:
        return skipped(NO_DATA)
    photos, out = data / given.set, Path(given.out) / given.set
    results = Results(out)
    model = given.model
    if model is None:
        length = (*SHORT, *SMALL) if given.smoke else ("--steps", "8")
        key = " ".join(("train", *length))
        made = results.get(key) or results.add(
            key, skipstone("train", str(photos), "--out", str(out / "runs"), *length)
        )
        model = made["run"]
    every = read_manifest(photos, ReadOptions()).list_sources()
    count = 8 if given.smoke else min(given.files, len(every))
    step = len(every) / count
    rows = measure_agreement(model, [every[int(place * step)] for place in range(count)])
    exact = [row for row in rows if row.name.endswith("-f32")]
    for row in rows:
        results.add(f"{row.name}-{row.batch}", row.to_json())
        print(
            f"{row.name}, batch {row.batch}, {row.n:,} photos: {row.max_probability:.1e} in "
            f"probability, {row.max_relative:.1e} in logits, {row.flips} flips and "
            f"{row.near_ties} near ties"
            + ("" if row.share is None else f", {row.share:.3%} of all pixels changed")
            + (f"; {row.problem}" if row.problem else "")
        )
    met = bool(exact) and all(
        row.max_probability <= FLOAT32_TOLERANCE.probability
        and row.max_relative <= (FLOAT32_TOLERANCE.relative or 0)
        and row.flips == 0
        and not row.share
        for row in exact
    )
    met = met and (given.smoke or exact[0].n >= min(LEAST, given.files, len(every)))
    print("bar met" if met else "bar NOT met: 1e-4, 1e-4, no flips")
    return 0 if met else 1
