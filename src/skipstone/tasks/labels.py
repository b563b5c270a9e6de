"""What the tasks share: class names, class weights, and blocks of their reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skipstone.bundle.architecture import ComponentConfig
from skipstone.core.errors import DamagedError, DataError, SkipstoneError, UsageError, did_you_mean
from skipstone.data.samples import SampleMeta
from skipstone.tasks.base import (
    Difference,
    ErrorSummary,
    Outputs,
    Post,
    Record,
    RecordTable,
    TaskDefaults,
)
from skipstone.tasks.metrics import ClassCounts, ReliabilityBins
from skipstone.tasks.options import ClassifyOptions, TagOptions

#: tolerance for probabilities between runtimes; a prediction with a smaller margin is a near tie
TIE_MARGIN = 1e-4
#: greatest weight of a tag's positive term, relative to the negative one
MAX_POSITIVE_WEIGHT = 100.0
#: allowed range of a stored temperature; fitted ones lie well inside
MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-3, 1e3
#: items in a gallery of mistakes
MAX_MISTAKES = 24


class ClassLabels:
    """Class names in the order of the network's outputs."""

    def __init__(self, schema: Mapping[str, Any], *, min_classes: int) -> None:
        names = schema.get("classes")
        if not isinstance(names, Sequence) or isinstance(names, str):
            raise UsageError("the label schema has no list of 'classes'.")
        self.names = [str(name) for name in names]
        if len(set(self.names)) < len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise UsageError(f"class names must differ; used twice: {', '.join(twice)}.")
        if len(self.names) < min_classes:
            classes = f"only one class, {self.names[0]!r}" if self.names else "no classes"
            raise UsageError(
                f"found {classes}; at min_classes {min_classes} are needed.",
                hint="Put each class in its own folder, or name the column with the labels.",
            )
        self._code = {name: code for code, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._code

    def index_of(self, name: Any) -> int:
        """The class index (network output) of `name`; DataError for an unknown name."""
        if name is None:
            raise DataError("this sample has no label.")
        if name not in self:
            raise DataError(
                f"{name!r} is not a class of this model.", hint=did_you_mean(str(name), self.names)
            )
        return self._code[name]


def extend_class_schema(labels: ClassLabels, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """`schema` with the classes of `labels` first, followed by those that it adds, in its order."""
    added = [name for name in ClassLabels(schema, min_classes=1).names if name not in labels]
    return {**schema, "classes": [*labels.names, *added]}


class LabelTask(TaskDefaults):
    """A task whose targets are class names of whole samples, a row of the head per class."""

    min_classes = 2
    tie_breaks = ("nll",)  # on few validation rows many epochs have equal headlines

    def __init__(self, options: Any, schema: Mapping[str, Any]) -> None:
        self.options = options
        self.schema = dict(schema)
        self.labels = ClassLabels(schema, min_classes=self.min_classes)

    def default_head(self) -> ComponentConfig:
        return ComponentConfig("linear", {"options": {}, "shape": {"classes": len(self.labels)}})

    def class_names(self) -> Sequence[str]:
        return self.labels.names

    def with_new_classes(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        return extend_class_schema(self.labels, schema)


def compute_class_weights(kind: str, counts: Sequence[int], beta: float) -> list[float] | None:
    """Loss weight of each class, (K,); None for kind "none".

    "inverse" is samples / (classes * count), scikit-learn's "balanced". "effective" is
    proportional to 1 / E with E = (1 - beta^count) / (1 - beta) the effective number of samples
    (Cui et al. 2019, eq. 3 and 4), with mean 1. A class without samples gets 0: nothing can be
    learnt about it, and label smoothing must not teach something either.
    """
    if kind == "none":
        return None
    count = np.asarray(counts, np.float64)
    present = count > 0
    amount = count if kind == "inverse" else effective_number(count, beta)
    weight = np.divide(1.0, amount, out=np.zeros_like(amount), where=present)
    if kind == "inverse":
        weight *= count.sum() / max(present.sum(), 1)
    else:
        weight *= present.sum() / max(weight.sum(), 1e-300)
    return [float(value) for value in weight]


def compute_positive_weights(
    kind: str, counts: Sequence[int], samples: int, beta: float
) -> list[float] | None:
    """Loss weight of each tag's presence against its absence, (K,); None for kind "none".

    "inverse" is absent / present; "effective" the same ratio of effective numbers of samples.
    """
    if kind == "none":
        return None
    present = np.asarray(counts, np.float64)
    absent = samples - present
    if kind == "effective":
        present, absent = effective_number(present, beta), effective_number(absent, beta)
    weight = np.divide(absent, present, out=np.ones_like(present), where=present > 0)
    floor, ceiling = 1 / MAX_POSITIVE_WEIGHT, MAX_POSITIVE_WEIGHT
    return [float(value) for value in np.clip(weight, floor, ceiling)]


def effective_number(count: np.ndarray, beta: float) -> np.ndarray:
    """(1 - beta^n) / (1 - beta): n at beta -> 1, 1 at beta = 0 (Cui et al. 2019, eq. 2)."""
    return np.asarray((1 - beta**count) / (1 - beta))


def require_class_counts(schema: Mapping[str, Any], classes: int) -> list[int]:
    """The class counts that weights need; they come with the schema of the training rows."""
    counts = schema.get("counts")
    if counts is None or len(counts) != classes:
        raise UsageError(
            "class_weights need the class counts of the training rows, one per class, as 'counts' in "
            "the label schema (Task.statistics gives them)."
        )
    return [int(count) for count in counts]


def require_finite_logits(
    outputs: Outputs, metas: Sequence[SampleMeta], classes: int, *, rank: int = 2
) -> np.ndarray:
    """The logits (N, classes), or (N, classes, H, W) for rank 4.

    Raises:
        DamagedError: another shape.
        SkipstoneError: naming the first sample with logits that are not finite.
    """
    logits = np.asarray(outputs.get("logits"))
    if logits.shape[:2] != (len(metas), classes) or logits.ndim != rank:
        raise DamagedError(
            f"the network returns logits of shape {logits.shape} for {len(metas)} samples and "
            f"{classes} classes: network and task do not match."
        )
    if not np.isfinite(logits).all():
        is_finite = np.isfinite(logits).reshape(len(logits), -1).all(axis=1)
        first = metas[int(np.flatnonzero(~is_finite)[0])]
        raise SkipstoneError(
            f"the network's logits for {first.name or f'sample {first.id}'} are not finite.",
            hint="Its weights have diverged: train with a lower learning rate.",
        )
    return logits


def read_temperature(post: Post) -> float:
    """The stored temperature, which divides logits; DamagedError if it is not one."""
    value = post.get("temperature", 1.0)
    if type(value) not in (int, float) or not MIN_TEMPERATURE <= value <= MAX_TEMPERATURE:
        raise DamagedError(
            f"the model's temperature is {value!r:.60}; allowed: {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g}."
        )
    return float(value)


def read_thresholds(post: Post, classes: int) -> np.ndarray:
    """(classes,): the stored probability threshold of each tag; DamagedError for other values."""
    values = post.get("thresholds", [0.5] * classes)
    if (
        not isinstance(values, Sequence)
        or len(values) != classes
        or not all(type(value) in (int, float) and value == value for value in values)
    ):
        raise DamagedError(
            f"the model's thresholds are {values!r:.60}; allowed: {classes} numbers, one per tag."
        )
    return np.asarray(values, np.float64)


def max_relative_difference(reference: np.ndarray, outputs: np.ndarray) -> float:
    """Greatest difference of logits (N, K), relative to their scale; infinite for NaN.

    The scale is the median over samples of the largest reference logit, so that a sample with huge
    logits does not hide the others and a sample with tiny logits raises no alarm.
    """
    gap = np.abs(reference.astype(np.float64) - outputs)
    scale = float(np.median(np.abs(reference).max(axis=1)))
    return _max_or_inf(gap) / max(scale, float(np.finfo(np.float32).tiny))


def max_absolute_difference(reference: np.ndarray, outputs: np.ndarray) -> float:
    """Greatest absolute difference of probabilities (N, K); infinite for NaN."""
    return _max_or_inf(np.abs(reference - outputs))


def mismatched_shapes(samples: int) -> Difference:
    """The difference of outputs that do not have the reference's shape: everything differs."""
    return Difference(float("inf"), float("inf"), samples, 0, samples)


def summarize_difference(
    logits: tuple[np.ndarray, np.ndarray],
    probabilities: tuple[np.ndarray, np.ndarray],
    changed: np.ndarray,
    clear: np.ndarray,
) -> Difference:
    """Difference of (reference, outputs), (N, K) each.

    Args:
        changed: (N,) bool, the prediction changed.
        clear: (N,) bool, the reference has a clear margin; a change without one is a near tie.
    """
    return Difference(
        max_absolute_difference(*probabilities),
        max_relative_difference(*logits),
        int((changed & clear).sum()),
        int((changed & ~clear).sum()),
        len(changed),
    )


def _max_or_inf(gap: np.ndarray) -> float:
    return float(np.where(np.isnan(gap), np.inf, gap).max(initial=0.0))


def loss_args(
    options: ClassifyOptions | TagOptions, weights: Sequence[float] | None
) -> dict[str, Any]:
    """What a loss of `models.losses` is constructed with."""
    args: dict[str, Any] = {"label_smoothing": options.label_smoothing, "class_weights": weights}
    return {**args, "gamma": options.focal_gamma} if options.loss == "focal" else args


def find_weakest_class(
    names: Sequence[str], correct: np.ndarray, support: np.ndarray
) -> tuple[str, float, float] | None:
    """(name, correct, support) of the class with the lowest recall; None without mistakes."""
    recall = np.divide(correct, support, out=np.ones(len(support)), where=support > 0)
    code = int(np.lexsort((-support, recall))[0])  # of equal recalls, the one with more samples
    if recall[code] == 1:
        return None
    return names[code], float(correct[code]), float(support[code])


def summarize_confusion(
    names: Sequence[str], matrix: np.ndarray, support: np.ndarray, **fields: Any
) -> ErrorSummary:
    """`ErrorSummary` from a confusion matrix (K, K), targets by predictions.

    Args:
        support: samples of each class.
        fields: the other fields.
    """
    off = matrix * (1 - np.eye(len(matrix)))
    truth, answer = divmod(int(off.argmax()), len(matrix))
    confused = None
    if off[truth, answer]:
        confused = (names[truth], names[answer], float(off[truth, answer]), float(support[truth]))
    weakest = find_weakest_class(names, np.diagonal(matrix), support)
    return ErrorSummary(weakest=weakest, confused=confused, **fields)


def class_table_block(
    names: Sequence[str],
    counts: ClassCounts,
    extra: Mapping[str, Sequence[float | None]] | None = None,
) -> Mapping[str, Any]:
    """Recall with its interval, precision, F1 by class, lowest recall first; `extra` are columns of
    numbers."""
    extra = extra or {}
    columns = [{"name": "class", "format": "text"}, {"name": "recall", "format": "proportion"}]
    columns += [{"name": name, "format": "percent"} for name in ("precision", "F1")]
    columns += [{"name": name, "format": "number"} for name in (*extra, "samples")]
    precision, recall, f1 = counts.precision(), counts.recall(), counts.f1()
    present = counts.support > 0
    rows: list[list[Any]] = [
        [
            names[k],
            [float(counts.true_positives[k]), float(counts.support[k])] if present[k] else None,
            float(precision[k]) if counts.predicted[k] else None,
            float(f1[k]) if counts.predicted[k] + counts.support[k] else None,
            *(values[k] for values in extra.values()),
            int(counts.support[k]),
        ]
        for k in np.lexsort((-counts.support, recall, ~present))
    ]
    return {
        "kind": "table",
        "title": "By class, weakest first",
        "columns": columns,
        "rows": rows,
        "note": "Recall: share of the samples of this class that were found, with its 95 % interval "
        "(Wilson). Precision: share of the predictions of this class that are correct.",
    }


def confused_pairs_block(names: Sequence[str], matrix: np.ndarray, unit: str) -> Mapping[str, Any]:
    """The ten most confused pairs (target, prediction), as shares of all units; matrix (K, K),
    target by prediction."""
    off = matrix * (1 - np.eye(len(matrix)))
    pairs = [
        divmod(int(flat), len(matrix)) for flat in np.argsort(-off, axis=None, kind="stable")[:10]
    ]
    support, total = matrix.sum(axis=1), max(matrix.sum(), 1)
    return {
        "kind": "table",
        "title": "Most confused",
        "columns": [
            {"name": "true", "format": "text"},
            {"name": "predicted", "format": "text"},
            {"name": f"of all {unit}", "format": "percent"},
            {"name": "of this class", "format": "percent"},
        ],
        "rows": [
            [names[i], names[j], float(off[i, j] / total), float(off[i, j] / support[i])]
            for i, j in pairs
            if off[i, j]
        ],
    }


def reliability_block(reliability: ReliabilityBins) -> Mapping[str, Any]:
    return {
        "kind": "reliability",
        "title": "Calibration",
        "folded": True,
        "bins": reliability.to_json(),
        "ece": reliability.expected_calibration_error(),
    }


def postprocessing_block(post: Post, *more: list[str]) -> Mapping[str, Any]:
    items = [["temperature", round(read_temperature(post), 4)], *more]
    return {"kind": "facts", "title": "Post-processing", "folded": True, "items": items}


def worst_mistakes(table: RecordTable) -> list[Record]:
    """Records of wrong predictions, the greatest loss first."""
    wrong = (row for row in table.rows if not row["correct"])
    return sorted(wrong, key=lambda row: -row["loss"])


def gallery_item(
    record: Record, caption: str, truth: str, answer: str, probability: float, **fields: Any
) -> Mapping[str, Any]:
    """A sample to look at: the true and the predicted label, with the prediction's probability.

    Args:
        fields: of `report.image_groups.GalleryItem`; for predictions of several tags also the
            "decision" that the probability belongs to: {"code": class index, "is_present": bool}.
    """
    return {
        "id": record["id"],
        "name": record["name"],
        "caption": caption,
        "truth": truth,
        "answer": answer,
        "probability": probability,
        **fields,
    }
