"""Logistic regression on large sparse data, in seconds: one label a sample, or several.

Mini-batches with AdaGrad's rate for each weight (Duchi et al. 2011), which suits features of which
most are rare; only the rows of features that occur in a batch are touched.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

_BATCH = 256
_EPOCHS = 5
_RATE = 0.5


def fit_quickly(
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
        targets: int (N,) of classes that exclude each other, whose loss is the cross-entropy of
            their softmax; or 0 and 1 (N, K), where losses of K sigmoids are summed, which is K
            models of two classes. None of the K may be the same for all samples.
        c: inverse strength of the penalty, as scikit-learn has it.
    """
    rows, features = matrix.shape
    weights = np.zeros((features, classes), np.float32)
    squares = np.full((features, 1), 1e-8, np.float32)
    bias = np.zeros(classes, np.float32)
    if targets.ndim == 2:  # most labels are rare, and to learn that takes steps that words need
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
            error = _slopes(small @ table + bias, targets[chosen]) / np.float32(len(chosen))
            gradient = small.T @ error + decay * table
            # one rate a feature, by the mean over classes: as good here, and a class fewer to hold
            squares[used] += np.mean(gradient * gradient, axis=1, keepdims=True)
            weights[used] = table - step * gradient / np.sqrt(squares[used])
            slope = error.sum(axis=0)
            bias_square += slope * slope
            bias -= step * slope / np.sqrt(bias_square)
    return weights.T, bias


def _slopes(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Derivatives of each sample's loss by its logits (N, K)."""
    if targets.ndim == 2:
        return np.asarray(expit(logits) - targets, np.float32)
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    share[np.arange(len(targets)), targets] -= 1
    return np.asarray(share)
