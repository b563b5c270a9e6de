"""95 % confidence intervals of metrics, over the sampling of the data.

Proportions get Wilson's score interval, differences of paired proportions Tango's, calibration
errors an inverted test, all others the BCa bootstrap over records, and their paired differences the
bootstrap's bias-corrected normal interval. Samples in groups (one patient, one scene, one burst)
are resampled by group. `tests/evaluation/test_coverage.py` checks the coverage of each by simulation.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skipstone.core.errors import UsageError
from skipstone.evaluation.bootstrap import (
    RESAMPLES,
    bootstrap_intervals,
    paired_bootstrap,
    vectorize_statistic,
)
from skipstone.evaluation.proportions import (
    CONFIDENCE,
    NORMAL_QUANTILE,
    student_quantile,
    tango_interval,
    wilson_interval,
)
from skipstone.tasks.base import Metric, Record, Task
from skipstone.tasks.records import RecordTable

#: distance, in standard errors, of the assumed true means from the observed ones, away from 0; with
#: it intervals of calibration errors cover simulated truths in 94 to 98 % (tests/proof)
_SPREAD = 0.5

Groups = Sequence[Hashable]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, its 95 % interval, and the number of samples.

    An unbounded end (for the loss of a single sample) is infinite; in JSON, null.
    """

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, Any]:
        ends = {"low": self.low, "high": self.high}
        bounds = {name: None if math.isinf(end) else end for name, end in ends.items()}
        return {"value": self.value, **bounds, "n": self.n}


def interval(
    metric: Metric,
    records: Sequence[Record],
    task: Task,
    groups: Groups | None = None,
    seed: int = 0,
) -> Estimate:
    """One metric with its interval; use `intervals` for several.

    Args:
        groups: the group of each record, if samples are not independent; a record with the group
            None is a group of its own.

    Raises:
        UsageError: no records.
    """
    return metric_intervals(records, task, groups, seed, metrics=(metric,))[metric.name]


def metric_intervals(
    records: Sequence[Record],
    task: Task,
    groups: Groups | None = None,
    seed: int = 0,
    *,
    metrics: Sequence[Metric] | None = None,
) -> dict[str, Estimate]:
    """Every metric of `task`, or of `metrics`, with its interval, from one set of resamples."""
    selected = task.list_metrics() if metrics is None else metrics
    table = RecordTable.from_records(records)
    n = len(table)
    if n == 0:
        raise UsageError("no scored samples, so there is nothing to estimate.")
    code = _codes(groups, n)
    values = task.compute_metrics(table)
    estimates: dict[str, Estimate] = {}
    for metric in selected:
        if metric.kind == "proportion":
            assert metric.field is not None, f"{metric.name}: a proportion names its field"
            low, high = _proportion(table.get_column(metric.field), code)
            estimates[metric.name] = Estimate(values[metric.name], low, high, n)
        elif metric.kind == "calibration":
            low, high = calibration_error_interval(task.calibration_terms(table), code, seed=seed)
            estimates[metric.name] = Estimate(
                values[metric.name], low, min(high, metric.max_value), n
            )
    rest = [metric for metric in selected if metric.name not in estimates]
    if rest:

        def figures(weight: np.ndarray) -> np.ndarray:
            sample = task.compute_metrics(table.with_weights(weight))
            return np.array([sample[metric.name] for metric in rest])

        low_high = bootstrap_intervals(vectorize_statistic(figures), n, code, seed=seed)
        for metric, (low, high) in zip(rest, low_high, strict=True):
            low = 0.0 if low == -math.inf else low
            high = metric.max_value if high == math.inf else high
            estimates[metric.name] = Estimate(values[metric.name], low, high, n)
    return {metric.name: estimates[metric.name] for metric in selected}


def paired_difference(
    metric: Metric,
    records_a: Sequence[Record],
    records_b: Sequence[Record],
    task: Task,
    groups: Groups | None = None,
    seed: int = 0,
    *,
    task_b: Task | None = None,
) -> Estimate:
    """metric(a) - metric(b) on the same samples, with its interval: the drop from a to b.

    Records are matched by "id" if they have one, else by position; groups follow `records_a`.

    Args:
        task_b: the task of `records_b`, if their model has other classes; None for `task`.

    Raises:
        UsageError: the two were not scored on the same samples, or the metric is a calibration
            error. Noise increases both such errors, more so the smaller the true one, so their
            difference has an unknown bias; resampling covers the truth in as few as 40 %.
    """
    if metric.kind == "calibration":
        raise UsageError(
            f"a difference in {metric.title} has no interval with the stated coverage; compare the "
            "intervals of the two."
        )
    records_b = _paired(records_a, records_b)
    a, b = RecordTable.from_records(records_a), RecordTable.from_records(records_b)
    n = len(a)
    if n == 0:
        raise UsageError("no scored samples, so there is nothing to compare.")

    other = task if task_b is None else task_b

    def gap(weight: np.ndarray) -> np.ndarray:
        first, second = (
            task.compute_metrics(a.with_weights(weight)),
            other.compute_metrics(b.with_weights(weight)),
        )
        return np.array([first[metric.name] - second[metric.name]])

    value = float(gap(np.ones(n))[0])
    code = _codes(groups, n)
    if metric.kind == "proportion" and code is None and metric.field is not None:
        right_a, right_b = a.get_column(metric.field), b.get_column(metric.field)
        if np.isin(np.concatenate([right_a, right_b]), (0.0, 1.0)).all():
            only_a = int((right_a > right_b).sum())
            only_b = int((right_b > right_a).sum())
            low, high = tango_interval(only_a, only_b, n)
            return Estimate(value, low, high, n)
    low, high = paired_bootstrap(vectorize_statistic(gap), n, code, seed=seed)
    low, high = max(low, -metric.max_value), min(high, metric.max_value)
    return Estimate(value, min(low, value), max(high, value), n)


def calibration_error_interval(
    terms: np.ndarray,
    group_index: np.ndarray | None = None,
    *,
    seed: int = 0,
    draws: int = RESAMPLES,
) -> tuple[float, float]:
    """Interval of sum_b |mean of terms[:, b]|, such as a calibration error. terms: (n, bins).

    Noise always increases such a sum, and a bootstrap adds it twice, so percentiles rarely cover
    the truth. Instead a test is inverted. Noise as in the data (normal, with the bins' covariance
    over samples or groups) is added to assumed true means. A value is in the interval if the
    observed sum is not among the lowest or highest 2.5 % of such sums. The assumed means are
    multiples of the observed ones for the lower end, and for the upper end of the observed ones
    moved away from 0 by _SPREAD standard errors: noise adds less to means that are spread evenly
    over bins, and the true spread is unknown. The interval starts at 0 if noise alone explains the
    sum. A single sample or group has no upper end.
    """
    n = len(terms)
    gap = terms.mean(axis=0)
    excess = terms - gap
    if group_index is not None:
        groups = np.zeros((int(group_index.max()) + 1, terms.shape[1]))
        np.add.at(groups, group_index, excess)
        excess = groups
    units = len(excess)
    if units == 1:
        return 0.0, math.inf
    covariance = excess.T @ excess / n**2 * (units / (units - 1))
    size, axes = np.linalg.eigh(covariance)
    root = axes * np.sqrt(np.maximum(size, 0))
    noise = np.random.default_rng(seed).normal(size=(draws, terms.shape[1])) @ root.T
    observed = float(np.abs(gap).sum())
    tail = (1 - CONFIDENCE) / 2
    if observed == 0:
        return 0.0, float(np.quantile(np.abs(noise).sum(axis=1), 1 - tail))
    even = np.sign(gap) * (np.abs(gap) + _SPREAD * np.sqrt(np.diagonal(covariance)))
    low = _supposed_sum(gap, noise, observed, tail)
    high = _supposed_sum(even, noise, observed, 1 - tail)
    return min(low, observed), max(high, observed)


def _supposed_sum(shape: np.ndarray, noise: np.ndarray, observed: float, share: float) -> float:
    """The sum of |scale * shape| for which `share` of the noisy sums are at least `observed`."""
    unit = shape / np.abs(shape).sum()

    def share_above(total: float) -> float:
        return float((np.abs(total * unit + noise).sum(axis=1) >= observed).mean())

    if share_above(0.0) >= share:
        return 0.0
    low, high = 0.0, observed
    while share_above(high) < share:
        high *= 2
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if share_above(middle) < share else (low, middle)
    return (low + high) / 2


def _proportion(right: np.ndarray, code: np.ndarray | None) -> tuple[float, float]:
    """Wilson's interval; with groups, on the effective number of samples.

    The effective number is n / design effect (Korn and Graubard 1998). The design effect is the
    variance of a mean over groups, divided by that over independent samples; few groups have t in
    place of z. Dean and Pagano (2015) find this best for clustered data. If all samples are equal,
    the correlation within groups is unknown, and each group counts as one sample.
    """
    n, total = len(right), float(right.sum())
    if code is None:
        return wilson_interval(total, n)
    groups = int(code.max()) + 1
    share = total / n
    if share in (0.0, 1.0) or groups == 1:
        return wilson_interval(share * groups, groups)
    excess = np.bincount(code, weights=right - share)
    variance = groups / (groups - 1) * float((excess**2).sum()) / n**2
    effect = max(variance / (share * (1 - share) / n), 1.0)
    correction = (NORMAL_QUANTILE / student_quantile(groups - 1)) ** 2
    effective = n / effect * correction
    return wilson_interval(share * effective, effective)


def _codes(groups: Groups | None, n: int) -> np.ndarray | None:
    """(n,): group numbers from 0, a new one for each group None; None if no two records share a
    group."""
    if groups is None:
        return None
    if len(groups) != n:
        raise UsageError(f"{len(groups)} groups for {n} records; give one group per record.")
    if all(group is None for group in groups):
        return None
    numbers: dict[Hashable, int] = {}
    keys = [("alone", row) if group is None else group for row, group in enumerate(groups)]
    code = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
    return code if len(numbers) < n else None


def _paired(records_a: Sequence[Record], records_b: Sequence[Record]) -> Sequence[Record]:
    """`records_b` in the order of `records_a`."""
    if len(records_a) != len(records_b):
        raise UsageError(
            f"{len(records_a)} and {len(records_b)} samples cannot be paired; score both models "
            "on the same data."
        )
    if not records_a or "id" not in records_a[0]:
        return records_b
    by_id = {record["id"]: record for record in records_b}
    missing = [record["id"] for record in records_a if record["id"] not in by_id]
    if missing or len(by_id) < len(records_b):
        raise UsageError(
            f"the two were not scored on the same samples: {len(missing)} of {len(records_a)} "
            "ids differ."
        )
    return [by_id[record["id"]] for record in records_a]
