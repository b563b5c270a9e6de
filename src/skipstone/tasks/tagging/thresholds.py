"""Per-tag probability thresholds that maximise F1.

A threshold fitted on three positives is mostly noise. So the F1 curve of each tag, weighted by its
positives, is averaged with the curve of all tags pooled, weighted as PRIOR positives: shrinkage of
the objective towards a pooled estimate. Frequent tags get their own threshold, rare tags one near
the pooled optimum. (The overfitting: Lipton et al. 2014, sec. 6.)
"""

from __future__ import annotations

import numpy as np

#: positives that the pooled curve counts as
PRIOR_POSITIVES = 10.0
#: candidates, evenly spaced in logit from 0.0025 to 0.9975
CANDIDATES = 1 / (1 + np.exp(-np.linspace(-6.0, 6.0, 241)))


def compute_f1_curves(
    probability: np.ndarray, target: np.ndarray, candidates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """F1 of each tag at each candidate (K, C), and of all tags pooled (C,).

    A tag is predicted if probability >= threshold. probability, target (boolean): (N, K).
    """
    tags = probability.shape[1]
    hits = np.zeros((tags, len(candidates)))
    predicted = np.zeros((tags, len(candidates)))
    for k in range(tags):
        ranked = np.sort(probability[:, k])
        positives = np.sort(probability[target[:, k], k])
        predicted[k] = len(ranked) - np.searchsorted(ranked, candidates, side="left")
        hits[k] = len(positives) - np.searchsorted(positives, candidates, side="left")
    support = target.sum(axis=0).astype(np.float64)

    def f1(hit: np.ndarray, prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
        top, bottom = 2 * hit, prediction + truth
        return np.asarray(np.divide(top, bottom, out=np.zeros(bottom.shape), where=bottom > 0))

    per_tag = f1(hits, predicted, support[:, None])
    return per_tag, f1(hits.sum(axis=0), predicted.sum(axis=0), support.sum())


def choose_thresholds(
    probability: np.ndarray, target: np.ndarray, *, prior: float = PRIOR_POSITIVES
) -> list[float]:
    """A threshold per tag, (K,), from the validation rows; 0.5 for all if they have no positive.

    Of a run of equally good candidates the middle one is chosen.
    """
    if not target.any():
        return [0.5] * probability.shape[1]
    per_tag, pooled = compute_f1_curves(probability, target, CANDIDATES)
    support = target.sum(axis=0).astype(np.float64)[:, None]
    curve = (support * per_tag + prior * pooled) / np.maximum(support + prior, 1e-300)
    return [float(CANDIDATES[_middle_of_best(row)]) for row in curve]


def _middle_of_best(curve: np.ndarray) -> int:
    """The middle of the longest run of (nearly) maximal values."""
    best = np.flatnonzero(curve >= curve.max() - 1e-12)
    runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    longest = max(runs, key=len)
    return int(longest[len(longest) // 2])
