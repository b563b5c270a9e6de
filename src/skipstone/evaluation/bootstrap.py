"""The bootstrap over records, or over groups of records, for statistics without a formula.

Intervals from few units are too narrow for two reasons: the variance of resamples of n units is
only (n - 1) / n of the true one, and percentiles ignore that the spread itself is estimated. So all
use Hesterberg's expanded percentiles (2015, "What Teachers Should Know About the Bootstrap", The
American Statistician 69:371-386, section on expanding): Phi(-sqrt(n / (n - 1)) * t) with Student's
t at n - 1 degrees of freedom in place of 2.5 %. Here n is the effective number of units
(`_quantile`), which is less than the number drawn if a few units carry most of the variance.

If all resamples have the same value, their spread is unknown, not 0: a score interval for as many
units is used instead. The interval of a single unit is unbounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from skipstone.evaluation.proportions import (
    NORMAL_QUANTILE,
    student_quantile,
    tango_interval,
    wilson_interval,
)

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
