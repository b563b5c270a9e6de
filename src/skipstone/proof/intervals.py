"""95 % intervals: how far a figure could be off because other samples might have been drawn.

Proportions get Wilson's score interval, differences of paired proportions Tango's, calibration
errors an inverted test, everything else the BCa bootstrap over records. Where samples come in
groups (one patient, one scene, one burst), groups are what is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from skipstone.errors import UsageError
from skipstone.tasks.base import Metric, Record, Task
from skipstone.tasks.records import Table

CONFIDENCE = 0.95
RESAMPLES = 1000
Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)

#: acceleration is estimated by leaving out one of at most this many blocks of records
_BLOCKS = 200

#: standard errors by which true means are supposed further from 0 than observed; chosen so that
#: intervals of calibration errors hold simulated truths in 94 to 98 % (tests/proof)
_SPREAD = 0.5

Groups = Sequence[Hashable]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, its 95 % interval, and the number of samples behind it."""

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, float | int]:
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def wilson(successes: float, n: float) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927); it stays inside [0, 1] and works at 0 and n.

    Fractions count too: the mean of values in [0, 1] varies at most as a proportion does.
    """
    if n <= 0:
        raise UsageError("no scored samples, so there is nothing to estimate.")
    share = successes / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    low = 0.0 if successes <= 0 else max(0.0, float(centre - half))
    high = 1.0 if successes >= n else min(1.0, float(centre + half))
    return low, high


def tango(only_a: int, only_b: int, n: int) -> tuple[float, float]:
    """Score interval of p_a - p_b over n pairs (Tango 1998, Statistics in Medicine 17:891-908).

    Args:
        only_a: pairs that a got right and b did not; `only_b` the other way round.
    """
    if n <= 0:
        raise UsageError("no scored samples, so there is nothing to estimate.")

    def score(delta: float) -> float:
        # q: the most likely share of `only_b` pairs where the true difference is delta
        b = -only_a - only_b + (2 * n - only_a + only_b) * delta
        c = -only_b * delta * (1 - delta)
        q = (np.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
        gap = only_a - only_b - n * delta
        variance = n * (2 * q + delta * (1 - delta))
        if variance <= 0:
            return 0.0 if gap == 0 else float(np.copysign(np.inf, gap))
        return float(gap / np.sqrt(variance))

    def solve(low: float, high: float, level: float) -> float:
        """score falls as delta rises: where does it cross `level`?"""
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if score(middle) > level else (low, middle)
        return (low + high) / 2

    estimate = (only_a - only_b) / n
    return solve(-1.0, estimate, Z), solve(estimate, 1.0, -Z)


def interval(
    metric: Metric,
    records: Sequence[Record],
    task: Task,
    groups: Groups | None = None,
    seed: int = 0,
) -> Estimate:
    """One metric with its interval; `intervals` shares the work among several.

    Args:
        groups: what each record belongs to, one a record, where samples are not independent;
            None as a group means the record stands alone.

    Raises:
        UsageError: no records.
    """
    return intervals(records, task, groups, seed, metrics=(metric,))[metric.name]


def intervals(
    records: Sequence[Record],
    task: Task,
    groups: Groups | None = None,
    seed: int = 0,
    *,
    metrics: Sequence[Metric] | None = None,
) -> dict[str, Estimate]:
    """Every metric of `task` (or these) with its interval, from one set of resamples."""
    chosen = task.metrics() if metrics is None else metrics
    table = Table.of(records)
    n = len(table)
    if n == 0:
        raise UsageError("no scored samples, so there is nothing to estimate.")
    code = _codes(groups, n)
    values = task.compute(table)
    found: dict[str, Estimate] = {}
    for metric in chosen:
        if metric.kind == "proportion":
            assert metric.field is not None, f"{metric.name}: a proportion names its field"
            low, high = _proportion(table.column(metric.field), code)
            found[metric.name] = Estimate(values[metric.name], low, high, n)
        elif metric.kind == "calibration":
            low, high = absolute_means(task.calibration_terms(table), code, seed=seed)
            found[metric.name] = Estimate(values[metric.name], low, high, n)
    rest = [metric.name for metric in chosen if metric.name not in found]
    if rest:

        def figures(weight: np.ndarray) -> np.ndarray:
            sample = task.compute(table.reweighted(weight))
            return np.array([sample[name] for name in rest])

        low_high = bootstrap(figures, n, code, seed=seed)
        for name, (low, high) in zip(rest, low_high, strict=True):
            found[name] = Estimate(values[name], low, high, n)
    return {metric.name: found[metric.name] for metric in chosen}


def paired_difference(
    metric: Metric,
    records_a: Sequence[Record],
    records_b: Sequence[Record],
    task: Task,
    groups: Groups | None = None,
    seed: int = 0,
) -> Estimate:
    """metric(a) - metric(b) on the same samples, with its interval: the drop from a to b.

    Records are matched by their "id" where they have one, else by position; groups follow
    `records_a`.

    Raises:
        UsageError: the two were not scored on the same samples.
    """
    records_b = _paired(records_a, records_b)
    a, b = Table.of(records_a), Table.of(records_b)
    n = len(a)
    if n == 0:
        raise UsageError("no scored samples, so there is nothing to compare.")

    def gap(weight: np.ndarray | None) -> np.ndarray:
        one = a if weight is None else a.reweighted(weight)
        other = b if weight is None else b.reweighted(weight)
        return np.array([task.compute(one)[metric.name] - task.compute(other)[metric.name]])

    value = float(gap(None)[0])
    code = _codes(groups, n)
    if metric.kind == "proportion" and code is None and metric.field is not None:
        right_a, right_b = a.column(metric.field), b.column(metric.field)
        if np.isin(np.concatenate([right_a, right_b]), (0.0, 1.0)).all():
            only_a = int((right_a > right_b).sum())
            only_b = int((right_b > right_a).sum())
            low, high = tango(only_a, only_b, n)
            return Estimate(value, low, high, n)
    low, high = bootstrap(gap, n, code, seed=seed)[0]
    return Estimate(value, low, high, n)


def bootstrap(
    figures: Callable[[np.ndarray], np.ndarray],
    n: int,
    code: np.ndarray | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[tuple[float, float]]:
    """BCa intervals (Efron 1987) of several figures at once.

    Args:
        figures: weights (n,), how often each sample counts -> values (M,).
        code: (n,) group number of each sample; whole groups are drawn, and left out.
    """
    code = np.arange(n) if code is None else code
    units = int(code.max()) + 1
    rng = np.random.default_rng(seed)
    value = figures(np.ones(n))
    drawn = np.array(
        [
            figures(np.bincount(rng.integers(0, units, units), minlength=units)[code])
            for _ in range(resamples)
        ]
    )  # (B, M)
    left_out = _blocks(units, rng)
    jackknife = np.array([figures((left_out[code] != block) * 1.0) for block in _range(left_out)])
    return [_bca(drawn[:, m], jackknife[:, m], float(value[m])) for m in range(len(value))]


def absolute_means(
    terms: np.ndarray, code: np.ndarray | None = None, *, seed: int = 0, draws: int = RESAMPLES
) -> tuple[float, float]:
    """Interval of sum_b |mean of terms[:, b]|, which calibration errors are. terms: (n, bins).

    Noise always adds to such a sum, and to a bootstrap of it twice, so percentiles miss the truth
    far too often. Instead the test is inverted: noise as in the data (normal, with the bins'
    covariance over samples or groups) is added to supposed true means, and those are accepted for
    which what was observed is not among the lowest or highest 2.5 % of such sums. Supposed are
    multiples of the observed means for the lower end, and of the observed means moved away from 0
    by half a standard error each for the upper end: noise adds less where the truth is spread
    evenly over bins, and how it is spread is not known. The interval begins at 0 where noise
    alone explains the sum.
    """
    n = len(terms)
    gap = terms.mean(axis=0)
    excess = terms - gap
    if code is not None:
        groups = np.zeros((int(code.max()) + 1, terms.shape[1]))
        np.add.at(groups, code, excess)
        excess = groups
    units = len(excess)
    covariance = excess.T @ excess / n**2 * (units / max(units - 1, 1))
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
    """The sum of |scale * shape| at which noise lifts `share` of sums to `observed` or above."""
    unit = shape / np.abs(shape).sum()

    def above(total: float) -> float:
        return float((np.abs(total * unit + noise).sum(axis=1) >= observed).mean())

    if above(0.0) >= share:
        return 0.0
    low, high = 0.0, observed
    while above(high) < share:
        high *= 2
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) < share else (low, middle)
    return (low + high) / 2


def _bca(drawn: np.ndarray, jackknife: np.ndarray, value: float) -> tuple[float, float]:
    """Percentiles of `drawn`, moved for bias and skew; never past what was drawn or `value`."""
    drawn, jackknife = drawn[np.isfinite(drawn)], jackknife[np.isfinite(jackknife)]
    if len(drawn) == 0 or not np.isfinite(value):
        return value, value
    normal = NormalDist()
    below = float(((drawn < value).mean() + (drawn <= value).mean()) / 2)
    bias = normal.inv_cdf(min(max(below, 0.5 / len(drawn)), 1 - 0.5 / len(drawn)))
    influence = jackknife.mean() - jackknife if len(jackknife) else np.zeros(1)
    spread = float((influence**2).sum()) ** 1.5
    skew = float((influence**3).sum()) / (6 * spread) if spread > 0 else 0.0

    def level(z: float) -> float:
        shifted = bias + z
        return normal.cdf(bias + shifted / max(1 - skew * shifted, 1e-9))

    low, high = np.quantile(drawn, [level(-Z), level(Z)])
    return min(float(low), value), max(float(high), value)


def _proportion(right: np.ndarray, code: np.ndarray | None) -> tuple[float, float]:
    """Wilson's interval; with groups, on the effective number of samples.

    The effective number is n / design effect (Korn and Graubard 1998), the design effect being
    the variance of a mean over groups against that over independent samples, and t in place of z
    where groups are few; Dean and Pagano (2015) find this best among those for clustered data.
    Where all samples agree nothing tells groups apart, and each counts as one sample.
    """
    n, total = len(right), float(right.sum())
    if code is None:
        return wilson(total, n)
    groups = int(code.max()) + 1
    share = total / n
    if share in (0.0, 1.0) or groups == 1:
        return wilson(share * groups, groups)
    from scipy.stats import t

    excess = np.bincount(code, weights=right - share)
    variance = groups / (groups - 1) * float((excess**2).sum()) / n**2
    effect = max(variance / (share * (1 - share) / n), 1.0)
    few = (Z / float(t.ppf(0.5 + CONFIDENCE / 2, groups - 1))) ** 2
    effective = n / effect * few
    return wilson(share * effective, effective)


def _codes(groups: Groups | None, n: int) -> np.ndarray | None:
    """Numbers from 0 for groups, (n,), a group of None being a group of one; None where every
    record stands alone."""
    if groups is None:
        return None
    if len(groups) != n:
        raise UsageError(f"{len(groups)} groups were given for {n} records; one a record, please.")
    numbers: dict[Hashable, int] = {}
    keys = [("alone", row) if group is None else group for row, group in enumerate(groups)]
    code = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
    return code if len(numbers) < n else None


def _blocks(units: int, rng: np.random.Generator) -> np.ndarray:
    """(units,): which of at most _BLOCKS even, random blocks each unit is left out with."""
    return rng.permutation(units) % min(units, _BLOCKS) if units > _BLOCKS else np.arange(units)


def _range(blocks: np.ndarray) -> range:
    return range(int(blocks.max()) + 1)


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
