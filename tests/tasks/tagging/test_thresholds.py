from __future__ import annotations

import numpy as np
from sklearn.metrics import f1_score

from skipstone.tasks.tagging.task import CANDIDATES, choose_thresholds, compute_f1_curves


def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Twelve tags, most of them rare, with scores whose best threshold lies near 0.3."""
    target = rng.random((n, 12)) < np.r_[0.3, 0.2, np.full(10, 0.02)]
    logits = rng.normal(size=target.shape) * 1.2 - 2.4 + 3.0 * target
    return 1 / (1 + np.exp(-logits)), target


def macro_f1(probability: np.ndarray, target: np.ndarray, thresholds: list[float]) -> float:
    found = probability >= np.array(thresholds)
    return float(f1_score(target, found, average="macro", zero_division=0))


def test_curves_equal_scikit_learn() -> None:
    probability, target = draw(200, np.random.default_rng(0))
    own, shared = compute_f1_curves(probability, target, CANDIDATES[::40])
    for column, threshold in enumerate(CANDIDATES[::40]):
        found = probability >= threshold
        expected = f1_score(target, found, average=None, zero_division=0)
        np.testing.assert_allclose(own[:, column], expected)
        micro = f1_score(target, found, average="micro", zero_division=0)
        np.testing.assert_allclose(shared[column], micro)


def test_without_shrinkage_the_threshold_is_the_best_there_is() -> None:
    probability, target = draw(400, np.random.default_rng(1))
    chosen = choose_thresholds(probability, target, prior=0)
    own, _ = compute_f1_curves(probability, target, CANDIDATES)
    at_chosen, _ = compute_f1_curves(probability, target, np.array(chosen))
    np.testing.assert_allclose(np.diagonal(at_chosen), own.max(axis=1))


def test_shrinkage_generalises_where_tags_are_rare() -> None:
    """On fresh data: better than each tag's own best threshold, and than one half for all."""
    rng = np.random.default_rng(2)
    fresh = draw(20_000, rng)
    shrunk, own, half = [], [], macro_f1(*fresh, [0.5] * 12)
    for _ in range(20):
        val = draw(250, rng)  # five positives of a rare tag
        shrunk.append(macro_f1(*fresh, choose_thresholds(*val)))
        own.append(macro_f1(*fresh, choose_thresholds(*val, prior=0)))
    assert np.mean(shrunk) > np.mean(own) + 0.02
    assert np.mean(shrunk) > half + 0.02


def test_no_positive_at_all_leaves_one_half() -> None:
    assert choose_thresholds(np.random.rand(5, 2), np.zeros((5, 2), bool)) == [0.5, 0.5]
