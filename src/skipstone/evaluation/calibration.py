"""Expected calibration error before and after temperature scaling, on test rows.

The temperature is fitted on the validation rows (`tasks.calibration`). Its effect is measured here
on the test rows, with intervals, and compared with the error that a perfectly calibrated network
shows by chance on as many samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skipstone.core.errors import UsageError
from skipstone.core.formatting import pluralize
from skipstone.evaluation.intervals import Estimate, Groups, interval
from skipstone.tasks.base import Record, Task
from skipstone.tasks.metrics import bin_reliability, confidence_bins
from skipstone.tasks.records import RecordTable

#: Fields of records with the confidence: of the prediction, or of every tag.
_CONFIDENCES = ("probability", "probabilities")


@dataclass(frozen=True, slots=True)
class CalibrationGain:
    """The effect of calibration.

    Args:
        before, after: ECE on the same samples.
        chance: mean ECE of a perfectly calibrated network with these confidences.
        halved: whether `after` is at most half of `before`.
        reason: one sentence for the report, in particular why it is not halved.
    """

    before: Estimate
    after: Estimate
    chance: float
    halved: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "chance": self.chance,
            "halved": self.halved,
            "reason": self.reason,
        }


def has_confidence(task: Task, records: Sequence[Record]) -> bool:
    """Whether `calibration_gain` supports such records."""
    has_ece = any(metric.name == "ece" for metric in task.list_metrics())
    return has_ece and bool(records) and any(name in records[0] for name in _CONFIDENCES)


def calibration_gain(
    before: Sequence[Record],
    after: Sequence[Record],
    task: Task,
    groups: Groups | None = None,
    seed: int = 0,
) -> CalibrationGain:
    """Compare records made without and with the temperature. The task has the metric "ece", the
    records "probability" or "probabilities".

    Raises:
        UsageError: the task has no calibration error.
    """
    metric = next((metric for metric in task.list_metrics() if metric.name == "ece"), None)
    if metric is None or not has_confidence(task, before):
        raise UsageError(f"task {task.name!r} has no calibration error to compare.")
    ece_before = interval(metric, before, task, groups, seed)
    ece_after = interval(metric, after, task, groups, seed)
    name = next(name for name in _CONFIDENCES if name in after[0])
    chance = expected_ece_by_chance(
        RecordTable.from_records(after).get_column(name).ravel(), seed=seed
    )
    halved = ece_after.value <= ece_before.value / 2
    samples = pluralize(ece_after.n, "sample")
    figures = (
        f"ECE {ece_before.value:.4f} before, {ece_after.value:.4f} after, {chance:.4f} by chance"
    )
    if halved:
        reason = f"{figures}: at most half."
    elif ece_after.value > max(ece_before.value, 1.5 * chance):
        reason = (
            f"{figures}: the temperature, fitted to the validation rows, makes it worse here; they "
            "are too few, or validation and test rows differ."
        )
    elif ece_before.value < 2 * chance:
        reason = (
            f"{figures}: the network was calibrated already, as far as {samples} can show; half of "
            "the error is less than chance."
        )
    elif ece_after.value <= 1.5 * chance:
        reason = f"{figures}: the remaining error of {samples} may be chance."
    else:
        reason = (
            f"{figures}: one temperature does not fit all; the network is overconfident in some "
            "ranges and underconfident in others, or validation and test rows differ."
        )
    return CalibrationGain(ece_before, ece_after, chance, halved, reason)


def expected_ece_by_chance(confidence: np.ndarray, *, seed: int = 0, draws: int = 200) -> float:
    """Mean ECE if each prediction of confidence c is correct with probability exactly c.

    ECE is biased upwards: perfect probabilities have an ECE of about sqrt(bins / samples) (Kumar et
    al. 2019, sec. 5; Roelofs et al. 2022).
    """
    rng = np.random.default_rng(seed)
    binned = confidence_bins(confidence)
    return float(
        np.mean(
            [
                bin_reliability(
                    confidence, rng.random(len(confidence)) < confidence, binned=binned
                ).expected_calibration_error()
                for _ in range(draws)
            ]
        )
    )
