"""Intervals against scipy, against brute force, and against simulated truth."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats

from skipstone.core.errors import UsageError
from skipstone.evaluation import intervals as bootstrap_room
from skipstone.evaluation.intervals import (
    NORMAL_QUANTILE,
    bootstrap_intervals,
    interval,
    metric_intervals,
    paired_difference,
    tango_interval,
    wilson_interval,
)
from skipstone.tasks.base import Metric, Record, RecordTable
from skipstone.tasks.classification.task import ClassificationTask
from skipstone.tasks.options import ClassifyOptions

ACCURACY = Metric("accuracy", "accuracy", "proportion", field="correct")
MEAN = Metric("mean", "mean", "bootstrap")
CLASSES = ("a", "b", "c")


class Mean:
    """A task with one figure, the mean of "value", and nothing else."""

    name = "mean"

    def list_metrics(self) -> tuple[Metric, ...]:
        return (MEAN,)

    def compute_metrics(self, records: Sequence[Record]) -> dict[str, float]:
        return {"mean": float(np.mean([record["value"] for record in records]))}


def classify_records(
    n: int, rng: np.random.Generator, sharpness: float = 1.0
) -> list[dict[str, Any]]:
    """Three unequal classes and a network that is `sharpness` times too sure of itself."""
    target = rng.choice(3, n, p=[0.6, 0.3, 0.1])
    logits = rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[target]
    power = np.exp(logits * sharpness)
    probability = power / power.sum(1, keepdims=True)
    label = probability.argmax(1)
    own = probability[np.arange(n), target]
    return [
        {
            "id": row,
            "name": str(row),
            "target": CLASSES[target[row]],
            "label": CLASSES[label[row]],
            "correct": bool(target[row] == label[row]),
            "probability": float(probability[row].max()),
            "rank": int((probability[row] >= own[row]).sum()),
            "loss": float(-np.log(own[row])),
            "brier": float(((probability[row] - np.eye(3)[target[row]]) ** 2).sum()),
            "probabilities": probability[row].tolist(),
        }
        for row in range(n)
    ]


def classify() -> ClassificationTask:
    return ClassificationTask(ClassifyOptions(), {"classes": list(CLASSES)})


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (7, 10), (931, 1000), (1, 3)])
def test_wilson_equals_scipy(successes: int, n: int) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    ("only_a", "only_b", "n"), [(3, 1, 20), (0, 0, 30), (12, 9, 200), (0, 5, 40), (1, 0, 5)]
)
def test_tango_equals_brute_force(only_a: int, only_b: int, n: int) -> None:
    """At its ends, the score statistic built from a numerically maximised likelihood is 1.96."""

    def statistic(delta: float) -> float:
        low, high = max(0.0, -delta), (1 - delta) / 2

        def deviance(q: float) -> float:  # q = p(only b), q + delta = p(only a)
            rest = np.log(max(1 - 2 * q - delta, 1e-300)) * (n - only_a - only_b)
            a = only_a * np.log(max(q + delta, 1e-300)) if only_a else 0.0
            b = only_b * np.log(max(q, 1e-300)) if only_b else 0.0
            return -float(rest + a + b)

        q = optimize.minimize_scalar(
            deviance, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
        ).x
        return float((only_a - only_b - n * delta) / np.sqrt(n * (2 * q + delta - delta**2)))

    low, high = tango_interval(only_a, only_b, n)
    assert low < (only_a - only_b) / n < high
    assert statistic(low) == pytest.approx(NORMAL_QUANTILE, abs=1e-3)
    assert statistic(high) == pytest.approx(-NORMAL_QUANTILE, abs=1e-3)


def test_tango_matches_mcnemar() -> None:
    """0 lies inside exactly when McNemar's score test does not reject."""
    for only_a, only_b in ((10, 3), (9, 3), (15, 4), (8, 1), (5, 0), (3, 0)):
        rejects = abs(only_a - only_b) / np.sqrt(only_a + only_b) > NORMAL_QUANTILE
        low, high = tango_interval(only_a, only_b, 100)
        assert (low > 0 or high < 0) == rejects


@pytest.fixture
def normal_quantile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ours departs from BCa on purpose: Student's quantile for the normal's."""
    monkeypatch.setattr(bootstrap_room, "_quantile", lambda jackknife: NORMAL_QUANTILE)


def test_bootstrap_equals_scipys_bca(normal_quantile: None) -> None:
    values = np.random.default_rng(0).exponential(size=60)
    expected = stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval

    def mean(weight: np.ndarray) -> np.ndarray:
        return (weight @ values / weight.sum(axis=-1))[:, None]

    ours = bootstrap_intervals(mean, 60, seed=2, resamples=20_000)[0]
    assert ours == pytest.approx((expected.low, expected.high), abs=0.01)


def test_many_records_leave_out_blocks_with_the_same_result(normal_quantile: None) -> None:
    values = np.random.default_rng(0).exponential(size=2000)

    def mean(weight: np.ndarray) -> np.ndarray:
        return (weight @ values / weight.sum(axis=-1))[:, None]

    expected = stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=4000, rng=np.random.default_rng(1)
    ).confidence_interval
    ours = bootstrap_intervals(mean, 2000, seed=2, resamples=4000)[0]
    assert ours == pytest.approx((expected.low, expected.high), abs=0.005)


def test_same_seed_same_interval() -> None:
    records = classify_records(100, np.random.default_rng(0))
    one, two = (metric_intervals(records, classify(), seed=5) for _ in range(2))
    assert one == two
    assert one["macro_f1"] != metric_intervals(records, classify(), seed=6)["macro_f1"]
    assert all(estimate.low <= estimate.value <= estimate.high for estimate in one.values())
    assert one["accuracy"].to_json()["n"] == 100


def test_a_task_that_only_iterates_gets_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=50)
    records = [{"value": float(value)} for value in values]
    ours = interval(MEAN, records, Mean(), seed=3)  # type: ignore[arg-type]

    def mean(weight: np.ndarray) -> np.ndarray:
        return (weight @ values / weight.sum(axis=-1))[:, None]

    assert (ours.low, ours.high) == pytest.approx(bootstrap_intervals(mean, 50, seed=3)[0])


def test_copies_in_a_group_add_nothing() -> None:
    """Ten copies of each sample: known as groups, they are worth one sample each."""
    rng = np.random.default_rng(1)
    once = classify_records(80, rng)
    copies = [{**record, "id": 10 * record["id"] + i} for record in once for i in range(10)]
    groups = [record["id"] // 10 for record in copies]
    task = classify()
    for metric in (ACCURACY, Metric("macro_f1", "macro F1", "bootstrap")):
        one = interval(metric, once, task)
        grouped = interval(metric, copies, task, groups)
        naive = interval(metric, copies, task)
        assert grouped.high - grouped.low == pytest.approx(one.high - one.low, rel=0.15)
        assert naive.high - naive.low < 0.5 * (one.high - one.low)


def test_groups_of_one_change_nothing() -> None:
    records = classify_records(60, np.random.default_rng(0))
    task = classify()
    for groups in ([None] * 60, list(range(60))):
        assert metric_intervals(records, task, groups) == metric_intervals(records, task)


def test_paired_difference_is_a_minus_b_and_narrow() -> None:
    rng = np.random.default_rng(0)
    a = classify_records(1000, rng)
    b = [dict(record) for record in a]
    for record in b[:12]:
        record["label"] = "a" if record["label"] != "a" else "b"
        record["correct"] = record["label"] == record["target"]
    task = classify()
    shuffled = [b[row] for row in rng.permutation(1000)]
    drop = paired_difference(ACCURACY, a, shuffled, task)
    expected = task.compute_metrics(a)["accuracy"] - task.compute_metrics(b)["accuracy"]
    assert drop.value == pytest.approx(expected)
    assert drop.high - drop.low < 0.03 < np.subtract(*wilson_interval(700, 1000)[::-1])
    f1 = paired_difference(Metric("macro_f1", "macro F1", "bootstrap"), a, shuffled, task)
    assert f1.low <= f1.value <= f1.high < f1.low + 0.06


def test_models_that_answer_alike_are_as_unsure_as_their_units_are_few() -> None:
    """Ten rows of five patients are no surer than ten rows that stand alone."""
    records, task = classify_records(10, np.random.default_rng(0)), classify()
    patients = [row // 2 for row in range(10)]
    for metric in (ACCURACY, Metric("macro_f1", "macro F1", "bootstrap")):
        alone = paired_difference(metric, records, list(records), task)
        grouped = paired_difference(metric, records, list(records), task, patients)
        assert (alone.low, alone.high) == pytest.approx(tango_interval(0, 0, 10))
        assert (grouped.low, grouped.high) == pytest.approx(tango_interval(0, 0, 5))
        assert grouped.value == alone.value == 0
    same = bootstrap_intervals(lambda weights: np.full((len(weights), 1), 0.7), 20)[0]
    assert same == pytest.approx(wilson_interval(14, 20))  # as many as are right of twenty


@pytest.mark.parametrize("count", [1, 10])
def test_one_unit_tells_nothing(count: int) -> None:
    """One sample, or one group of them: a figure may be all that it can be."""
    records, task = classify_records(count, np.random.default_rng(0)), classify()
    groups = ["one patient"] * count
    found = metric_intervals(records, task, groups)
    for name, most in (("macro_f1", 1.0), ("ece", 1.0), ("nll", math.inf)):
        assert (found[name].low, found[name].high) == (0.0, most)
    assert json.loads(json.dumps(found["nll"].to_json(), allow_nan=False))["high"] is None
    for name, most in (("macro_f1", 1.0), ("nll", math.inf)):
        metric = next(metric for metric in task.list_metrics() if metric.name == name)
        gap = paired_difference(metric, records, list(records), task, groups)
        assert (gap.value, gap.low, gap.high) == (0.0, -most, most)


def test_what_cannot_be_paired_is_refused() -> None:
    task = classify()
    a = classify_records(10, np.random.default_rng(0))
    with pytest.raises(UsageError, match="10 and 9 samples"):
        paired_difference(ACCURACY, a, a[:9], task)
    with pytest.raises(UsageError, match="1 of 10 ids differ"):
        paired_difference(ACCURACY, a, [*a[:9], {**a[9], "id": 99}], task)
    ece = next(metric for metric in task.list_metrics() if metric.kind == "calibration")
    with pytest.raises(UsageError, match="has no interval with the stated coverage"):
        paired_difference(ece, a, a, task)
    with pytest.raises(UsageError, match="no scored samples"):
        interval(ACCURACY, [], task)
    with pytest.raises(UsageError, match="3 groups for 10 records"):
        interval(ACCURACY, a, task, groups=[1, 2, 3])


def test_ten_thousand_records_take_seconds() -> None:
    records = classify_records(10_000, np.random.default_rng(0))
    started = time.perf_counter()
    metric_intervals(records, classify())
    assert time.perf_counter() - started < 10


def test_resampled_tables_count_as_repeated_records() -> None:
    rng = np.random.default_rng(4)
    records = classify_records(50, rng)
    weight = np.bincount(rng.integers(0, 50, 50), minlength=50)
    table = RecordTable(records).with_weights(weight)
    repeated = [records[row] for row in np.repeat(np.arange(50), weight)]
    assert list(table) == repeated
    assert table[1:3] == repeated[1:3]
    assert classify().compute_metrics(table) == pytest.approx(classify().compute_metrics(repeated))


def test_calibration_terms_add_up_to_ece_and_groups_widen() -> None:
    records = classify_records(200, np.random.default_rng(0), 2.0)
    task = classify()
    terms = task.calibration_terms(records)
    assert np.abs(terms.mean(axis=0)).sum() == pytest.approx(task.compute_metrics(records)["ece"])
    metric = next(metric for metric in task.list_metrics() if metric.name == "ece")
    once = interval(metric, records, task)
    copies = [record for record in records for _ in range(10)]
    grouped = interval(metric, copies, task, [row // 10 for row in range(2000)])
    assert (grouped.low, grouped.high) == pytest.approx((once.low, once.high), rel=0.05)
