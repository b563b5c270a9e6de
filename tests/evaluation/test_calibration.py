from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from skipstone.core.errors import UsageError
from skipstone.data.samples import SampleMeta
from skipstone.evaluation.scores import calibration_gain, expected_ece_by_chance
from skipstone.tasks.base import Record
from skipstone.tasks.classification.task import ClassificationTask
from skipstone.tasks.options import ClassifyOptions

CLASSES = list("abcd")
TASK = ClassificationTask(ClassifyOptions(), {"classes": CLASSES})


def draw(n: int, factor: float, seed: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """Logits `factor` times too large for the labels drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 4)) * 2
    power = np.exp(logits)
    share = (power / power.sum(1, keepdims=True)).cumsum(1)
    target = (share < rng.random(n)[:, None]).sum(1).clip(0, 3)
    return {"logits": (logits * factor).astype(np.float32)}, [CLASSES[code] for code in target]


def records(
    outputs: dict[str, np.ndarray], targets: list[str], post: dict[str, Any]
) -> list[Record]:
    metas = [SampleMeta(row) for row in range(len(targets))]
    predictions = TASK.predict(outputs, metas, post)
    return [TASK.score_prediction(p, t) for p, t in zip(predictions, targets, strict=True)]


def gain(factor: float, n: int) -> Any:
    post = dict(TASK.fit_postprocessing(*draw(2000, factor, seed=0)))
    test = draw(n, factor, seed=1)
    return calibration_gain(records(*test, {}), records(*test, post), TASK)


def test_an_overconfident_network_is_halved() -> None:
    found = gain(3.0, 2000)
    assert found.halved
    assert found.before.low > found.after.high
    assert found.reason.endswith("at most half.")


def test_a_calibrated_network_says_why_it_is_not_halved() -> None:
    found = gain(1.0, 500)
    assert not found.halved
    assert "calibrated already" in found.reason


def test_a_temperature_that_does_harm_is_not_called_calibrated() -> None:
    """Few rows that it was fitted to, and others than these: it was near what chance gives."""
    test = draw(40, 1.0, seed=1)
    found = calibration_gain(records(*test, {}), records(*test, {"temperature": 4.0}), TASK)
    assert found.before.value < 2 * found.chance
    assert found.after.value > found.before.value
    assert "makes it worse here" in found.reason


def test_chance_is_what_perfect_probabilities_show() -> None:
    """About 2 x on a quarter of the samples, as sqrt(bins / n) says."""
    outputs, targets = draw(4000, 1.0, seed=2)
    confidence = np.array([record["probability"] for record in records(outputs, targets, {})])
    many, few = expected_ece_by_chance(confidence), expected_ece_by_chance(confidence[:1000])
    assert few == pytest.approx(2 * many, rel=0.15)
    assert TASK.compute_metrics(records(outputs, targets, {}))["ece"] == pytest.approx(
        many, rel=0.6
    )


def test_a_task_without_calibration_error_is_refused() -> None:
    with pytest.raises(UsageError, match="no calibration error"):
        calibration_gain([], [], TASK)
