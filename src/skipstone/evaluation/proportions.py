"""Score intervals of proportions and of paired differences, and quantiles of Student's t."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from skipstone.core.errors import UsageError

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
