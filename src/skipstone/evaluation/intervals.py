"""95 % confidence intervals of metrics, over the sampling of the data.

Proportions get Wilson's score interval, means over classes the BCa bootstrap widened by the score
intervals of the classes (`class_mean_interval`), differences of paired proportions Tango's, calibration
errors an inverted test, all others the BCa bootstrap over records, and their paired differences the
bootstrap's bias-corrected normal interval. Samples in groups (one patient, one scene, one burst)
are resampled by group. `tests/evaluation/test_coverage.py` checks the coverage of each by simulation.

Intervals from few units are too narrow for two reasons: the variance of resamples of n units is
only (n - 1) / n of the true one, and percentiles ignore that the spread itself is estimated. So the
bootstrap uses Hesterberg's expanded percentiles (2015, "What Teachers Should Know About the
Bootstrap", The American Statistician 69:371-386, section on expanding): Phi(-sqrt(n / (n - 1)) * t)
with Student's t at n - 1 degrees of freedom in place of 2.5 %. Here n is the effective number of
units (`_quantile`), which is less than the number drawn if a few units carry most of the variance.
If all resamples have the same value, their spread is unknown, not 0: a score interval for as many
units is used instead. The interval of a single unit is unbounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from skipstone.core.errors import UsageError
from skipstone.core.strict_json import JsonFields
from skipstone.tasks.base import Metric, Record, RecordTable, Task

RESAMPLES = 1000

#: jackknife blocks at most, for the acceleration
_BLOCKS = 200

#: lower bound of the degrees of freedom; below it t intervals are practically unbounded
_LEAST_FREEDOM = 4.0

#: weights in memory at a time
_CHUNK_VALUES = 4_000_000

#: smaller differences of resamples are rounding errors
_ROUNDING = 1e-12

#: the interval of a single unit
_UNBOUNDED = (-math.inf, math.inf)

#: weights (B, n), how often each of n samples counts -> values (B, M)
Statistics = Callable[[np.ndarray], np.ndarray]


def vectorize_statistic(figure: Callable[[np.ndarray], np.ndarray]) -> Statistics:
    """Vectorises a function of one resample, weights (n,) -> values (M,)."""
    return lambda weights: np.array([figure(weight) for weight in weights])


def bootstrap_intervals(
    figures: Statistics,
    n: int,
    group_index: np.ndarray | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[tuple[float, float]]:
    """BCa intervals (Efron 1987) of several statistics at once.

    The expanded quantile (see `_quantile`) replaces the normal one. If every resample has the same
    value in [0, 1], it is treated as a proportion of the units.

    Args:
        figures: weights (B, n) -> values (B, M).
        group_index: (n,) group number of each sample; groups are resampled, and left out, as units.
    """
    drawn, jackknife, value, units = _resampled(figures, n, group_index, seed, resamples)
    bounds = []
    for m, figure in enumerate(value.tolist()):
        if units == 1 and math.isfinite(figure):
            bounds.append(_UNBOUNDED)
        elif 0 <= figure <= 1 and _constant(drawn[:, m]):
            bounds.append(wilson_interval(figure * units, units))
        else:
            bounds.append(_bca(drawn[:, m], jackknife[:, m], figure))
    return bounds


def paired_bootstrap(
    figure: Statistics,
    n: int,
    group_index: np.ndarray | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Interval of the difference of two statistics on the same samples.

    value - bias +- expanded quantile * deviation, all by bootstrap (Efron and Tibshirani 1993, sec.
    10.2 and 13.2). A difference is close to normal even if the two statistics are not. BCa depends
    on the few samples that two good models predict differently, and covers the truth less often.
    If every resample has the same difference (two models with equal predictions), the interval is
    that of two paired proportions without discordant pairs.
    """
    drawn, jackknife, values, units = _resampled(figure, n, group_index, seed, resamples)
    value, column = float(values[0]), drawn[np.isfinite(drawn[:, 0]), 0]
    if not math.isfinite(value):
        return value, value
    if units == 1 or len(column) == 0:
        return _UNBOUNDED
    if _constant(column):
        low, high = tango_interval(0, 0, units)
        return value + low, value + high
    centre = 2 * value - float(column.mean())
    half = _quantile(jackknife[:, 0]) * float(column.std())
    return centre - half, centre + half


def _constant(drawn: np.ndarray) -> bool:
    """Whether all finite resamples are equal."""
    finite = drawn[np.isfinite(drawn)]
    return len(finite) > 0 and float(np.ptp(finite)) <= _ROUNDING


def _resampled(
    figures: Statistics, n: int, code: np.ndarray | None, seed: int, resamples: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Values of resamples (B, M), of the jackknife (J, M), of the sample (M,), and its units."""
    code = np.arange(n) if code is None else code
    units = int(code.max()) + 1
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_VALUES // n)
    drawn = []
    for start in range(0, resamples, chunk):
        counts = [
            np.bincount(rng.integers(0, units, units), minlength=units)
            for _ in range(start, min(start + chunk, resamples))
        ]
        drawn.append(figures(np.array(counts, np.float64)[:, code]))
    block_of = _blocks(units, rng)[code]
    blocks = np.arange(int(block_of.max()) + 1)
    jackknife = [
        figures((block_of != some[:, None]) * 1.0)
        for some in np.array_split(blocks, -(-len(blocks) // chunk))
    ]
    return np.concatenate(drawn), np.concatenate(jackknife), figures(np.ones((1, n)))[0], units


def _quantile(jackknife: np.ndarray) -> float:
    """Half width of a 95 % interval in standard deviations of the bootstrap: sqrt(n / (n - 1)) * t.

    n - 1, the degrees of freedom of the jackknife's variance, are Satterthwaite's (1946):
    2 J / (kurtosis - 1), at most J - 1. With few positives of a class, or few large groups, a
    handful of units carries the variance, which is then as uncertain as from so few samples.
    """
    gap = jackknife[np.isfinite(jackknife)]
    gap = gap - gap.mean() if len(gap) else gap
    square = float((gap**2).sum())
    if square == 0 or len(gap) < 2:
        return NORMAL_QUANTILE
    kurtosis = len(gap) * float((gap**4).sum()) / square**2
    freedom = min(2 * len(gap) / max(kurtosis - 1, 1e-9), len(gap) - 1)
    freedom = max(freedom, _LEAST_FREEDOM)
    return float(student_quantile(freedom) * (1 + 1 / freedom) ** 0.5)


def _bca(drawn: np.ndarray, jackknife: np.ndarray, value: float) -> tuple[float, float]:
    """Percentiles of `drawn`, corrected for bias and skew; within `drawn` and `value`."""
    drawn, jackknife = drawn[np.isfinite(drawn)], jackknife[np.isfinite(jackknife)]
    if len(drawn) == 0 or not np.isfinite(value):
        return value, value
    normal, z = NormalDist(), _quantile(jackknife)
    below = float(((drawn < value).mean() + (drawn <= value).mean()) / 2)
    bias = normal.inv_cdf(min(max(below, 0.5 / len(drawn)), 1 - 0.5 / len(drawn)))
    influence = jackknife.mean() - jackknife if len(jackknife) else np.zeros(1)
    spread = float((influence**2).sum()) ** 1.5
    skew = float((influence**3).sum()) / (6 * spread) if spread > 0 else 0.0

    def level(z: float) -> float:
        shifted = bias + z
        return normal.cdf(bias + shifted / max(1 - skew * shifted, 1e-9))

    low, high = np.quantile(drawn, [level(-z), level(z)])
    return min(float(low), value), max(float(high), value)


def _blocks(units: int, rng: np.random.Generator) -> np.ndarray:
    """(units,): the jackknife block of each unit, of at most _BLOCKS random ones of equal size."""
    return rng.permutation(units) % min(units, _BLOCKS) if units > _BLOCKS else np.arange(units)


CONFIDENCE = 0.95
NORMAL_QUANTILE = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


def student_quantile(freedom: float) -> float:
    """The 97.5 % quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + CONFIDENCE / 2))


def wilson_interval(successes: float, n: float) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927), within [0, 1], also for 0 and n successes.

    `successes` may be fractional: the variance of a mean of values in [0, 1] is at most that of a
    proportion.
    """
    if n <= 0:
        raise UsageError("no scored samples, so there is nothing to estimate.")
    share = successes / n
    centre = (share + NORMAL_QUANTILE**2 / (2 * n)) / (1 + NORMAL_QUANTILE**2 / n)
    half = (
        NORMAL_QUANTILE
        / (1 + NORMAL_QUANTILE**2 / n)
        * np.sqrt(share * (1 - share) / n + NORMAL_QUANTILE**2 / (4 * n**2))
    )
    low = 0.0 if successes <= 0 else max(0.0, float(centre - half))
    high = 1.0 if successes >= n else min(1.0, float(centre + half))
    return low, high


def class_mean_interval(successes: np.ndarray, trials: np.ndarray) -> tuple[float, float]:
    """Interval of the mean over classes of successes / trials, from Wilson's interval of each class
    (MOVER: Zou and Donner 2008, Statistics in Medicine 27:1693-1702).

    A class with three samples, all of them right, varies in no resample, so the bootstrap's interval
    ignores how little is known of it: at n = 60 with a class of 5 % it covers the truth in 86 to
    92 %, and widened by this in 97 % (`tests/evaluation/test_coverage.py`).
    """
    shares = successes / trials
    ends = np.array([wilson_interval(s, n) for s, n in zip(successes, trials, strict=True)])
    if len(ends) == 0:
        return _UNBOUNDED
    mean = float(shares.mean())
    below, above = np.sqrt(((ends - shares[:, None]) ** 2).sum(axis=0)) / len(shares)
    return max(mean - float(below), 0.0), min(mean + float(above), 1.0)


def tango_interval(only_a: int, only_b: int, n: int) -> tuple[float, float]:
    """Score interval of p_a - p_b over n pairs (Tango 1998, Statistics in Medicine 17:891-908).

    Args:
        only_a: pairs that only a predicted correctly; `only_b`: that only b did.
    """
    if n <= 0:
        raise UsageError("no scored samples, so there is nothing to estimate.")

    def score(delta: float) -> float:
        # q: maximum likelihood share of `only_b` pairs, given the true difference delta
        b = -only_a - only_b + (2 * n - only_a + only_b) * delta
        c = -only_b * delta * (1 - delta)
        q = (np.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
        gap = only_a - only_b - n * delta
        variance = n * (2 * q + delta * (1 - delta))
        if variance <= 0:
            return 0.0 if gap == 0 else float(np.copysign(np.inf, gap))
        return float(gap / np.sqrt(variance))

    def solve(low: float, high: float, level: float) -> float:
        """The delta with this score, which falls as delta rises."""
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if score(middle) > level else (low, middle)
        return (low + high) / 2

    estimate = (only_a - only_b) / n
    return solve(-1.0, estimate, NORMAL_QUANTILE), solve(estimate, 1.0, -NORMAL_QUANTILE)


#: distance, in standard errors, of the assumed true means from the observed ones, away from 0; with
#: it intervals of calibration errors cover simulated truths in 94 to 98 % (tests/proof)
_SPREAD = 0.5

Groups = Sequence[Hashable]


@dataclass(frozen=True, slots=True)
class Estimate(JsonFields):
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
            if metric.kind == "class mean":
                bottom, top = class_mean_interval(*task.class_mean_parts(table, metric.name))
                low, high = min(low, bottom), max(high, top)
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
