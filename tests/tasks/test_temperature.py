from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.special import softmax as scipy_softmax

from skipstone.tasks import temperature as calibration
from skipstone.tasks.label_answers import sigmoid, softmax


def overconfident(factor: float, n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `factor` times too large for the labels drawn from them."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n, 5)) * 2
    draws = scipy_softmax(logits, axis=1).cumsum(1)
    target = (draws < rng.random(n)[:, None]).sum(1).clip(0, 4)
    return (logits * factor).astype(np.float32), target


def test_probabilities_equal_scipy() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32) * 50
    ours = softmax(logits, 2.0)
    np.testing.assert_allclose(ours, scipy_softmax(logits.astype(np.float64) / 2, axis=1))
    np.testing.assert_allclose(sigmoid(logits), expit(logits.astype(np.float64)))


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_temperature_finds_the_factor_and_equals_a_scan(factor: float) -> None:
    logits, target = overconfident(factor)
    found = calibration.fit_temperature(logits, target)
    assert found == pytest.approx(factor, rel=0.1)
    logits, target = logits[:500], target[:500]
    scan = np.geomspace(0.05, 20, 4001)
    ranked = np.argsort(-logits, axis=1)
    other = np.where(ranked[:, 0] == target, ranked[:, 1], ranked[:, 0])
    losses = [
        501 * calibration.softmax_nll(logits, target, t) + calibration.softmax_nll(logits, other, t)
        for t in scan
    ]
    assert calibration.fit_temperature(logits, target) == pytest.approx(
        scan[int(np.argmin(losses))], rel=2e-3
    )


def test_temperature_of_sigmoids_equals_a_scan() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(800, 3)) * 2
    target = rng.random((800, 3)) < expit(logits)
    found = calibration.fit_temperature(logits * 3, target, calibration.sigmoid_nll)
    scan = np.geomspace(0.05, 20, 4001)
    share = 1 / (800 * 3 + 2)  # of each decision that counts as the other one
    losses = [
        (1 - share) * calibration.sigmoid_nll(logits * 3, target, t)
        + share * calibration.sigmoid_nll(logits * 3, ~target, t)
        for t in scan
    ]
    assert found == pytest.approx(scan[int(np.argmin(losses))], rel=2e-3)
    assert found == pytest.approx(3, rel=0.15)


@pytest.mark.parametrize("n", [3, 20, 300])
def test_always_right_is_as_sure_as_so_few_samples_let_it_be(n: int) -> None:
    """Laplace's rule of succession: (n + 1) / (n + 2), of answers and of tags."""
    target = np.arange(n) % 3
    logits = 4 * np.eye(3)[target]
    found = calibration.fit_temperature(logits, target)
    assert softmax(logits, found).max(1) == pytest.approx((n + 1) / (n + 2), rel=1e-5)
    tags = np.arange(n)[:, None] % 2 == 0
    logits = np.where(tags, 3.0, -3.0)
    found = calibration.fit_temperature(logits, tags, calibration.sigmoid_nll)
    assert sigmoid(logits[:1], found) == pytest.approx((n + 1) / (n + 2), rel=1e-5)


def test_temperature_is_bounded_and_needs_evidence() -> None:
    always_right = np.eye(3)[[0, 1, 2]]
    hardly = calibration.fit_temperature(always_right / 100, np.arange(3))
    assert hardly == pytest.approx(calibration.MIN_FITTED, rel=1e-4)
    always_wrong = calibration.fit_temperature(always_right * 100, np.array([1, 2, 0]))
    assert always_wrong == pytest.approx(calibration.MAX_FITTED, rel=1e-4)
    assert calibration.fit_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0
    assert calibration.fit_temperature(np.zeros((4, 3)), np.zeros(4, int)) == 1.0
    with pytest.raises(ValueError, match="not finite"):
        calibration.fit_temperature(np.full((2, 3), np.nan), np.zeros(2, int))
