"""Score intervals of proportions and of their paired differences, and the quantiles of all."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from skipstone.errors import UsageError

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


def student(freedom: float) -> float:
    """The 97.5 % quantile of Student's distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + CONFIDENCE / 2))


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
