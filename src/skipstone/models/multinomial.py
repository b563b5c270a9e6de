"""Multinomial logistic regression on large sparse data, in seconds.

Mini-batches with AdaGrad's rate for each weight (Duchi et al. 2011), which suits features of which
most are rare; only the rows of features that occur in a batch are touched.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_BATCH = 256
_EPOCHS = 5
_RATE = 0.5


def fit_multinomial(
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
        matrix: scipy.sparse csr (N, F), rows of length about 1.
        targets: int (N,).
        c: inverse strength of the penalty, as scikit-learn has it.
    """
    rows, features = matrix.shape
    weights = np.zeros((features, classes), np.float32)
    squares = np.full((features, 1), 1e-8, np.float32)
    bias = np.zeros(classes, np.float32)
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
            logits = small @ table + bias
            logits -= logits.max(axis=1, keepdims=True)
            error = np.exp(logits)
            error /= error.sum(axis=1, keepdims=True)
            error[np.arange(len(chosen)), targets[chosen]] -= 1
            error /= len(chosen)
            gradient = small.T @ error + decay * table
            # one rate a feature, by the mean over classes: as good here, and a class fewer to hold
            squares[used] += np.mean(gradient * gradient, axis=1, keepdims=True)
            weights[used] = table - step * gradient / np.sqrt(squares[used])
            slope = error.sum(axis=0)
            bias_square += slope * slope
            bias -= step * slope / np.sqrt(bias_square)
    return weights.T, bias
