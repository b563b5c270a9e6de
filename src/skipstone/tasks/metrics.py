"""Metrics of labels and probabilities: pure numpy, equal to scikit-learn's and torchmetrics'.

`weight` (N,) is how often each sample counts (None: once); a bootstrap resample is such weights.
A metric over no samples is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray
BINS = 15  # Guo et al. 2017, sec. 3


def weighted_mean(values: Array, weight: Array | None = None) -> float:
    """Weighted mean of (N,) values: accuracy from `correct`, NLL from losses, Brier's score."""
    if weight is None:
        return float(values.mean()) if len(values) else float("nan")
    total = weight.sum()
    return float(values @ weight / total) if total else float("nan")


def mean_of_finite(values: Array) -> float:
    """Mean of the values that are not NaN; NaN without any."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def target_ranks(probability: Array, target: Array) -> Array:
    """Rank of the target among the classes, from 1; ties count against it. (N, K) -> (N,).

    Otherwise a network with constant outputs would have a top-5 accuracy of 1.
    """
    of_target = np.take_along_axis(probability, target[:, None], axis=1)
    return np.asarray(probability.shape[1] - (probability < of_target).sum(axis=1))


def negative_log_likelihood(probability: Array, target: Array) -> Array:
    """-log p[target], (N, K) -> (N,); finite at p = 0, by float64's smallest normal number."""
    of_target = np.take_along_axis(probability.astype(np.float64), target[:, None], axis=1)[:, 0]
    return np.asarray(-np.log(np.maximum(of_target, np.finfo(np.float64).tiny)))


def brier_scores(probability: Array, target: Array) -> Array:
    """Squared distance to the one-hot target, summed over classes (Brier 1950). (N, K) -> (N,)."""
    of_target = np.take_along_axis(probability, target[:, None], axis=1)[:, 0]
    return np.asarray((probability**2).sum(axis=1) - of_target**2 + (1 - of_target) ** 2)


def confusion_matrix(
    target: Array, label: Array, classes: int, weight: Array | None = None
) -> Array:
    """(K, K) float64: row = target, column = prediction."""
    flat = np.bincount(target * classes + label, weights=weight, minlength=classes * classes)
    return np.asarray(flat.reshape(classes, classes).astype(np.float64))


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """True positives, predictions and targets per class, each (K,)."""

    true_positives: Array
    predicted: Array
    support: Array

    @staticmethod
    def from_labels(
        target: Array, label: Array, classes: int, weight: Array | None = None
    ) -> ClassCounts:
        """From class indices (N,), without an (N, K) matrix, which can fill the memory."""
        share = np.ones(len(target)) if weight is None else weight
        right = share * (target == label)
        return ClassCounts(
            *(
                np.bincount(codes, weights=each, minlength=classes)
                for codes, each in ((target, right), (label, share), (target, share))
            )
        )

    @staticmethod
    def from_tags(target: Array, label: Array, weight: Array | None = None) -> ClassCounts:
        """From (N, K) matrices of booleans, or of zeros and ones."""
        share = np.ones(len(target)) if weight is None else weight
        return ClassCounts(share @ (target * label), share @ label, share @ target)

    def precision(self) -> Array:
        """0 for a class that was never predicted, as in scikit-learn."""
        return _ratio(self.true_positives, self.predicted)

    def recall(self) -> Array:
        """0 for a class that never occurs, as in scikit-learn."""
        return _ratio(self.true_positives, self.support)

    def f1(self) -> Array:
        return _ratio(2 * self.true_positives, self.predicted + self.support)

    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that occur."""
        occurs = self.support > 0
        return float(self.recall()[occurs].mean()) if occurs.any() else float("nan")

    def macro_f1(self) -> float:
        """Mean F1 of the classes that occur or were predicted."""
        counted = (self.support + self.predicted) > 0
        return float(self.f1()[counted].mean()) if counted.any() else float("nan")

    def mean_parts(self, name: str) -> tuple[Array, Array]:
        """(successes, trials) of each class that the mean `name` counts: its value is the mean of
        successes / trials. Of F1 the trials are the mean of predictions and targets."""
        trials = (
            self.support if name == "balanced_accuracy" else (self.support + self.predicted) / 2
        )
        counted = trials > 0
        return self.true_positives[counted], trials[counted]

    def cohen_kappa(self) -> float:
        """Agreement beyond chance (Cohen 1960); NaN where chance alone explains all of it."""
        total = self.support.sum()
        if not total:
            return float("nan")
        chance = float(self.predicted @ self.support / total**2)
        observed = float(self.true_positives.sum() / total)
        return (observed - chance) / (1 - chance) if chance < 1 else float("nan")

    def micro_f1(self) -> float:
        return float(
            _ratio(
                2 * self.true_positives.sum(), np.asarray(self.predicted.sum() + self.support.sum())
            )
        )


@dataclass(frozen=True, slots=True)
class ScoreRanking:
    """Samples of each class by descending score, and the positives among them: the part of average
    precision that does not depend on weights.

    Positions are indices into the flat (K, N) order; the positives of a class are consecutive.

    Args:
        order: (K, N) rows, highest score first.
        positives: (H,) positions of rows that have the class, ascending.
        tie_start: (H,) the first position with the same score.
        tie_end: (H,) the last one.
        positives_before, positives_up_to: (H,) number of positives of all classes before the first,
            and up to the last.
    """

    order: Array
    positives: Array
    tie_start: Array
    tie_end: Array
    positives_before: Array
    positives_up_to: Array

    @staticmethod
    def from_scores(score: Array, target: Array) -> ScoreRanking:
        """From scores (N, K) and boolean targets (N, K)."""
        order = np.argsort(-score.T, axis=1, kind="stable")
        ranked = np.take_along_axis(score.T, order, axis=1)
        last = np.ones(ranked.shape, bool)
        last[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
        positions = np.arange(last.size).reshape(last.shape)
        ends = np.where(last, positions, last.size)
        tie_end = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
        hits = np.flatnonzero(np.take_along_axis(target.T, order, axis=1))
        first = np.ones(ranked.shape, bool)
        first[:, 1:] = last[:, :-1]
        tie_start = np.maximum.accumulate(np.where(first, positions, 0), axis=1)
        start, end = tie_start.ravel()[hits], tie_end.ravel()[hits]
        before, up_to = np.searchsorted(hits, start), np.searchsorted(hits, end, side="right")
        return ScoreRanking(order, hits, start, end, before, up_to)


def average_precision(ranking: ScoreRanking, weight: Array | None = None) -> Array:
    """The second result of `rank_classes`."""
    return rank_classes(ranking, weight)[1]


def rank_classes(ranking: ScoreRanking, weight: Array | None = None) -> tuple[Array, Array]:
    """(area under the ROC curve, average precision) of each class against the others, (K,) each.

    Equal to scikit-learn's `roc_auc_score` (ties count half: Mann and Whitney 1947) and
    `average_precision_score` (no interpolation, one step per distinct score). NaN for a class that
    never occurs; the area also where every sample has the class.
    """
    classes, n = ranking.order.shape
    drawn = np.take(np.ones(n) if weight is None else weight, ranking.order)  # (K, N)
    owner, hits = ranking.positives // max(n, 1), drawn.ravel()[ranking.positives]
    support = np.bincount(owner, weights=hits, minlength=classes)
    offset = (np.cumsum(support) - support)[owner]  # positives of the preceding classes
    samples = np.cumsum(drawn, axis=1)
    positives = np.concatenate([[0.0], np.cumsum(hits)])
    # samples and positives up to the end of each positive's tie, and before its start
    through = samples.ravel()[ranking.tie_end]
    true_through = positives[ranking.positives_up_to] - offset
    before = (samples - drawn).ravel()[ranking.tie_start]
    true_before = positives[ranking.positives_before] - offset
    share = _ratio(
        np.bincount(owner, weights=hits * _ratio(true_through, through), minlength=classes), support
    )
    negatives = drawn.sum(axis=1) - support
    lower = negatives[owner] - (through - true_through + before - true_before) / 2
    area = _ratio(np.bincount(owner, weights=hits * lower, minlength=classes), support * negatives)
    is_contrast = (support > 0) & (negatives > 0)
    return np.where(is_contrast, area, np.nan), np.where(support > 0, share, np.nan)


@dataclass(frozen=True, slots=True)
class ReliabilityBins:
    """Confidence against accuracy in bins of equal width; zeros in empty bins."""

    confidence: Array  # (bins,) mean confidence
    accuracy: Array  # (bins,) share of correct predictions
    count: Array  # (bins,)

    def expected_calibration_error(self) -> float:
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


def confidence_bins(confidence: Array, bins: int = BINS) -> Array:
    """The bin ((m-1)/M, m/M] of each confidence (Guo et al. 2017, sec. 2); 0 is in the first."""
    return np.asarray(np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1))


def bin_reliability(
    confidence: Array,
    correct: Array,
    weight: Array | None = None,
    *,
    bins: int = BINS,
    binned: Array | None = None,
) -> ReliabilityBins:
    """Reliability of (N,) confidences; `binned` is `confidence_bins(confidence, bins)`, if already known."""
    bin_index = confidence_bins(confidence, bins) if binned is None else binned
    share = np.ones(len(confidence)) if weight is None else weight
    count = np.bincount(bin_index, weights=share, minlength=bins)
    return ReliabilityBins(
        _ratio(np.bincount(bin_index, weights=share * confidence, minlength=bins), count),
        _ratio(np.bincount(bin_index, weights=share * correct, minlength=bins), count),
        count,
    )


def calibration_terms(confidence: Array, correct: Array, bins: int = BINS) -> Array:
    """(N, bins): (correct - confidence) in the bin of the confidence, 0 in the others.

    ECE is the sum over bins of their absolute mean: (n_b / n) |accuracy - confidence|.
    """
    terms = np.zeros((len(confidence), bins))
    terms[np.arange(len(confidence)), confidence_bins(confidence, bins)] = correct - confidence
    return terms


def sum_absolute_means(terms: Array, weight: Array) -> float:
    """ECE from `calibration_terms` (N, bins) of samples with `weight` (N,)."""
    total = weight.sum()
    return float(np.abs(weight @ terms).sum() / total) if total else float("nan")


def _ratio(top: Array, bottom: Array) -> Array:
    """top / bottom, 0 where bottom is 0."""
    zeros = np.zeros_like(top, np.float64)
    return np.asarray(np.divide(top, bottom, out=zeros, where=bottom > 0))
