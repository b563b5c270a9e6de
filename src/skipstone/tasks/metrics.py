"""Figures on labels and probabilities: pure numpy, equal to scikit-learn's and torchmetrics'.

Every function takes `weight` (N,), how often each sample counts (None: once), which is how a
bootstrap resample arrives. A figure over nothing is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray
BINS = 15  # Guo et al. 2017, sec. 3


def mean(values: Array, weight: Array | None = None) -> float:
    """Weighted mean of (N,) values: accuracy from `correct`, NLL from losses, Brier's score."""
    if weight is None:
        return float(values.mean()) if len(values) else float("nan")
    total = weight.sum()
    return float(values @ weight / total) if total else float("nan")


def rank_of(probability: Array, target: Array) -> Array:
    """1 + how many classes are likelier than the target's; ties count against it. (N, K) -> (N,).

    Counting ties as worse keeps a network that answers a constant from scoring top-5 accuracy 1.
    """
    own = np.take_along_axis(probability, target[:, None], axis=1)
    return np.asarray(probability.shape[1] - (probability < own).sum(axis=1))


def negative_log_likelihood(probability: Array, target: Array) -> Array:
    """-log p[target], (N, K) -> (N,); kept finite at p = 0 by float64's smallest normal number."""
    own = np.take_along_axis(probability.astype(np.float64), target[:, None], axis=1)[:, 0]
    return np.asarray(-np.log(np.maximum(own, np.finfo(np.float64).tiny)))


def brier(probability: Array, target: Array) -> Array:
    """Squared distance to the one-hot target, summed over classes (Brier 1950). (N, K) -> (N,)."""
    own = np.take_along_axis(probability, target[:, None], axis=1)[:, 0]
    return np.asarray((probability**2).sum(axis=1) - own**2 + (1 - own) ** 2)


def confusion_matrix(
    target: Array, label: Array, classes: int, weight: Array | None = None
) -> Array:
    """(K, K) float64: row = truth, column = answer."""
    flat = np.bincount(target * classes + label, weights=weight, minlength=classes * classes)
    return np.asarray(flat.reshape(classes, classes).astype(np.float64))


@dataclass(frozen=True, slots=True)
class Counts:
    """Hits (true positives), answers and truths by class, each (K,)."""

    hits: Array
    answered: Array
    support: Array

    @staticmethod
    def of_labels(target: Array, label: Array, classes: int, weight: Array | None = None) -> Counts:
        """Of class numbers (N,); no matrix of them is made, which many classes fill memory with."""
        share = np.ones(len(target)) if weight is None else weight
        right = share * (target == label)
        return Counts(
            *(
                np.bincount(codes, weights=each, minlength=classes)
                for codes, each in ((target, right), (label, share), (target, share))
            )
        )

    @staticmethod
    def of_tags(target: Array, label: Array, weight: Array | None = None) -> Counts:
        """From (N, K) matrices of booleans, or of zeros and ones."""
        share = np.ones(len(target)) if weight is None else weight
        return Counts(share @ (target * label), share @ label, share @ target)

    def precision(self) -> Array:
        """0 where a class was never answered, as scikit-learn does."""
        return _ratio(self.hits, self.answered)

    def recall(self) -> Array:
        """0 where a class never occurs, as scikit-learn does."""
        return _ratio(self.hits, self.support)

    def f1(self) -> Array:
        return _ratio(2 * self.hits, self.answered + self.support)

    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that occur."""
        occurs = self.support > 0
        return float(self.recall()[occurs].mean()) if occurs.any() else float("nan")

    def macro_f1(self) -> float:
        """Mean F1 of the classes that occur or were answered."""
        seen = (self.support + self.answered) > 0
        return float(self.f1()[seen].mean()) if seen.any() else float("nan")

    def micro_f1(self) -> float:
        return float(
            _ratio(2 * self.hits.sum(), np.asarray(self.answered.sum() + self.support.sum()))
        )


@dataclass(frozen=True, slots=True)
class Ranking:
    """Samples of each class from likeliest to least, and the hits among them: what average
    precision needs that does not depend on how often a sample counts.

    Places are those of the flat (K, N) order, so that the hits of a class stand beside each other.

    Args:
        order: (K, N) rows, likeliest first.
        hits: (H,) places of rows that have the class, in ascending order.
        step: (H,) the last place whose score equals the hit's.
        within: (H,) how many hits, of all classes, stand up to there.
    """

    order: Array
    hits: Array
    step: Array
    within: Array

    @staticmethod
    def of(score: Array, target: Array) -> Ranking:
        """From scores (N, K) and which of them are hits, boolean (N, K)."""
        order = np.argsort(-score.T, axis=1, kind="stable")
        ranked = np.take_along_axis(score.T, order, axis=1)
        last = np.ones(ranked.shape, bool)
        last[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
        places = np.arange(last.size).reshape(last.shape)
        ends = np.where(last, places, last.size)
        tie_end = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
        hits = np.flatnonzero(np.take_along_axis(target.T, order, axis=1))
        step = tie_end.ravel()[hits]
        return Ranking(order, hits, step, np.searchsorted(hits, step, side="right"))


def average_precision(ranking: Ranking, weight: Array | None = None) -> Array:
    """Area under the precision-recall steps of each class, (K,); NaN for one that never occurs.

    Equal to scikit-learn's `average_precision_score`: no interpolation, equal scores form one
    step.
    """
    classes, n = ranking.order.shape
    drawn = np.take(np.ones(n) if weight is None else weight, ranking.order)  # (K, N)
    owner, hits = ranking.hits // max(n, 1), drawn.ravel()[ranking.hits]
    support = np.bincount(owner, weights=hits, minlength=classes)
    before = np.cumsum(support) - support  # hits of the classes before
    found = np.cumsum(hits)[ranking.within - 1] - before[owner]
    precision = _ratio(found, np.cumsum(drawn, axis=1).ravel()[ranking.step])
    area = _ratio(np.bincount(owner, weights=hits * precision, minlength=classes), support)
    return np.asarray(np.where(support > 0, area, np.nan))


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidence against what came true, in bins of equal width; empty bins hold zeros."""

    confidence: Array  # (bins,) mean confidence
    accuracy: Array  # (bins,) share that came true
    count: Array  # (bins,)

    def ece(self) -> float:
        """Expected calibration error (Guo et al. 2017, eq. 3)."""
        total = self.count.sum()
        gap = np.abs(self.accuracy - self.confidence)
        return float(gap @ self.count / total) if total else float("nan")

    def to_json(self) -> list[dict[str, float]]:
        edges = np.linspace(0, 1, len(self.count) + 1)
        return [
            {
                "low": float(edges[i]),
                "high": float(edges[i + 1]),
                "confidence": float(self.confidence[i]),
                "accuracy": float(self.accuracy[i]),
                "count": int(self.count[i]),
            }
            for i in range(len(self.count))
        ]


def bin_of(confidence: Array, bins: int = BINS) -> Array:
    """The bin ((m-1)/M, m/M] of each confidence (Guo et al. 2017, sec. 2); 0 goes to the first."""
    return np.asarray(np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1))


def reliability(
    confidence: Array,
    correct: Array,
    weight: Array | None = None,
    *,
    bins: int = BINS,
    binned: Array | None = None,
) -> Reliability:
    """Reliability of (N,) confidences; `binned` may pass `bin_of(confidence, bins)` if known."""
    place = bin_of(confidence, bins) if binned is None else binned
    share = np.ones(len(confidence)) if weight is None else weight
    count = np.bincount(place, weights=share, minlength=bins)
    return Reliability(
        _ratio(np.bincount(place, weights=share * confidence, minlength=bins), count),
        _ratio(np.bincount(place, weights=share * correct, minlength=bins), count),
        count,
    )


def calibration_terms(confidence: Array, correct: Array, bins: int = BINS) -> Array:
    """(N, bins): (correct - confidence) in the bin of the confidence, 0 in the others.

    ECE is the sum over bins of the absolute mean of these: (n_b / n) |accuracy - confidence|.
    """
    terms = np.zeros((len(confidence), bins))
    terms[np.arange(len(confidence)), bin_of(confidence, bins)] = correct - confidence
    return terms


def sum_of_means(terms: Array, weight: Array) -> float:
    """ECE from `calibration_terms` (N, bins) of samples that count `weight` (N,) times."""
    total = weight.sum()
    return float(np.abs(weight @ terms).sum() / total) if total else float("nan")


def _ratio(top: Array, bottom: Array) -> Array:
    """top / bottom, 0 where bottom is 0."""
    zeros = np.zeros_like(top, np.float64)
    return np.asarray(np.divide(top, bottom, out=zeros, where=bottom > 0))
