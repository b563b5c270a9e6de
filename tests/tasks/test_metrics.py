"""Every figure equals scikit-learn's or torchmetrics', also under weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as reference
from sklearn import metrics as sk

from skipstone.tasks import metrics as figures

N, K = 400, 7


@pytest.fixture(scope="module")
def sample() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    target = rng.integers(0, K - 1, N)  # the last class never occurs, but is answered
    logits = rng.normal(size=(N, K)) + 1.5 * np.eye(K)[target]
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return {
        "target": target,
        "probability": probability,
        "label": probability.argmax(1),
        "weight": rng.integers(0, 4, N).astype(np.float64),
    }


@pytest.mark.parametrize("weighted", [False, True])
def test_counts_equal_scikit_learn(sample: dict[str, np.ndarray], weighted: bool) -> None:
    target, label = sample["target"], sample["label"]
    weight = sample["weight"] if weighted else None
    matrix = figures.confusion_matrix(target, label, K, weight)
    expected = sk.confusion_matrix(target, label, labels=range(K), sample_weight=weight)
    np.testing.assert_allclose(matrix, expected)
    counts = figures.ClassCounts.from_labels(target, label, K, weight)
    alone = figures.ClassCounts.from_labels(target, label, K, weight)
    for name in ("true_positives", "predicted", "support"):
        np.testing.assert_allclose(getattr(alone, name), getattr(counts, name))
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        target, label, labels=range(K), sample_weight=weight, zero_division=0
    )
    np.testing.assert_allclose(counts.precision(), precision)
    np.testing.assert_allclose(counts.recall(), recall)
    np.testing.assert_allclose(counts.f1(), f1)
    assert counts.macro_f1() == pytest.approx(
        sk.f1_score(target, label, average="macro", sample_weight=weight)
    )
    assert counts.micro_f1() == pytest.approx(
        sk.f1_score(target, label, average="micro", sample_weight=weight)
    )
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        balanced = sk.balanced_accuracy_score(target, label, sample_weight=weight)
    assert counts.balanced_accuracy() == pytest.approx(balanced)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_equals_scikit_learn(sample: dict[str, np.ndarray], k: int) -> None:
    rank = figures.target_ranks(sample["probability"], sample["target"])
    expected = sk.top_k_accuracy_score(
        sample["target"], sample["probability"], k=k, labels=range(K)
    )
    assert figures.weighted_mean((rank <= k).astype(float)) == pytest.approx(expected)


def test_a_constant_answer_has_no_top_k() -> None:
    rank = figures.target_ranks(np.full((4, 10), 0.1), np.arange(4))
    assert rank.tolist() == [10] * 4
    assert figures.target_ranks(np.full((1, 10), np.nan), np.array([3])).tolist() == [10]


def test_nll_and_brier_equal_scikit_learn(sample: dict[str, np.ndarray]) -> None:
    nll = figures.negative_log_likelihood(sample["probability"], sample["target"])
    brier = figures.brier_scores(sample["probability"], sample["target"])
    assert nll.mean() == pytest.approx(
        sk.log_loss(sample["target"], sample["probability"], labels=range(K))
    )
    expected = ((sample["probability"] - np.eye(K)[sample["target"]]) ** 2).sum(1)
    np.testing.assert_allclose(brier, expected)
    impossible = figures.negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1]))
    assert np.isfinite(impossible).all()


def test_ece_equals_torchmetrics(sample: dict[str, np.ndarray]) -> None:
    probability = torch.from_numpy(sample["probability"])
    target = torch.from_numpy(sample["target"])
    expected = reference.multiclass_calibration_error(probability, target, K, n_bins=15)
    ours = figures.bin_reliability(
        sample["probability"].max(1), sample["label"] == sample["target"]
    ).expected_calibration_error()
    assert ours == pytest.approx(float(expected), abs=1e-6)


def test_weights_are_repetitions(sample: dict[str, np.ndarray]) -> None:
    again = np.repeat(np.arange(N), sample["weight"].astype(int))
    confidence = sample["probability"].max(1)
    correct = sample["label"] == sample["target"]
    weighted = figures.bin_reliability(confidence, correct, sample["weight"])
    repeated = figures.bin_reliability(confidence[again], correct[again])
    assert weighted.expected_calibration_error() == pytest.approx(
        repeated.expected_calibration_error()
    )
    assert weighted.to_json()[-1]["count"] == repeated.to_json()[-1]["count"]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_equals_scikit_learn(weighted: bool, ties: bool) -> None:
    rng = np.random.default_rng(1)
    target = rng.random((N, K)) < np.linspace(0.02, 0.6, K)
    score = rng.random((N, K)) * 0.6 + 0.4 * target
    if ties:
        score = score.round(1)
    weight = rng.integers(0, 4, N).astype(np.float64) if weighted else None
    ours = figures.average_precision(figures.ScoreRanking.from_scores(score, target), weight)
    expected = [
        sk.average_precision_score(target[:, k], score[:, k], sample_weight=weight)
        for k in range(K)
    ]
    np.testing.assert_allclose(ours, expected)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("digits", [1, 2, 12])
def test_area_under_roc_equals_scikit_learn(weighted: bool, digits: int) -> None:
    rng = np.random.default_rng(4)
    target = rng.random((N, K)) < np.linspace(0.02, 0.6, K)
    score = (rng.random((N, K)) * 0.7 + 0.3 * target).round(digits)
    weight = rng.integers(0, 4, N).astype(np.float64) if weighted else None
    ours = figures.rank_classes(figures.ScoreRanking.from_scores(score, target), weight)[0]
    expected = [sk.roc_auc_score(target[:, k], score[:, k], sample_weight=weight) for k in range(K)]
    np.testing.assert_allclose(ours, expected)


def test_area_under_roc_without_a_contrast_is_nan() -> None:
    target = np.array([[True, False, True]] * 4 + [[True, False, False]] * 4)
    ranking = figures.ScoreRanking.from_scores(np.random.default_rng(0).random((8, 3)), target)
    area, _ = figures.rank_classes(ranking)
    assert np.isnan(area[:2]).all()
    assert np.isfinite(area[2])
    assert np.isnan(figures.rank_classes(ranking, np.zeros(8))).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_kappa_equals_scikit_learn(weighted: bool) -> None:
    rng = np.random.default_rng(5)
    target, label = rng.integers(0, K, N), rng.integers(0, K, N)
    label = np.where(rng.random(N) < 0.6, target, label)
    weight = rng.integers(0, 4, N).astype(np.float64) if weighted else None
    ours = figures.ClassCounts.from_labels(target, label, K, weight).cohen_kappa()
    assert ours == pytest.approx(sk.cohen_kappa_score(target, label, sample_weight=weight))
    one = np.zeros(5, np.int64)
    assert np.isnan(figures.ClassCounts.from_labels(one, one, K).cohen_kappa())


def test_average_precision_of_a_tag_that_never_occurs_is_nan() -> None:
    target = np.array([[True, False]] * 5)
    ranking = figures.ScoreRanking.from_scores(np.random.default_rng(0).random((5, 2)), target)
    ours = figures.average_precision(ranking)
    assert ours[0] == 1.0
    assert np.isnan(ours[1])


def test_tag_counts_equal_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    target, label = rng.random((N, K)) < 0.3, rng.random((N, K)) < 0.4
    weight = rng.integers(0, 3, N).astype(np.float64)
    counts = figures.ClassCounts.from_tags(target, label, weight)
    for average, ours in (("macro", counts.macro_f1()), ("micro", counts.micro_f1())):
        expected = sk.f1_score(target, label, average=average, sample_weight=weight)
        assert ours == pytest.approx(expected)
