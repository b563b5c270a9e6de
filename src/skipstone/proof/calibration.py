"""Did calibration help? Expected calibration error before and after, on data it did not see.

The temperature is fitted on the select part (`tasks.calibration`); what it did is measured here on
the claim part, with intervals, beside the error that a perfectly calibrated network would show by
chance on as many samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skipstone.errors import UsageError
from skipstone.proof.intervals import Estimate, Groups, interval
from skipstone.tasks.base import Record, Task
from skipstone.tasks.metrics import bin_of, reliability
from skipstone.tasks.records import Table
from skipstone.words import counted

#: Where records keep what was claimed: of the answer, or of every tag.
_CONFIDENCES = ("probability", "probabilities")


@dataclass(frozen=True, slots=True)
class Gain:
    """What calibration did.

    Args:
        before, after: ECE on the same samples.
        chance: ECE that a perfectly calibrated network shows on average on these confidences.
        halved: whether `after` is at most half of `before`.
        reason: one sentence for people, in particular why it is not halved.
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
    """Whether `calibration_gain` has something to say of such records."""
    known = any(metric.name == "ece" for metric in task.metrics())
    return known and bool(records) and any(name in records[0] for name in _CONFIDENCES)


def calibration_gain(
    before: Sequence[Record],
    after: Sequence[Record],
    task: Task,
    groups: Groups | None = None,
    seed: int = 0,
) -> Gain:
    """Compare records made without and with the temperature, of a task with the metric "ece" and
    records with "probability" or "probabilities".

    Raises:
        UsageError: the task has no calibration error.
    """
    metric = next((metric for metric in task.metrics() if metric.name == "ece"), None)
    if metric is None or not has_confidence(task, before):
        raise UsageError(f"task {task.name!r} has no calibration error to compare.")
    was = interval(metric, before, task, groups, seed)
    now = interval(metric, after, task, groups, seed)
    name = next(name for name in _CONFIDENCES if name in after[0])
    chance = ece_by_chance(Table.of(after).column(name).ravel(), seed=seed)
    halved = now.value <= was.value / 2
    figures = f"ECE {was.value:.4f} before, {now.value:.4f} after, {chance:.4f} by chance alone"
    if halved:
        reason = f"{figures}: at most half."
    elif now.value > max(was.value, 1.5 * chance):
        reason = (
            f"{figures}: the temperature, fitted to other rows, does harm here; they were too few, "
            "or the two parts of the data differ."
        )
    elif was.value < 2 * chance:
        reason = (
            f"{figures}: it was calibrated already, as far as {counted(was.n, 'sample')} can tell; "
            "halving is below what chance leaves."
        )
    elif now.value <= 1.5 * chance:
        few = counted(now.n, "sample")
        reason = f"{figures}: what is left is no more than {few} may give by chance."
    else:
        reason = (
            f"{figures}: one temperature does not fit all; the network is surer than right in some "
            "ranges and less sure in others, or the two parts of the data differ."
        )
    return Gain(was, now, chance, halved, reason)


def ece_by_chance(confidence: np.ndarray, *, seed: int = 0, draws: int = 200) -> float:
    """Mean ECE where each answer of confidence c is right with probability exactly c.

    ECE is biased upwards: even perfect probabilities show an error of about
    sqrt(bins / samples) (Kumar et al. 2019, sec. 5; Roelofs et al. 2022).
    """
    rng = np.random.default_rng(seed)
    binned = bin_of(confidence)
    return float(
        np.mean(
            [
                reliability(
                    confidence, rng.random(len(confidence)) < confidence, binned=binned
                ).ece()
                for _ in range(draws)
            ]
        )
    )
