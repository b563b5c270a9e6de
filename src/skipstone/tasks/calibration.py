"""Temperature scaling: one number that makes probabilities mean what they say.

Guo et al. 2017, "On Calibration of Modern Neural Networks", sec. 4.2: divide the logits by T, with
T chosen to minimise the negative log-likelihood on held-out data. It never changes which class is
likeliest. The same is done to sigmoids.

A network that is right on all of n samples would be sharpened without end by that, and then claim
to be certain of what it has shown n times. So a share of 1 / (n + 2) of each answer counts as the
likeliest other one (Platt 1999, "Probabilistic Outputs for Support Vector Machines", section 2.2):
all right, its confidence becomes (n + 1) / (n + 2), Laplace's rule of succession.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: T is kept within these, whatever the logits' scale
LEAST, GREATEST = 0.05, 20.0

Array = np.ndarray


def softmax(logits: Array, temperature: float = 1.0) -> Array:
    """(N, K) -> (N, K) float64."""
    scaled = logits.astype(np.float64) / temperature
    power = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(power / power.sum(axis=1, keepdims=True))


def sigmoid(logits: Array, temperature: float = 1.0) -> Array:
    """Any shape, float64, without overflow; NaN stays NaN."""
    scaled = logits.astype(np.float64) / temperature
    with np.errstate(invalid="ignore"):
        return np.asarray(np.exp(-np.logaddexp(0.0, -scaled)))


def softmax_nll(logits: Array, target: Array, temperature: float) -> float:
    """Mean -log p[target] at T; logits (N, K), target (N,) class numbers."""
    scaled = logits.astype(np.float64) / temperature
    top = scaled.max(axis=1)
    own = scaled[np.arange(len(target)), target]
    return float((top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)) - own).mean())


def sigmoid_nll(logits: Array, target: Array, temperature: float) -> float:
    """Mean binary cross-entropy at T; logits and boolean target (N, K)."""
    scaled = logits.astype(np.float64) / temperature
    return float((np.logaddexp(0.0, scaled) - scaled * target).mean())


def fit_temperature(
    logits: Array, target: Array, nll: Callable[[Array, Array, float], float] = softmax_nll
) -> float:
    """The T in [0.05, 20] that minimises `nll`, most of it of `target` and a share of 1 / (n + 2)
    of the likeliest other answers, n being how many answers there are.

    In b = 1/T both losses are convex (log-sum-exp of functions linear in b, less a linear one),
    so golden-section search over b finds the minimum. It stays at 1 where there is nothing to
    learn from, or where the best T explains the data no better than 1 does.

    Raises:
        ValueError: logits that are not finite.
    """
    if len(logits) == 0:
        return 1.0
    if not np.isfinite(logits).all():
        raise ValueError("a temperature cannot be fitted to logits that are not finite")
    margin = margins(logits, target)
    other = float(margin.mean()) / (margin.size + 2)

    def loss(b: float) -> float:
        return nll(logits, target, 1 / b) + other * b  # both answers have the same log-sum-exp

    low, high = 1 / GREATEST, 1 / LEAST
    golden = (np.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > 1e-6 * low:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = loss(right)
    best = (low + high) / 2
    return float(1 / best) if loss(best) < loss(1.0) else 1.0


def margins(logits: Array, target: Array) -> Array:
    """How far the logit of what is true lies above the likeliest other one's: (N,) of logits (N, K)
    with class numbers (N,); (N, K) of tags with boolean targets (N, K), where the other of z is 0.
    """
    if target.ndim == logits.ndim:
        return np.where(target, logits, -logits)
    rows, others = np.arange(len(target)), logits.copy()
    others[rows, target] = -np.inf
    return np.asarray(logits[rows, target] - others.max(axis=1))
