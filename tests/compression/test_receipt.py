from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipstone.commands.rendering import make_receipt_table
from skipstone.compression.receipt import (
    AccuracyChange,
    ShrinkReceipt,
    compare_accuracy,
    compare_metrics,
    describe_verdict,
    measure_sizes,
)
from skipstone.core.errors import Refusal
from skipstone.core.registry import TASKS
from skipstone.data.samples import SampleMeta
from skipstone.evaluation.intervals import Estimate, tango_interval
from skipstone.inference.predictor import Evaluation
from skipstone.report.build_report import build_receipt_block
from skipstone.tasks.base import Metric, Task


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high, 400)


def receipt(val: Estimate, test: Estimate | None, max_drop: float = 1.0) -> ShrinkReceipt:
    level = estimate(0.9, 0.87, 0.93)
    return ShrinkReceipt(
        plan="int8",
        steps=[],
        metric="accuracy",
        title="accuracy",
        max_drop=max_drop,
        val=AccuracyChange("val", level, level, val),
        test=None if test is None else AccuracyChange("test", level, level, test),
        sizes={
            "float32_weights": 400,
            "input": [0, 0],
            "before": 400,
            "programs": {"openvino-int8": 100},
            "default": "openvino-int8",
            "ships": 100,
            "smaller": 4.0,
        },
        latency=None,
        made_from="",
    )


@pytest.mark.parametrize(
    ("val", "test", "accepted", "proven"),
    [
        ((0.5, 0.0, 0.9), None, True, True),
        ((0.5, 0.0, 1.1), None, True, False),
        ((1.0, 0.9, 1.0), None, True, True),  # exactly the budget is within it
        ((1.0 + 1e-6, 0.9, 1.2), None, False, False),
        ((0.5, 0.0, 1.1), (0.4, 0.0, 0.9), True, True),  # test proves, not val
        ((0.5, 0.0, 0.9), (0.4, 0.0, 1.1), True, False),
        ((0.5, 0.0, 0.9), (2.0, 1.5, 2.5), True, False),  # test does not decide
        ((1.5, 0.0, 2.9), (0.1, 0.0, 0.2), False, False),  # never proven without being accepted
        ((-0.5, -1.0, 0.0), None, True, True),  # better than before
    ],
)
def test_val_decides_and_test_proves(
    val: tuple[float, float, float],
    test: tuple[float, float, float] | None,
    accepted: bool,
    proven: bool,
) -> None:
    found = receipt(estimate(*val), None if test is None else estimate(*test))
    assert (found.accepted, found.proven) == (accepted, proven)
    stored = json.loads(found.to_bytes())
    assert (stored["accepted"], stored["proven"]) == (accepted, proven)
    last = describe_verdict(stored)
    assert last.startswith("Accepted" if accepted else "Refused")
    assert ("Accepted and proven" in last) == proven


@pytest.mark.parametrize("patients", [1, 5])
def test_no_change_in_few_patients_is_no_proof(patients: int) -> None:
    groups = [str(row % patients) for row in range(10)]
    scored = dataclasses.replace(evaluation([True] * 10), groups=groups)
    drop = compare_accuracy(classify(), scored, scored, role="test", seed=0).drop
    assert (drop.value, drop.high > 0) == (0, True)
    found = receipt(estimate(0.0, 0.0, 0.0), drop, max_drop=0.0)
    assert (found.accepted, found.proven) == (True, False)


def test_a_drop_without_end_is_told_and_never_proven() -> None:
    """Of a single patient, in a figure that nothing limits."""
    found = receipt(estimate(0.0, -math.inf, math.inf), None, max_drop=100.0)
    assert (found.accepted, found.proven) == (True, False)
    stored = json.loads(found.to_bytes())
    assert describe_verdict(stored).endswith("on val the drop may be of any size (95 %).")
    assert make_receipt_table(stored)[1][0][-1] == "+0.00 points [-inf, +inf]"
    assert build_receipt_block(stored)["rows"][0]["words"] == "0 points (−∞ to +∞)"


@given(st.floats(-50, 50), st.floats(0, 20), st.floats(0, 20))
def test_what_is_proven_is_accepted(value: float, above: float, max_drop: float) -> None:
    found = receipt(Estimate(value, value - above, value + above, 10), None, max_drop)
    assert not found.proven or found.accepted
    assert found.accepted == (value <= max_drop + 1e-9)


def classify(classes: int = 3) -> Task:
    entry = TASKS["classify"]
    schema = {"classes": [f"c{code}" for code in range(classes)]}
    task: Task = entry.load()(entry.make_options(), schema)
    return task


def evaluation(right: list[bool]) -> Evaluation:
    records: list[dict[str, Any]] = [
        {
            "id": number,
            "name": str(number),
            "target": "c0",
            "label": "c0" if good else "c1",
            "correct": good,
            "probability": 0.8,
            "probabilities": [0.8, 0.2, 0.0] if good else [0.2, 0.8, 0.0],
            "rank": 1 if good else 2,
            "loss": 0.2,
            "brier": 0.1,
        }
        for number, good in enumerate(right)
    ]
    return Evaluation(records, [], [], groups=[None] * len(records))


def test_the_drop_is_paired_and_in_points() -> None:
    before = [True] * 90 + [False] * 10
    after = [False] * 5 + [True] * 87 + [False] * 8  # loses 5, wins 2
    found = compare_accuracy(classify(), evaluation(before), evaluation(after), role="val", seed=0)
    assert found.before.value == pytest.approx(0.90)
    assert found.after.value == pytest.approx(0.87)
    assert found.drop.value == pytest.approx(3.0)
    low, high = tango_interval(5, 2, 100)
    assert (found.drop.low, found.drop.high) == pytest.approx((100 * low, 100 * high))


def test_the_drop_of_a_metric_where_less_is_better_is_what_it_rises_by() -> None:
    class Loss:
        headline = "wrong"

        def list_metrics(self) -> tuple[Metric, ...]:
            return (Metric("wrong", "wrong", "bootstrap", higher_is_better=False),)

        def compute_metrics(self, records: Any) -> dict[str, float]:
            weight = records.weight
            return {
                "wrong": float((weight * (1 - records.get_column("correct"))).sum() / weight.sum())
            }

    before, after = [True] * 18 + [False] * 2, [True] * 15 + [False] * 5
    task: Any = Loss()
    found = compare_accuracy(task, evaluation(before), evaluation(after), role="val", seed=0)
    assert found.drop.value == pytest.approx(15.0)
    assert found.drop.low <= 15.0 <= found.drop.high


def test_nothing_is_decided_on_no_samples() -> None:
    with pytest.raises(Refusal, match="val"):
        compare_accuracy(classify(), evaluation([]), evaluation([]), role="val", seed=0)


def test_a_figure_over_nothing_is_left_out() -> None:
    """A class that one of the two models finds and no mask shows has a figure in one of them."""
    entry = TASKS["segment"]
    task: Task = entry.load()(entry.make_options(), {"classes": ["sky", "road", "unicorn"]})

    def scored(answer: int) -> Evaluation:
        truth = np.array([[0, 0, 1, 1]], np.uint8)
        guess = np.array([[0, 0, 1, answer]])
        logits = np.where(guess == np.arange(3)[:, None, None], 9.0, 0.0).astype(np.float32)
        metas = [SampleMeta(row) for row in range(4)]
        predictions = task.predict({"logits": np.stack([logits] * 4)}, metas, {})
        return Evaluation(
            [task.score_prediction(one, truth) for one in predictions], [], groups=[None] * 4
        )

    for before, after in ((1, 1), (1, 2), (2, 1)):
        figures = compare_metrics(task, scored(before), scored(after), seed=0)
        json.dumps(figures, allow_nan=False)
        names = [figure["name"] for figure in figures]
        assert {"miou", "iou:sky", "iou:road"} < set(names)
        assert "iou:unicorn" not in names


def test_sizes_are_those_of_the_files(run: Path) -> None:
    bundle = run / "bundle"
    sizes = measure_sizes(bundle)
    assert sizes["float32_weights"] == (bundle / "weights.safetensors").stat().st_size
    both = [bundle / "exports/openvino" / name for name in ("model.xml", "model.bin")]
    assert sizes["programs"]["openvino-bf16"] == sum(path.stat().st_size for path in both)
    assert sizes["default"] == "torch-f32"
    assert sizes["smaller"] == 1


def test_a_receipt_is_plain_data() -> None:
    found = receipt(estimate(0.5, 0.0, 0.9), None)
    assert json.loads(found.to_bytes()) == found.to_json()
    assert dataclasses.replace(found, plan="other").to_json()["plan"] == "other"


@pytest.mark.parametrize(
    ("steady", "others", "warned"),
    [(True, None, False), (True, 0.05, False), (True, 0.4, True), (False, 0.0, True)],
)
def test_latencies_of_a_busy_machine_are_called_so(
    steady: bool, others: float | None, warned: bool
) -> None:
    stored = receipt(estimate(0.5, 0.0, 0.9), None).to_json()
    control = {"fast": "a", "value": 1.0, "low": 0.9, "high": 1.1, "words": "no difference"}
    stored["latency"] = {
        "ratios": [],
        "steady": steady,
        "used_by_others": others,
        "control": control,
        "batch": 1,
        "threads": 1,
        "rounds": 10,
        "faster": None,
    }
    assert ("busy" in build_receipt_block(stored)["note"]) == warned


def test_slower_than_the_float_program_is_not_accepted_for_speed() -> None:
    stored = receipt(estimate(0.5, 0.0, 0.9), None).to_json()
    ratios = [{"slow": name, "fast": "openvino-int8"} for name in ("torch-f32", "openvino-bf16")]
    stored["latency"] = {"ratios": ratios, "faster": False}
    verdict = describe_verdict(stored)
    assert verdict.startswith("Accepted")
    assert verdict.endswith("not for speed: openvino-int8 is slower than openvino-bf16.")
    for faster in (True, None):
        stored["latency"]["faster"] = faster
        assert "speed" not in describe_verdict(stored)
