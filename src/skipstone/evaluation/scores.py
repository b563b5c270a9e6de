"""Scores: every metric of a task with its 95 % interval, on a part of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from skipstone.data.manifest import Manifest
from skipstone.evaluation.calibration import CalibrationGain, calibration_gain, has_confidence
from skipstone.evaluation.intervals import Estimate, metric_intervals
from skipstone.inference.predictor import Evaluation, Predictor
from skipstone.tasks.base import Metric, Record, Task


@dataclass(frozen=True)
class Scores:
    """The metrics of one evaluation.

    Args:
        role: "train", "val" or "test", or the name of a split of other data.
        split: description of these rows for people.
        evaluation: the records that the metrics were computed from.
        calibration: effect of the temperature on these rows; None without calibration.
    """

    role: str
    split: str
    seed: int
    metrics: dict[str, Estimate]
    evaluation: Evaluation
    calibration: CalibrationGain | None = None

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


def compute_scores(
    task: Task,
    evaluation: Evaluation,
    part: Manifest,
    *,
    role: str,
    seed: int,
    split: str | None = None,
) -> Scores:
    """All metrics with intervals, over groups if the data has groups. Undefined metrics (of a class
    without rows in this part) are left out.

    Args:
        split: description of the rows for people; by default made from the role.
    """
    estimates = metric_intervals(evaluation.records, task, evaluation.groups, seed)
    metrics = {name: value for name, value in estimates.items() if math.isfinite(value.value)}
    return Scores(
        role, describe_part(part, role) if split is None else split, seed, metrics, evaluation
    )


def measure_calibration_gain(
    predictor: Predictor, part: Manifest, evaluation: Evaluation, *, role: str, seed: int
) -> CalibrationGain | None:
    """Effect of the temperature on `part`, which is scored again without it. None on the
    validation rows, which the temperature was fitted to.

    `evaluation` is the one by `predictor` on the same part.
    """
    task = predictor.task
    if role == "val" or "temperature" not in predictor.post:
        return None
    if not has_confidence(task, evaluation.records):
        return None
    uncalibrated = Predictor(
        predictor.input, predictor.runtime, task, {**predictor.post, "temperature": 1}
    )
    before = uncalibrated.evaluate(part).records
    return calibration_gain(before, evaluation.records, task, evaluation.groups, seed)


def format_difference(metric: Metric, gap: Estimate) -> tuple[str, int]:
    """A paired difference as "+1.2 points (-0.3 to +2.6)", with a sign so that more is better; and
    which model is significantly better: 1 the first, -1 the second, 0 neither."""
    sign = 1 if metric.higher_is_better else -1
    low, high = sorted((100 * sign * gap.low, 100 * sign * gap.high))
    text = f"{100 * sign * gap.value:+.1f} points ({low:+.1f} to {high:+.1f})"
    return text, 1 if low > 0 else -1 if high < 0 else 0


def describe_part(part: Manifest, role: str) -> str:
    """Description of the rows for people: the user's split, or how they were chosen."""
    splits = {name for name in part.column_values("split") if name}
    if role == "test" and len(splits) == 1 and "train" not in splits:
        return f"the {splits.pop()} split of the data, scored once"
    if role == "test":
        return "test rows held out of the data, scored once"
    if role == "val":
        return "the validation rows, which also chose when to stop (too little data for a test set)"
    return role
