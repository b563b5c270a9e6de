"""What every task (classify, tag, segment, detect) answers.

A task knows what a target and a prediction are. It never sees a network: it reads named output
arrays (numpy, whatever runtime made them) and manifest targets.

Metrics come from *records*, one flat dict a sample, so that bootstrap intervals, paired
differences, ranking and worst mistakes need no code per task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from skipstone.data.samples import Meta
from skipstone.option_types import stored_options

if TYPE_CHECKING:
    from torch import Tensor

    from skipstone.bundle.arch import Part
    from skipstone.data.manifest import Manifest

Outputs = Mapping[str, np.ndarray]  # name -> (N, ...) float32
Post = Mapping[str, Any]  # JSON-able post-processing: temperature, thresholds
#: JSON-able, one a sample; always has "correct": bool or float, "loss": float.
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One sample's answer.

    Args:
        fields: what `--json` prints beside `path` ("label", "probability").
        scores: the arrays that records are made from, such as {"probability": (classes,)}.
    """

    meta: Meta
    fields: Mapping[str, Any]
    scores: Mapping[str, np.ndarray]

    def __repr__(self) -> str:
        """The answer, without the list of those that it was chosen from."""

        def plain(value: Any) -> bool:
            return not (isinstance(value, list) and any(isinstance(v, Mapping) for v in value))

        told = (
            f"{name}={_rounded(value)!r}" for name, value in self.fields.items() if plain(value)
        )
        return f"Prediction({', '.join([repr(self.meta.name), *told])})"


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure over records, from 0 on. `kind` chooses its interval: "proportion" (Wilson, over
    the records' `field`), "bootstrap" (over records, by group where there are groups), or
    "calibration": a sum of absolute means, as ECE is, of the terms that `Task.calibration_terms`
    gives. No headline is of the last kind: models are judged by differences of it, which have no
    fair interval there. A figure that should be high is a share of 1."""

    name: str
    title: str
    kind: str
    higher_is_better: bool = True
    field: str | None = None

    @property
    def most(self) -> float:
        """The greatest value that it can have; infinite for a loss."""
        share = self.higher_is_better or self.kind != "bootstrap"
        return 1.0 if share else math.inf


@dataclass(frozen=True, slots=True)
class Difference:
    """How far answers differ from reference answers, in the terms of the task.

    Args:
        max_probability: greatest absolute difference in probability.
        max_relative: greatest difference of raw outputs, relative to their scale.
        flips: answers that changed (another class, another set of tags).
        near_ties: changed answers whose margin in the reference is within the tolerance; they
            are not counted in flips.
        share: of the parts of all answers (pixels of masks), how much changed, near ties aside;
            None for answers that are of one piece.
        typical: the difference of raw outputs, relative to their scale, that TYPICAL of these parts
            keep within.
    """

    max_probability: float
    max_relative: float
    flips: int
    near_ties: int
    n: int
    share: float | None = None
    typical: float | None = None


#: See `Difference.typical`.
TYPICAL = 0.75


class PerSample:
    """The usual answers of a task whose targets stand in the manifest as they are, and whose
    answers are small enough to keep: what it does not say itself."""

    ragged: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()

    def opener(self, manifest: Manifest) -> Callable[[Any], Any]:
        return _as_it_is

    def soften(self, y: dict[str, Any]) -> dict[str, Any] | None:
        return None

    def statistics(self, manifest: Manifest) -> Mapping[str, Any]:
        return {}

    def evidence(
        self, outputs: Outputs, metas: Sequence[Meta], targets: Sequence[Any]
    ) -> tuple[Outputs, Sequence[Any]]:
        return outputs, targets

    def sections(self, records: Sequence[Record], post: Post) -> list[Mapping[str, Any]]:
        return []


def _as_it_is(value: Any) -> Any:
    return value


class Task(Protocol):
    """Registered in TASKS and constructed as `Class(options, schema)`; `PerSample` has the usual
    answers to some of it.

    `schema` is JSON-able ({"classes": [...]}), comes from the fit split, and is stored.
    """

    name: str
    options: Any
    schema: Mapping[str, Any]
    ragged: frozenset[str]  # targets that are lists in a batch
    places: frozenset[str]  # targets that lie on the sample (masks, boxes): they move with it
    headline: str  # the metric shown first and used by --max-drop

    def head(self) -> Part:
        """The default head for this task and schema, with its options and shape."""

    def rows(self) -> Sequence[str]:
        """The name of what each row of the head's layers stands for, in order (`Head.named_rows`).

        This and `grown` are a capability that a task may lack: it then goes on (`train --from`)
        with the very same schema only.
        """

    def grown(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """This task's schema with the classes that another one adds, behind its own."""

    def opener(self, manifest: Manifest) -> Callable[[Any], Any]:
        """A function that opens this manifest's targets, for `target`, `score` and `calibrate`.

        What the target column holds may be the target itself (a label), or say where it is (the
        path of a mask). The function raises DataError, with the file, where one cannot be read.
        """

    def target(self, value: Any, meta: Meta | None = None) -> dict[str, Tensor]:
        """An opened target to what the head's loss takes, on the record that `meta` tells of.
        DataError for a label not in schema."""

    def soften(self, y: dict[str, Any]) -> dict[str, Any] | None:
        """A batch's targets as floats that MixUp may mix; None where that means nothing."""

    def knows(self, value: Any) -> bool:
        """Whether a manifest target can be expressed in this schema (labels match by name)."""

    def statistics(self, manifest: Manifest) -> Mapping[str, Any]:
        """JSON-able label statistics of the fit split (class counts) for weights and samplers."""

    def predict(self, outputs: Outputs, metas: Sequence[Meta], post: Post) -> list[Prediction]: ...

    def evidence(
        self, outputs: Outputs, metas: Sequence[Meta], targets: Sequence[Any]
    ) -> tuple[Outputs, Sequence[Any]]:
        """The part of a batch's answers and opened targets that `calibrate` wants to keep. All of
        it, where that is little; for answers to each pixel a sample of fixed size."""

    def calibrate(self, outputs: Outputs, targets: Sequence[Any]) -> Post:
        """Post-processing chosen on the select split: temperature, thresholds."""

    def score(self, prediction: Prediction, target: Any) -> Record:
        """One row; `target` is opened."""

    def metrics(self) -> tuple[Metric, ...]:
        """The figures this task reports, headline first."""

    def compute(self, records: Sequence[Record]) -> dict[str, float]:
        """Every metric's value over these records."""

    def calibration_terms(self, records: Sequence[Record]) -> np.ndarray:
        """(rows, bins), only for a task with a metric of kind "calibration": the metric is the sum
        over bins of the absolute mean over rows."""

    def difference(self, reference: Outputs, outputs: Outputs, post: Post) -> Difference: ...

    # A task may also have, and others ask for it:
    #   tie_breaks: names of metrics that decide, in order, between epochs of an equal headline
    #   evidence_rows: rows whose evidence `calibrate` is given at most, where that is large
    #   draw(picture, prediction, target) -> uint8 (H, W, 3): what a report shows of a sample
    #   laid(picture, y) -> uint8 (H, W, 3): a sample's targets over its picture, for contact sheets
    #   census(target) -> {name: count}: of an opened target's parts by class, where a row has no
    #     label of its own; and `parts`, what they are ("pixels")
    #   files(picture, prediction) -> {field: (ending, bytes)}: what `predict --out` writes
    #   refinements(): post-processing by name, that costs time and is tried on the select part
    #   looks_at(post) -> names of input arrays that `predict` wants among the outputs
    #   answer_layer() -> nn.Module: outputs by name -> answers by name, inside an exported graph
    # `picture` is the input's record; `target` is opened, or None.

    def sections(self, records: Sequence[Record], post: Post) -> list[Mapping[str, Any]]:
        """Figures and tables for the report as JSON-able blocks (see report/blocks.py)."""


def headline(task: Task) -> Metric:
    """The metric that a task is judged by."""
    return next(metric for metric in task.metrics() if metric.name == task.headline)


def task_record(name: str, task: Task) -> dict[str, Any]:
    """What a bundle stores of a task, JSON-able; `name` is that of its entry."""
    options = stored_options(task.options)
    return {"name": name, "options": options, "schema": dict(task.schema)}
