"""The receipt of shrinking: accuracy, size and latency before and after, with intervals.

- The validation rows decide. `accepted`: the estimated drop on them is at most `max_drop`.
- The test rows, which no decision uses, prove. `proven`: accepted, and the upper end of the paired
  95 % interval of the drop is at most `max_drop`, on the test rows or, without any, on the
  validation rows. With little data a model may be accepted but not proven.

The drop is in points (hundredths) of the task's headline metric, and positive if the smaller model
is worse.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skipstone.bundle.files import read_bundle_json
from skipstone.bundle.format import INPUT_ARRAYS_FILE, WEIGHTS_FILE
from skipstone.compression.receipt_format import (
    interval_bounds,
)
from skipstone.core.errors import Refusal
from skipstone.core.strict_json import JsonFields
from skipstone.evaluation.intervals import Estimate, interval, metric_intervals, paired_difference
from skipstone.inference.predictor import Evaluation
from skipstone.inference.programs import read_programs
from skipstone.tasks.base import Task, headline_metric

#: The receipt's name in a bundle.
RECEIPT_FILE = "receipt.json"
FORMAT = 2
POINTS_PER_UNIT = 100
#: Tolerance for rounding errors in a comparison with the budget.
ROUNDING = 1e-9


@dataclass(frozen=True)
class AccuracyChange(JsonFields):
    """The headline metric before and after, on the same samples of one role.

    Args:
        drop: before - after in points, paired; after - before for a loss.
    """

    role: str
    before: Estimate
    after: Estimate
    drop: Estimate


def compare_accuracy(
    task: Task, before: Evaluation, after: Evaluation, *, role: str, seed: int
) -> AccuracyChange:
    """Compare two evaluations of the same rows. Refusal if no row was scored."""
    if not before.records:
        raise Refusal(
            f"no {role} row could be scored, so the models cannot be compared.",
            hint="If the data has moved: --data FOLDER",
        )
    metric = headline_metric(task)
    groups = before.groups
    first, second = (before, after) if metric.higher_is_better else (after, before)
    gap = paired_difference(metric, first.records, second.records, task, groups, seed)
    return AccuracyChange(
        role,
        interval(metric, before.records, task, groups, seed),
        interval(metric, after.records, task, groups, seed),
        Estimate(
            gap.value * POINTS_PER_UNIT,
            gap.low * POINTS_PER_UNIT,
            gap.high * POINTS_PER_UNIT,
            gap.n,
        ),
    )


def compare_metrics(
    task: Task, before: Evaluation, after: Evaluation, *, seed: int
) -> list[dict[str, Any]]:
    """Every finite metric of the task, for both models, with intervals."""
    old = metric_intervals(before.records, task, before.groups, seed)
    new = metric_intervals(after.records, task, after.groups, seed)
    return [
        {
            "name": metric.name,
            "title": metric.title,
            "unit": "percent" if metric.higher_is_better else "number",
            "before": old[metric.name].to_json(),
            "after": new[metric.name].to_json(),
        }
        for metric in task.list_metrics()
        if math.isfinite(old[metric.name].value) and math.isfinite(new[metric.name].value)
    ]


@dataclass(frozen=True)
class ShrinkReceipt(JsonFields):
    """Args:
    plan: the plan as text.
    steps: name, options and facts of each step.
    metric: name of the headline metric.
    title: its title.
    max_drop: allowed drop in points.
    val, test: accuracy on validation and test rows; test is None without test rows, and if
        the validation rows refused.
    sizes: see `measure_sizes`.
    latency: see `measure_latency`; None if it was not measured.
    made_from: SHA-256 of the original's weights.
    figures: see `compare_metrics`; on test rows, or else on validation rows.
    rehearsed: the accuracies are of a model that was fitted in the same way without these rows (see
        `rehearsal`), because the model itself was fitted on all rows.
    """

    plan: str
    steps: list[dict[str, Any]]
    metric: str
    title: str
    max_drop: float
    val: AccuracyChange
    test: AccuracyChange | None
    sizes: Mapping[str, Any]
    latency: Mapping[str, Any] | None
    made_from: str
    versions: Mapping[str, str] = field(default_factory=dict)
    figures: Sequence[Mapping[str, Any]] = ()
    rehearsed: bool = False

    @property
    def accepted(self) -> bool:
        return is_within_budget(self.val.drop, self.max_drop)

    @property
    def proven(self) -> bool:
        evidence = self.val if self.test is None else self.test
        return self.accepted and evidence.drop.high <= self.max_drop + ROUNDING

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            **super().to_json(),
            "accepted": self.accepted,
            "proven": self.proven,
            "decided_on": self.val.role,
            "proven_on": (self.test or self.val).role,
        }

    def to_bytes(self) -> bytes:
        """The content of the file."""
        text = json.dumps(
            self.to_json(), sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False
        )
        return text.encode()


def is_within_budget(drop: Estimate, max_drop: float) -> bool:
    """Whether an estimated drop, in points, is within budget."""
    return drop.value <= max_drop + ROUNDING


def measure_sizes(folder: Path, original: Path | None = None) -> dict[str, Any]:
    """Bytes of the original's float32 weights, and of the files of each new program.

    "before" and "ships" include the arrays of the fitted input (a vocabulary). "smaller" is the
    ratio of "before", the original's float32 weights in safetensors, to "ships", the default
    program or the new weights. Without `original` the bundle is compared with itself.
    """
    files, before = read_bundle_json(folder)["files"], read_bundle_json(original or folder)["files"]
    programs = read_programs(folder)
    weights = int(before[WEIGHTS_FILE]["bytes"])
    arrays = [int(each.get(INPUT_ARRAYS_FILE, {"bytes": 0})["bytes"]) for each in (before, files)]
    rows = {
        name: sum(int(files[file]["bytes"]) for file in program.files.values())
        for name, program in programs.by_name.items()
    }
    default = rows[programs.default] if programs.default else int(files[WEIGHTS_FILE]["bytes"])
    total_before, ships = weights + arrays[0], default + arrays[1]
    return {
        "float32_weights": weights,
        "input": arrays,
        "before": total_before,
        "programs": rows,
        "default": programs.default or "torch-f32",
        "ships": ships,
        "smaller": total_before / ships,
    }


# --- as text ------------------------------------------------------------------------------------


def describe_verdict(receipt: Mapping[str, Any]) -> str:
    """`accepted` and `proven` in one sentence."""
    latency, max_drop = receipt["latency"], receipt["max_drop"]
    remarks = ""
    if receipt.get("rehearsed"):
        remarks = (
            " Measured on a second model that was fitted without these rows and shrunk in the same "
            "way, because this one was fitted on all rows."
        )
    if latency is not None and latency["faster"] is False:
        ratio = latency["ratios"][-1]
        remarks += f" For its size, not for speed: {ratio['fast']} is slower than {ratio['slow']}."
    budget = f"{max_drop:g} {'point' if max_drop == 1 else 'points'} of {receipt['title']}"
    if not receipt["accepted"]:
        drop = receipt["val"]["drop"]["value"]
        return (
            f"Refused: the drop of {drop:.2f} points on {receipt['decided_on']} is more than "
            f"{budget}. The original model is unchanged.{remarks}"
        )
    if receipt["proven"]:
        return (
            f"Accepted and proven on {receipt['proven_on']}: at most {budget} lost (95 %).{remarks}"
        )
    _, high = interval_bounds(receipt[receipt["proven_on"]]["drop"])
    reach = f"up to {high:.2f} points" if math.isfinite(high) else "of any size"
    return (
        f"Accepted: the estimate is within {budget}. Not proven: on {receipt['proven_on']} the "
        f"drop may be {reach} (95 %).{remarks}"
    )
