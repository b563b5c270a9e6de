"""From which probability a tag is present: per-tag thresholds that maximise F1.

A threshold that is best on three positives is mostly noise. So each tag's own F1 curve, weighted
by its positives, is averaged with the curve that all tags share, weighted as PRIOR positives:
frequent tags get their own threshold, rare ones lean on the common one. (Shrinkage towards a
pooled estimate, here of the objective; the overfitting itself: Lipton et al. 2014, sec. 6.)
"""

from __future__ import annotations

import numpy as np

#: how many positives the shared curve counts as
PRIOR = 10.0
#: candidates, evenly spaced in logit from 0.0025 to 0.9975
CANDIDATES = 1 / (1 + np.exp(-np.linspace(-6.0, 6.0, 241)))


def f1_curves(
    probability: np.ndarray, target: np.ndarray, candidates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """F1 of each tag at each candidate (K, C), and of all tags pooled (C,).

    A tag is present where probability >= threshold. probability, target (boolean): (N, K).
    """
    tags = probability.shape[1]
    hits = np.zeros((tags, len(candidates)))
    answered = np.zeros((tags, len(candidates)))
    for k in range(tags):
        ranked = np.sort(probability[:, k])
        positives = np.sort(probability[target[:, k], k])
        answered[k] = len(ranked) - np.searchsorted(ranked, candidates, side="left")
        hits[k] = len(positives) - np.searchsorted(positives, candidates, side="left")
    support = target.sum(axis=0).astype(np.float64)

    def f1(hit: np.ndarray, answer: np.ndarray, truth: np.ndarray) -> np.ndarray:
        top, bottom = 2 * hit, answer + truth
        return np.asarray(np.divide(top, bottom, out=np.zeros(bottom.shape), where=bottom > 0))

    own = f1(hits, answered, support[:, None])
    return own, f1(hits.sum(axis=0), answered.sum(axis=0), support.sum())


def choose_thresholds(
    probability: np.ndarray, target: np.ndarray, *, prior: float = PRIOR
) -> list[float]:
    """A threshold for each tag, (K,), from the select part; 0.5 for all where it has no positive.

    Where several candidates in a row are equally good, their middle: furthest from both mistakes.
    """
    if not target.any():
        return [0.5] * probability.shape[1]
    own, shared = f1_curves(probability, target, CANDIDATES)
    support = target.sum(axis=0).astype(np.float64)[:, None]
    curve = (support * own + prior * shared) / np.maximum(support + prior, 1e-300)
    return [float(CANDIDATES[_middle_of_best(row)]) for row in curve]


def _middle_of_best(curve: np.ndarray) -> int:
    """The middle of the longest run of (nearly) maximal values."""
    best = np.flatnonzero(curve >= curve.max() - 1e-12)
    runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    longest = max(runs, key=len)
    return int(longest[len(longest) // 2])
