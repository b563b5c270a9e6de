"""Scores: every metric of a task with its interval, on a named part of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from skipstone.data.manifest import Manifest
from skipstone.proof.calibration import Gain, calibration_gain, has_confidence
from skipstone.proof.intervals import Estimate, intervals
from skipstone.runtime.predictor import Evaluation, Predictor
from skipstone.tasks.base import Metric, Record, Task


@dataclass(frozen=True)
class Scores:
    """Args:
    role: "fit", "select" or "claim", or the name of a split of other data.
    split: how to name that part to a person ("validation folder").
    evaluation: what the metrics are of.
    calibration: what the temperature did there; None where nothing was calibrated.
    """

    role: str
    split: str
    seed: int
    metrics: dict[str, Estimate]
    evaluation: Evaluation
    calibration: Gain | None = None

    @property
    def records(self) -> list[Record]:
        return self.evaluation.records

    def to_json(self) -> dict[str, Any]:
        return {
            "role": self.role,
            "split": self.split,
            "seed": self.seed,
            "metrics": {name: value.to_json() for name, value in self.metrics.items()},
            "calibration": None if self.calibration is None else self.calibration.to_json(),
        }


def score(task: Task, evaluation: Evaluation, part: Manifest, *, role: str, seed: int) -> Scores:
    """All metrics with intervals; by group where the data has groups. A figure over nothing (of a
    class that this part does not show) is left out."""
    found = intervals(evaluation.records, task, evaluation.groups, seed)
    metrics = {name: value for name, value in found.items() if math.isfinite(value.value)}
    return Scores(role, describe_part(part, role), seed, metrics, evaluation)


def calibration_of(
    predictor: Predictor, part: Manifest, evaluation: Evaluation, *, role: str, seed: int
) -> Gain | None:
    """What the temperature changed on `part`, which is scored once more without it. None on select:
    it was fitted to those rows.

    `evaluation` is what `predictor` says of the same part.
    """
    task = predictor.task
    if role == "select" or "temperature" not in predictor.post:
        return None
    if not has_confidence(task, evaluation.records):
        return None
    plain = Predictor(
        predictor.input, predictor.runtime, task, {**predictor.post, "temperature": 1}
    )
    before = plain.evaluate(part).records
    return calibration_gain(before, evaluation.records, task, evaluation.groups, seed)


def in_points(metric: Metric, gap: Estimate) -> tuple[str, int]:
    """A paired difference as "+1.2 points (-0.3 to +2.6)", more being better, and which of the two
    is better for certain: 1 the first, -1 the other, 0 neither by more than chance."""
    sign = 1 if metric.higher_is_better else -1
    low, high = sorted((100 * sign * gap.low, 100 * sign * gap.high))
    words = f"{100 * sign * gap.value:+.1f} points ({low:+.1f} to {high:+.1f})"
    return words, 1 if low > 0 else -1 if high < 0 else 0


def describe_part(part: Manifest, role: str) -> str:
    """How to name the part to a person: the user's split, or how the rows came to be in it."""
    given = {name for name in part.column("split") if name}
    if role == "claim" and len(given) == 1 and "train" not in given:
        return f"the {given.pop()} split of the data, scored once"
    if role == "claim":
        return "rows held out of the data for this, scored once"
    if role == "select":
        return "the rows that also decided when to stop (too little data to hold out more)"
    return role
