"""Temperature scaling: calibrate probabilities with one number.

Guo et al. 2017, "On Calibration of Modern Neural Networks", sec. 4.2: divide the logits by T, with
T chosen to minimise the negative log-likelihood on validation data. It never changes the predicted
class. Sigmoids are calibrated alike.

With all of n predictions correct the likelihood has no maximum: T would go to 0. So a share of
1 / (n + 2) of each target counts as the most probable other class (Platt 1999, "Probabilistic
Outputs for Support Vector Machines", section 2.2). With all correct, the confidence then becomes
(n + 1) / (n + 2), Laplace's rule of succession.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Range of a fitted T
MIN_FITTED, MAX_FITTED = 0.05, 20.0

Array = np.ndarray


def softmax_nll(logits: Array, target: Array, temperature: float) -> float:
    """Mean -log p[target] at T; logits (N, K), target (N,) class indices."""
    scaled = logits.astype(np.float64) / temperature
    top = scaled.max(axis=1)
    target_logit = scaled[np.arange(len(target)), target]
    log_sum = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
    return float((log_sum - target_logit).mean())


def sigmoid_nll(logits: Array, target: Array, temperature: float) -> float:
    """Mean binary cross-entropy at T; logits and boolean target (N, K)."""
    scaled = logits.astype(np.float64) / temperature
    return float((np.logaddexp(0.0, scaled) - scaled * target).mean())


def fit_temperature(
    logits: Array, target: Array, nll: Callable[[Array, Array, float], float] = softmax_nll
) -> float:
    """The T in [0.05, 20] that minimises `nll` of `target`, smoothed by a share of 1 / (n + 2)
    of the most probable other class; n is the number of predictions.

    In b = 1/T both losses are convex (log-sum-exp of functions linear in b, less a linear one),
    so golden-section search over b finds the minimum. T is 1 without samples, or if the best T
    has no lower loss than 1.

    Raises:
        ValueError: logits that are not finite.
    """
    if len(logits) == 0:
        return 1.0
    if not np.isfinite(logits).all():
        raise ValueError("a temperature cannot be fitted to logits that are not finite")
    margin = logit_margins(logits, target)
    other = float(margin.mean()) / (margin.size + 2)

    def smoothed_nll(b: float) -> float:
        return nll(logits, target, 1 / b) + other * b  # both classes have the same log-sum-exp

    low, high = 1 / MAX_FITTED, 1 / MIN_FITTED
    golden = (np.sqrt(5) - 1) / 2
    inner_low, inner_high = high - golden * (high - low), low + golden * (high - low)
    loss_low, loss_high = smoothed_nll(inner_low), smoothed_nll(inner_high)
    while high - low > 1e-6 * low:
        if loss_low <= loss_high:
            high, inner_high, loss_high = inner_high, inner_low, loss_low
            inner_low = high - golden * (high - low)
            loss_low = smoothed_nll(inner_low)
        else:
            low, inner_low, loss_low = inner_low, inner_high, loss_high
            inner_high = low + golden * (high - low)
            loss_high = smoothed_nll(inner_high)
    best = (low + high) / 2
    return float(1 / best) if smoothed_nll(best) < smoothed_nll(1.0) else 1.0


def logit_margins(logits: Array, target: Array) -> Array:
    """The target's logit minus the greatest other one: (N,) for logits (N, K) and class indices
    (N,); (N, K) for tags with boolean targets (N, K), where the other logit is 0.
    """
    if target.ndim == logits.ndim:
        return np.where(target, logits, -logits)
    rows, others = np.arange(len(target)), logits.copy()
    others[rows, target] = -np.inf
    return np.asarray(logits[rows, target] - others.max(axis=1))
