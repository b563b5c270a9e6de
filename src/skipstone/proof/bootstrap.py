"""The bootstrap over records, or over groups of them: for figures without a formula.

Resamples of n units vary by (n - 1) / n of what they should, and percentiles leave out that the
spread itself is estimated: with few units intervals are too narrow on both counts. So all go as far
out as Hesterberg's expanded percentiles (2015, "What Teachers Should Know About the Bootstrap",
The American Statistician 69:371-386, section on expanding): Phi(-sqrt(n / (n - 1)) * t) with
Student's t at n - 1 degrees of freedom in place of 2.5 %. Here n is the number of units that carry
the variance (`_quantile`), which is below the number drawn where a few make most of it.

Resamples that all give the same figure tell nothing of its spread, which is no certainty: a score
interval on as many units takes their place. A single unit tells nothing at all, and its interval
has no ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from skipstone.proof.proportions import Z, student, tango, wilson

RESAMPLES = 1000

#: acceleration is estimated by leaving out one of at most this many blocks of records
_BLOCKS = 200

#: degrees of freedom below which a t interval says little more than that nothing is known
_LEAST_FREEDOM = 4.0

#: weights in memory at a time
_AT_ONCE = 4_000_000

#: resamples that differ by less differ by how sums are rounded
_ROUNDING = 1e-12

#: what a single unit tells
_NOTHING = (-math.inf, math.inf)

#: weights (B, n), how often each of n samples counts -> values (B, M)
Figures = Callable[[np.ndarray], np.ndarray]


def one_by_one(figure: Callable[[np.ndarray], np.ndarray]) -> Figures:
    """Many resamples at once from a function of one: weights (n,) -> values (M,)."""
    return lambda weights: np.array([figure(weight) for weight in weights])


def bootstrap(
    figures: Figures,
    n: int,
    code: np.ndarray | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[tuple[float, float]]:
    """BCa intervals (Efron 1987) of several figures at once.

    In place of the normal's quantile stands the expanded one (see `_quantile`). Where every
    resample gives the same share of 1, it is taken for a proportion of the units.

    Args:
        figures: weights (B, n) -> values (B, M).
        code: (n,) group number of each sample; whole groups are drawn, and left out.
    """
    drawn, jackknife, value, units = _resampled(figures, n, code, seed, resamples)
    found = []
    for m, figure in enumerate(value.tolist()):
        if units == 1 and math.isfinite(figure):
            found.append(_NOTHING)
        elif 0 <= figure <= 1 and _constant(drawn[:, m]):
            found.append(wilson(figure * units, units))
        else:
            found.append(_bca(drawn[:, m], jackknife[:, m], figure))
    return found


def paired_bootstrap(
    figure: Figures,
    n: int,
    code: np.ndarray | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Interval of one difference of two figures on the same samples.

    value - bias +- expanded quantile * deviation, all by bootstrap (Efron and Tibshirani 1993, sec.
    10.2 and 13.2).
    A difference is close to normal even where the two figures are not, and BCa's quantiles, which
    follow the few samples that two good models answer differently, hold it less often. Where every
    resample gives the same difference (two models that answer alike), the truth may be as far from
    it as from that of two proportions which no unit tells apart.
    """
    drawn, jackknife, values, units = _resampled(figure, n, code, seed, resamples)
    value, column = float(values[0]), drawn[np.isfinite(drawn[:, 0]), 0]
    if not math.isfinite(value):
        return value, value
    if units == 1 or len(column) == 0:
        return _NOTHING
    if _constant(column):
        low, high = tango(0, 0, units)
        return value + low, value + high
    centre = 2 * value - float(column.mean())
    half = _quantile(jackknife[:, 0]) * float(column.std())
    return centre - half, centre + half


def _constant(drawn: np.ndarray) -> bool:
    """Whether all resamples give the same, those aside that give no number."""
    known = drawn[np.isfinite(drawn)]
    return len(known) > 0 and float(np.ptp(known)) <= _ROUNDING


def _resampled(
    figures: Figures, n: int, code: np.ndarray | None, seed: int, resamples: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Of resamples (B, M), leaving one block out (J, M), of the sample itself (M,), and units."""
    code = np.arange(n) if code is None else code
    units = int(code.max()) + 1
    rng = np.random.default_rng(seed)
    at_once = max(1, _AT_ONCE // n)
    drawn = []
    for start in range(0, resamples, at_once):
        counts = [
            np.bincount(rng.integers(0, units, units), minlength=units)
            for _ in range(start, min(start + at_once, resamples))
        ]
        drawn.append(figures(np.array(counts, np.float64)[:, code]))
    left_out = _blocks(units, rng)[code]
    blocks = np.arange(int(left_out.max()) + 1)
    kept = [
        figures((left_out != some[:, None]) * 1.0)
        for some in np.array_split(blocks, -(-len(blocks) // at_once))
    ]
    return np.concatenate(drawn), np.concatenate(kept), figures(np.ones((1, n)))[0], units


def _quantile(jackknife: np.ndarray) -> float:
    """Standard deviations of a bootstrap that a 95 % interval reaches: sqrt(n / (n - 1)) * t.

    n - 1, the degrees of freedom of the jackknife's variance, are Satterthwaite's (1946):
    2 J / (kurtosis - 1), at most J - 1. With few positives of a class, or few large groups, a
    handful of units carries the variance, which is then known as badly as from so few.
    """
    gap = jackknife[np.isfinite(jackknife)]
    gap = gap - gap.mean() if len(gap) else gap
    square = float((gap**2).sum())
    if square == 0 or len(gap) < 2:
        return Z
    kurtosis = len(gap) * float((gap**4).sum()) / square**2
    freedom = min(2 * len(gap) / max(kurtosis - 1, 1e-9), len(gap) - 1)
    freedom = max(freedom, _LEAST_FREEDOM)
    return float(student(freedom) * (1 + 1 / freedom) ** 0.5)


def _bca(drawn: np.ndarray, jackknife: np.ndarray, value: float) -> tuple[float, float]:
    """Percentiles of `drawn`, moved for bias and skew; never past what was drawn or `value`."""
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
    """(units,): which of at most _BLOCKS even, random blocks each unit is left out with."""
    return rng.permutation(units) % min(units, _BLOCKS) if units > _BLOCKS else np.arange(units)
