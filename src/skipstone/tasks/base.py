"""The interface of a task (classify, tag, segment, detect).

A task defines what a target and a prediction are. It never sees a network: it reads named output
arrays (numpy, from any runtime) and manifest targets.

Metrics are computed from *records*, one flat dict per sample. Bootstrap intervals, paired
differences, rankings and lists of the worst mistakes therefore need no code per task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload, runtime_checkable

import numpy as np

from skipstone.core.options import options_to_json
from skipstone.data.samples import SampleMeta

if TYPE_CHECKING:
    from torch import Tensor, nn

    from skipstone.bundle.architecture import ComponentConfig
    from skipstone.data.manifest import Manifest
    from skipstone.models.losses import Criterion

Outputs = Mapping[str, np.ndarray]  # name -> (N, ...) float32
Post = Mapping[str, Any]  # JSON-able post-processing: temperature, thresholds
#: JSON-able, one per sample; always has "correct": bool or float, "loss": float.
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for one sample.

    Args:
        fields: what `--json` prints next to `path` ("label", "probability").
        scores: the arrays that records are made from, such as {"probability": (classes,)}.
    """

    meta: SampleMeta
    fields: Mapping[str, Any]
    scores: Mapping[str, np.ndarray]

    def __repr__(self) -> str:
        """The prediction without its lists of candidates."""

        def is_candidate_list(value: Any) -> bool:
            return isinstance(value, list) and any(isinstance(v, Mapping) for v in value)

        fields = (
            f"{name}={_rounded(value)!r}"
            for name, value in self.fields.items()
            if not is_candidate_list(value)
        )
        return f"Prediction({', '.join([repr(self.meta.name), *fields])})"


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric over records, at least 0.

    Args:
        kind: chooses the interval. "proportion": Wilson's, over the records' `field`. "bootstrap":
            resampled records, or groups of records. "class mean": the same, and at least as wide as
            the parts of `Task.class_mean_parts` suggest. "calibration": a sum of absolute means, such as
            ECE, of the terms that `Task.calibration_terms` returns; never the headline, because a
            difference of two such metrics has no fair interval.
        higher_is_better: the metric is then a share of 1.
    """

    name: str
    title: str
    kind: str
    higher_is_better: bool = True
    field: str | None = None

    @property
    def max_value(self) -> float:
        """The greatest possible value; infinite for a loss."""
        is_share = self.higher_is_better or self.kind != "bootstrap"
        return 1.0 if is_share else math.inf


@dataclass(frozen=True, slots=True)
class Difference:
    """How far outputs differ from reference outputs, in the terms of the task.

    Args:
        max_probability: greatest absolute difference in probability.
        max_relative: greatest difference of raw outputs, relative to their scale.
        flips: predictions that changed (another class, another set of tags).
        near_ties: changed predictions whose margin in the reference is within the tolerance; not
            counted in flips.
        share: changed share of all pixels of masks, without near ties; None for predictions
            that have no parts.
        typical: the TYPICAL quantile of the difference of raw outputs over these pixels (or boxes),
            relative to their scale.
    """

    max_probability: float
    max_relative: float
    flips: int
    near_ties: int
    n: int
    share: float | None = None
    typical: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSummary:
    """The errors in scored records, in counts that need no statistics.

    Args:
        metric: the metric that is the share of correct units; `error` says what the others have,
            after a number and a noun: "get a wrong label".
        unit: what is counted if it is not the samples ("pixels"), else "".
        majority, majority_title: the headline metric of always predicting the most frequent class,
            and its name.
        weakest: (class, correct, total) of the class with the lowest recall, None if no class
            has errors. For units within samples both are shares.
        confused: (true class, predicted class, times, samples of the true class) of the most
            frequent mistake, None if there is none.
    """

    metric: str
    error: str
    majority: float
    majority_title: str
    unit: str = ""
    weakest: tuple[str, float, float] | None = None
    confused: tuple[str, str, float, float] | None = None


#: See `Difference.typical`.
TYPICAL_QUANTILE = 0.75


class TaskDefaults:
    """Defaults of `Task` for targets that the manifest holds as they are, and for outputs that are
    small enough to keep."""

    ragged: frozenset[str] = frozenset()
    spatial_targets: frozenset[str] = frozenset()
    tie_breaks: tuple[str, ...] = ()
    max_calibration_rows: int | None = None
    activation: str | None = None

    def criterion(self) -> Criterion:
        raise NotImplementedError(f"neither {type(self).__name__} nor its head has a criterion")

    def target_loader(self, manifest: Manifest) -> Callable[[Any], Any]:
        return _identity

    def to_soft_targets(self, y: dict[str, Any]) -> dict[str, Any] | None:
        return None

    def label_statistics(self, manifest: Manifest) -> Mapping[str, Any]:
        return {}

    def required_inputs(self, post: Post) -> frozenset[str]:
        return frozenset()

    def calibration_sample(
        self, outputs: Outputs, metas: Sequence[SampleMeta], targets: Sequence[Any]
    ) -> tuple[Outputs, Sequence[Any]]:
        return outputs, targets

    def optional_postprocessors(self) -> Mapping[str, Post]:
        return {}

    def summarize_errors(self, records: Sequence[Record]) -> ErrorSummary | None:
        return None

    def report_sections(self, records: Sequence[Record], post: Post) -> list[Mapping[str, Any]]:
        return []


def _identity(value: Any) -> Any:
    return value


class Task(Protocol):
    """Registered in TASKS and constructed as `Class(options, schema)`; `TaskDefaults` has defaults.

    `schema` is JSON-able ({"classes": [...]}), comes from the training rows, and is stored. What
    only some tasks can do is a protocol of its own, below, asked with `isinstance`.
    """

    name: str
    options: Any
    schema: Mapping[str, Any]
    ragged: frozenset[str]  # targets that are lists in a batch
    spatial_targets: frozenset[
        str
    ]  # targets with coordinates (masks, boxes): augmentation moves them
    headline: str  # the metric shown first and used by --max-drop
    tie_breaks: tuple[str, ...]  # metrics that decide, in order, between equal headlines
    max_calibration_rows: int | None  # rows that `calibrate` gets at most; None: all
    #: how logits become probabilities ("softmax", "sigmoid"); None: its outputs are not logits
    activation: str | None

    def default_head(self) -> ComponentConfig:
        """The default head for this task and schema, with its options and shape."""

    def criterion(self) -> Criterion:
        """What training minimises, where the head does not bring its own (`Head.criterion`)."""

    def target_loader(self, manifest: Manifest) -> Callable[[Any], Any]:
        """A function that loads targets of this manifest.

        Its results go to `encode_target`, `score_prediction` and `fit_postprocessing`.

        The target column holds the target itself (a label) or its location (the path of a mask).
        The function raises DataError, naming the file, for a target that cannot be read.
        """

    def encode_target(self, value: Any, meta: SampleMeta | None = None) -> dict[str, Tensor]:
        """The tensors that the loss takes, from a loaded target; `meta` describes its record.
        DataError for a label not in schema."""

    def to_soft_targets(self, y: dict[str, Any]) -> dict[str, Any] | None:
        """A batch's targets as floats that MixUp can mix; None if they cannot be mixed."""

    def accepts_target(self, value: Any) -> bool:
        """Whether this schema can express a manifest target (labels match by name)."""

    def label_statistics(self, manifest: Manifest) -> Mapping[str, Any]:
        """JSON-able label statistics of the training rows (class counts) for weights and
        samplers."""

    def required_inputs(self, post: Post) -> frozenset[str]:
        """Names of the input arrays that `predict` needs among the outputs."""

    def predict(
        self, outputs: Outputs, metas: Sequence[SampleMeta], post: Post
    ) -> list[Prediction]: ...

    def calibration_sample(
        self, outputs: Outputs, metas: Sequence[SampleMeta], targets: Sequence[Any]
    ) -> tuple[Outputs, Sequence[Any]]:
        """What `fit_postprocessing` needs of a batch's outputs and loaded targets: all of it if that is
        small, a sample of fixed size for outputs per pixel."""

    def fit_postprocessing(self, outputs: Outputs, targets: Sequence[Any]) -> Post:
        """Post-processing fitted on the validation rows: temperature, thresholds."""

    def optional_postprocessors(self) -> Mapping[str, Post]:
        """By name: slow post-processing, used only if it improves the validation score."""

    def score_prediction(self, prediction: Prediction, target: Any) -> Record:
        """One record; `encode_target` is loaded."""

    def list_metrics(self) -> tuple[Metric, ...]:
        """The metrics of this task, headline first."""

    def compute_metrics(self, records: Sequence[Record]) -> dict[str, float]:
        """Every metric's value over these records."""

    def calibration_terms(self, records: Sequence[Record]) -> np.ndarray:
        """(rows, bins), only for a task with a metric of kind "calibration": the metric is the sum
        over bins of the absolute mean over rows."""

    def class_mean_parts(
        self, records: Sequence[Record], name: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """(successes, trials) of each class, only for a task with metrics of kind "class mean": the
        metric `name` is the mean of successes / trials."""

    def compare_outputs(self, reference: Outputs, outputs: Outputs, post: Post) -> Difference: ...

    def summarize_errors(self, records: Sequence[Record]) -> ErrorSummary | None:
        """The errors for people, and what a model that ignores its input would reach; None if the
        task has no such words."""

    def report_sections(self, records: Sequence[Record], post: Post) -> list[Mapping[str, Any]]:
        """Metrics and tables for the report as JSON-able blocks (see report/blocks.py)."""


# --- what only some tasks can do ------------------------------------------------------------------
# `picture` is the input's record (H, W, C); `target` is loaded, or None.


@runtime_checkable
class ExtendableClasses(Protocol):
    """`train --from` may add classes. Other tasks are fine-tuned with the same schema only."""

    def class_names(self) -> Sequence[str]:
        """What each row of the head's class layers stands for, in order (see `Head`)."""

    def with_new_classes(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """This task's schema, followed by the classes that `schema` adds."""


@runtime_checkable
class ClassCounting(Protocol):
    """Counts the classes within one target, for rows that have several (the pixels of a mask)."""

    count_unit: str  # what is counted ("pixels")

    def count_classes(self, target: Any) -> dict[str, int]: ...


@runtime_checkable
class PredictionDrawing(Protocol):
    """Draws what a report shows of a sample, uint8 (H, W, 3)."""

    def draw_prediction(
        self, picture: np.ndarray, prediction: Prediction, target: Any | None = None
    ) -> np.ndarray: ...


@runtime_checkable
class TargetDrawing(Protocol):
    """Draws a sample's encoded targets over its picture, uint8 (H, W, 3), for contact sheets."""

    def draw_targets(self, picture: np.ndarray, y: Mapping[str, Any]) -> np.ndarray: ...


@runtime_checkable
class FileRendering(Protocol):
    """Predictions are files (`predict --out FOLDER`)."""

    def render_files(
        self, picture: np.ndarray, prediction: Prediction
    ) -> dict[str, tuple[str, bytes]]:
        """{field: (ending of the file name, content)}."""


@runtime_checkable
class DocumentRendering(Protocol):
    """Predictions of all files are one document (`predict --out FILE`)."""

    document_suffixes: tuple[str, ...]

    def render_document(self, suffix: str, rows: Sequence[Mapping[str, Any]]) -> bytes:
        """From the fields of each prediction with its path, or its error."""


@runtime_checkable
class TileMerging(Protocol):
    """Predictions of overlapping tiles of a photo can be merged (`predict --tiles`)."""

    def merge_tiles(
        self,
        whole: Prediction,
        tiles: Sequence[Prediction],
        windows: Sequence[tuple[int, int, int, int]],
        post: Post,
    ) -> Prediction:
        """The prediction for a photo.

        Args:
            whole: that of the photo in one piece.
            tiles: those of the tiles, in pixels of the tile.
            windows: (left, top, right, bottom) of each tile in the photo.
        """


@runtime_checkable
class GraphDecoding(Protocol):
    """Predictions can be computed inside an exported graph (`export --argmax`)."""

    def decoding_layer(self) -> nn.Module:
        """Outputs by name -> predictions by name."""


def headline_metric(task: Task) -> Metric:
    """The metric that a task is judged by."""
    return next(metric for metric in task.list_metrics() if metric.name == task.headline)


def task_record(name: str, task: Task) -> dict[str, Any]:
    """What a bundle stores of a task, JSON-able; `name` is that of its registry entry."""
    options = options_to_json(task.options)
    return {"name": name, "options": options, "schema": dict(task.schema)}


T = TypeVar("T")


def compute_finite_metrics(task: Task, records: Sequence[Record]) -> dict[str, float]:
    """Every metric of `task` that is finite on these records."""
    return {
        name: value for name, value in task.compute_metrics(records).items() if math.isfinite(value)
    }


class RecordTable(Sequence[Record]):
    """A sequence of records that is also a set of columns with one weight per row, so that a
    thousand bootstrap resamples cost milliseconds each.

    A resample keeps the rows and changes only their weights. A task that computes its metrics from
    `column` and `weight` therefore converts and sorts once. A task that iterates gets each record
    as often as it was drawn: the same result, slower.

    Attributes:
        weight: (rows,) float64, how often each record counts; all ones before a resample.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._rows: Sequence[Record] = records
        self._cache: dict[Hashable, Any] = {}
        self._order: np.ndarray | None = None
        self.weight = np.ones(len(records))

    @staticmethod
    def from_records(records: Sequence[Record]) -> RecordTable:
        return records if isinstance(records, RecordTable) else RecordTable(records)

    def with_weights(self, weight: np.ndarray) -> RecordTable:
        """The same rows, each counted `weight` (whole numbers >= 0) times."""
        assert weight.shape == (len(self._rows),), "one weight per row"
        table = RecordTable.__new__(RecordTable)
        table._rows, table._cache, table._order = self._rows, self._cache, None
        table.weight = weight.astype(np.float64)
        return table

    @property
    def rows(self) -> Sequence[Record]:
        """Every row once, whatever its weight; parallel to `weight` and to columns."""
        return self._rows

    def get_column(self, name: str) -> np.ndarray:
        """float64 (rows,) or (rows, K)."""
        return self.get_cached(
            ("column", name), lambda: np.array([row[name] for row in self._rows], np.float64)
        )

    def encode_column(self, name: str, values: Sequence[str]) -> np.ndarray:
        """int64 (rows,): the index in `values` of each row's `name`."""

        def encode() -> np.ndarray:
            index = {value: code for code, value in enumerate(values)}
            return np.array([index[row[name]] for row in self._rows], np.int64)

        return self.get_cached(("codes", name), encode)

    def get_cached(self, key: Hashable, make: Callable[[], T]) -> T:
        """Compute what depends on rows, not on weights, once for all resamples."""
        if key not in self._cache:
            self._cache[key] = make()
        value: T = self._cache[key]
        return value

    def __len__(self) -> int:
        return int(self.weight.sum())

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if self._order is None:
            self._order = np.repeat(np.arange(len(self._rows)), self.weight.astype(np.int64))
        if isinstance(index, slice):
            return [self._rows[row] for row in self._order[index]]
        return self._rows[int(self._order[index])]
