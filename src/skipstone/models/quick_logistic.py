"""Fast logistic regression on large sparse data, multinomial or multi-label.

Mini-batches with AdaGrad (Duchi et al. 2011), whose learning rate per weight suits rare features.
Each step updates only the rows of the features in its batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

_BATCH = 256
_EPOCHS = 5
_RATE = 0.5


def fit_logistic_adagrad(
    matrix: Any,
    targets: np.ndarray,
    *,
    classes: int,
    c: float,
    seed: int,
    epochs: int = _EPOCHS,
    rate: float = _RATE,
) -> tuple[np.ndarray, np.ndarray]:
    """weights (K, F) and bias (K,) near the minimum of mean loss + |w|^2 / (2 c N).

    Args:
        matrix: scipy.sparse csr (N, F), rows of norm about 1.
        targets: int (N,) of exclusive classes (softmax cross-entropy); or 0 and 1 (N, K) (sum of K
            sigmoid cross-entropies), where each column has both values.
        c: inverse strength of the penalty, as in scikit-learn.
    """
    rows, features = matrix.shape
    weights = np.zeros((features, classes), np.float32)
    squares = np.full((features, 1), 1e-8, np.float32)
    bias = np.zeros(classes, np.float32)
    if targets.ndim == 2:  # start from the labels' frequencies, because most labels are rare
        share = targets.mean(axis=0)
        bias = np.log(share / (1 - share)).astype(np.float32)
    bias_square = np.full(classes, 1e-8, np.float32)
    decay = np.float32(1 / (c * rows))
    rng = np.random.default_rng(seed)
    matrix = matrix.tocsr().astype(np.float32)
    for epoch in range(epochs):
        step = np.float32(rate * (1 - epoch / epochs))
        order = rng.permutation(rows)
        for start in range(0, rows, _BATCH):
            chosen = order[start : start + _BATCH]
            batch = matrix[chosen]
            used, place = np.unique(batch.indices, return_inverse=True)
            small = type(batch)(
                (batch.data, place.astype(np.int32), batch.indptr), (len(chosen), len(used))
            )
            table = weights[used]  # (U, K)
            error = _logit_gradients(small @ table + bias, targets[chosen]) / np.float32(
                len(chosen)
            )
            gradient = small.T @ error + decay * table
            # one rate per feature, by the mean over classes: as good here, with less memory
            squares[used] += np.mean(gradient * gradient, axis=1, keepdims=True)
            weights[used] = table - step * gradient / np.sqrt(squares[used])
            slope = error.sum(axis=0)
            bias_square += slope * slope
            bias -= step * slope / np.sqrt(bias_square)
    return weights.T, bias


def _logit_gradients(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Gradient of each sample's loss with respect to its logits (N, K)."""
    if targets.ndim == 2:
        return np.asarray(expit(logits) - targets, np.float32)
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    share[np.arange(len(targets)), targets] -= 1
    return np.asarray(share)
