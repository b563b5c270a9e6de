"""Scores: every metric of a task with its 95 % interval, on a part of the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from skipstone.core.errors import DataError, UsageError
from skipstone.core.events import emit_note, emit_warning
from skipstone.core.formatting import pluralize
from skipstone.core.strict_json import JsonFields
from skipstone.data.manifest import Manifest
from skipstone.evaluation.intervals import (
    Estimate,
    Groups,
    interval,
    metric_intervals,
    paired_difference,
)
from skipstone.inference.predictor import Evaluation, Predictor
from skipstone.tasks.base import (
    ErrorSummary,
    Metric,
    Record,
    RecordTable,
    Task,
    headline_metric,
)
from skipstone.tasks.metrics import bin_reliability, confidence_bins

#: Fields of records with the confidence: of the prediction, or of every tag.
_CONFIDENCES = ("probability", "probabilities")


@dataclass(frozen=True, slots=True)
class CalibrationGain(JsonFields):
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
    """Compare records made without and with the temperature, which was fitted on other rows. The
    task has the metric "ece", the records "probability" or "probabilities".

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


class Skill(StrEnum):
    """How a model compares with always predicting the most frequent class."""

    TRAINED = "trained"
    UNCLEAR = "too few samples to tell"
    NOT_TRAINED = "not trained"


#: Below this share of the way from always predicting the most frequent class to no errors, a model
#: counts as not trained.
MIN_SKILL = 0.1


def judge_skill(estimate: Estimate | None, majority: float | None) -> Skill:
    """Compare the headline metric, a share of 1, with that of the most frequent class."""
    if estimate is None or majority is None:
        return Skill.TRAINED
    if estimate.value - majority < MIN_SKILL * (1 - majority):
        return Skill.NOT_TRAINED
    return Skill.UNCLEAR if estimate.low <= majority else Skill.TRAINED


@dataclass(frozen=True)
class Scores:
    """The metrics of one evaluation.

    Args:
        role: "train", "val", "test", "folds" (cross-validation), or the name of a split of other
            data.
        split: description of these rows for people.
        evaluation: the records that the metrics were computed from.
        headline: name of the metric that is shown first.
        errors: the errors for people; None if the task has no such words.
        calibration: effect of the temperature on these rows; None without calibration.
    """

    role: str
    split: str
    seed: int
    metrics: dict[str, Estimate]
    evaluation: Evaluation
    headline: str
    errors: ErrorSummary | None = None
    calibration: CalibrationGain | None = None

    @property
    def skill(self) -> Skill:
        return judge_skill(
            self.metrics.get(self.headline), None if self.errors is None else self.errors.majority
        )

    @property
    def records(self) -> list[Record]:
        return self.evaluation.records

    def to_json(self) -> dict[str, Any]:
        return {
            "role": self.role,
            "split": self.split,
            "unreadable": len(self.evaluation.failures),
            "seed": self.seed,
            "metrics": {name: value.to_json() for name, value in self.metrics.items()},
            "errors": None if self.errors is None else asdict(self.errors),
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
    if split is None:
        split = describe_part(part, role)
        if evaluation.failures:
            split += f"; {len(evaluation.failures):,} of {pluralize(len(part), 'row')} unreadable"
    estimates = metric_intervals(evaluation.records, task, evaluation.groups, seed)
    metrics = {name: value for name, value in estimates.items() if math.isfinite(value.value)}
    return Scores(
        role,
        split,
        seed,
        metrics,
        evaluation,
        task.headline,
        task.summarize_errors(evaluation.records) if evaluation.records else None,
    )


def limit_unreadable(evaluation: Evaluation, rows: int, allowed: int | None) -> str:
    """ "; 3 of 40 rows unreadable", for the description of what was scored; "" if all were read.

    Args:
        allowed: rows that may be unreadable; None for any number.

    Raises:
        DataError: more rows than that cannot be read.
    """
    failures = evaluation.failures
    count = f"{len(failures):,} of {pluralize(rows, 'row')}"
    if allowed is not None and len(failures) > allowed:
        raise DataError(
            f"{count} cannot be read, more than --max-bad allows ({allowed:,}). The first: "
            f"{failures[0].name}: {failures[0].error}",
            hint="Repair or remove these files, or allow more: --max-bad SHARE",
        )
    return f"; {count} unreadable" if failures else ""


def require_readable(evaluation: Evaluation, rows: int, role: str, allowed: int = 0) -> None:
    """Warn of rows that were readable when the work began, and no longer are; DataError if they are
    more than `allowed`, or all: what is left would be another test."""
    if not evaluation.failures:
        return
    first = evaluation.failures[0]
    sentence = (
        f"{len(evaluation.failures):,} of {pluralize(rows, f'{role} row')} can no longer be read "
        f"(the first: {first.name}: {first.error}), so they are not scored."
    )
    if len(evaluation.failures) <= allowed and evaluation.records:
        emit_warning(sentence)
        return
    raise DataError(
        f"{sentence} --max-bad allows {allowed:,}.",
        hint="Restore the files and repeat the same command.",
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


#: Greatest number of samples to try on, and least number of samples (or groups). By chance all of
#: five samples gain in 1/32 of cases, more than 2.5 %: five cannot show a certain gain.
MAX_SAMPLES, MIN_SAMPLES = 24, 6


def select_postprocessing(predictor: Predictor, val_rows: Manifest, *, seed: int) -> dict[str, Any]:
    """The predictor's post-processing, plus the task's optional one if its gain is certain.

    Each is tried separately on the same samples of `val_rows`, the validation rows. It is used if the
    lower end of the paired 95 % interval of its gain in the headline metric is above 0. The
    measurements are stored as post["tried"]. With fewer than LEAST samples nothing is tried.
    """
    task, post = predictor.task, dict(predictor.post)
    candidates = task.optional_postprocessors()
    if not candidates or not len(val_rows):
        return post
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(val_rows))[:MAX_SAMPLES])
    sample = val_rows.take_rows(rows)
    groups = sample.column_values("group")
    if groups.count(None) + len(set(groups) - {None}) < MIN_SAMPLES:
        emit_note(
            f"Not tried, too few validation rows: post-processing by {', '.join(candidates)}."
        )
        return post
    metric = headline_metric(task)
    baseline = predictor.evaluate(sample)
    if not baseline.records:
        return post
    gains: dict[str, Any] = {}
    additions: dict[str, Any] = {}
    for name, addition in candidates.items():
        candidate = Predictor(predictor.input, predictor.runtime, task, {**post, **addition})
        records = candidate.evaluate(sample).records
        gain = paired_difference(metric, records, baseline.records, task, baseline.groups, seed)
        is_better = gain.low > 0 if metric.higher_is_better else gain.high < 0
        gains[name] = gain.to_json()
        additions |= dict(addition) if is_better else {}
        emit_note(
            f"Post-processing {name}: {100 * gain.value:+.2f} points [{100 * gain.low:+.2f}, "
            f"{100 * gain.high:+.2f}] of {metric.title} on {gain.n} validation rows; "
            + ("used." if is_better else "not used.")
        )
    return {**post, **additions, "tried": gains}
