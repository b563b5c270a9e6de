"""Classification: one label per sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skipstone.data.samples import SampleMeta
from skipstone.tasks import metrics as figures
from skipstone.tasks.base import (
    Difference,
    ErrorSummary,
    Metric,
    Outputs,
    Post,
    Prediction,
    Record,
    RecordTable,
)
from skipstone.tasks.label_answers import rank_labels, softmax
from skipstone.tasks.labels import (
    MAX_MISTAKES,
    TIE_MARGIN,
    LabelTask,
    class_table_block,
    compute_class_weights,
    gallery_item,
    loss_args,
    mismatched_shapes,
    postprocessing_block,
    read_temperature,
    reliability_block,
    require_class_counts,
    require_finite_logits,
    summarize_confusion,
    summarize_difference,
    worst_mistakes,
)
from skipstone.tasks.options import ClassifyOptions
from skipstone.tasks.temperature import fit_temperature

if TYPE_CHECKING:
    from torch import Tensor

    from skipstone.data.manifest import Manifest
    from skipstone.models.losses import Criterion

#: Classes that the confusion matrix shows at most.
MAX_CONFUSION_CLASSES = 1_000
#: With more classes there are no rankings of their probabilities, whose memory grows with both.
MAX_RANKED_CLASSES = 20
#: Cells of the confusion matrix with a gallery, and samples in each of them, at most.
MAX_CELLS, MAX_CELL_ITEMS = 60, 6


class ClassificationTask(LabelTask):
    """One of K classes per sample.

    Targets are class names; outputs {"logits": (N, K)}; y {"label": int64 scalar}, or float
    (N, K) after MixUp.

    A record: target, label (class names), correct, probability (of the prediction), rank (of the
    true class, from 1), loss (negative log-likelihood), brier, and id and name of the sample; for up to
    20 classes also the probabilities.

    Args:
        schema: {"classes": [...]}, and "counts": [...] of the training rows for class weights.
    """

    name = "classify"
    headline = "accuracy"
    activation = "softmax"
    options: ClassifyOptions

    # -- training ----------------------------------------------------------------------------------

    def criterion(self) -> Criterion:
        from skipstone.models.losses import CrossEntropy, LogitsCriterion, SoftmaxFocal

        weights = None
        if self.options.class_weights != "none":
            counts = require_class_counts(self.schema, len(self.labels))
            weights = compute_class_weights(
                self.options.class_weights, counts, self.options.effective_beta
            )
        kind = SoftmaxFocal if self.options.loss == "focal" else CrossEntropy
        return LogitsCriterion(kind(**loss_args(self.options, weights)), "label")

    def encode_target(self, value: Any, meta: SampleMeta | None = None) -> dict[str, Tensor]:
        import torch

        return {"label": torch.tensor(self.labels.index_of(value), dtype=torch.int64)}

    def to_soft_targets(self, y: dict[str, Any]) -> dict[str, Any] | None:
        from torch.nn.functional import one_hot

        label = y["label"]
        if label.is_floating_point():
            return dict(y)
        return {**y, "label": one_hot(label, len(self.labels)).float()}

    def accepts_target(self, value: Any) -> bool:
        return value in self.labels

    def label_statistics(self, manifest: Manifest) -> Mapping[str, Any]:
        """{"counts": [K]}: samples per class."""
        counts = [0] * len(self.labels)
        for pair in manifest.table["target"].value_counts().to_pylist():
            counts[self.labels.index_of(pair["values"])] = pair["counts"]
        return {"counts": counts}

    # -- predictions -------------------------------------------------------------------------------

    def predict(
        self, outputs: Outputs, metas: Sequence[SampleMeta], post: Post
    ) -> list[Prediction]:
        names = self.labels.names
        probability = softmax(
            require_finite_logits(outputs, metas, len(names)), read_temperature(post)
        )
        return [
            Prediction(meta, fields, {"probability": row})
            for meta, fields, row in zip(
                metas, rank_labels(probability, names, self.options.top_k), probability, strict=True
            )
        ]

    def fit_postprocessing(self, outputs: Outputs, targets: Sequence[Any]) -> Post:
        """{"temperature": T} (Guo et al. 2017)."""
        codes = np.array([self.labels.index_of(target) for target in targets], np.int64)
        return {"temperature": fit_temperature(outputs["logits"], codes)}

    def score_prediction(self, prediction: Prediction, target: Any) -> Record:
        probability = prediction.scores["probability"][None]  # (1, K)
        code = np.array([self.labels.index_of(target)])
        label = prediction.fields["label"]
        return {
            "id": prediction.meta.id,
            "name": prediction.meta.name,
            "target": target,
            "label": label,
            "correct": label == target,
            "probability": prediction.fields["probability"],
            "rank": int(figures.target_ranks(probability, code)[0]),
            "loss": float(figures.negative_log_likelihood(probability, code)[0]),
            "brier": float(figures.brier_scores(probability, code)[0]),
            **({"probabilities": probability[0].tolist()} if self._is_ranked else {}),
        }

    # -- metrics -----------------------------------------------------------------------------------

    def list_metrics(self) -> tuple[Metric, ...]:
        metrics = [Metric("accuracy", "accuracy", "proportion", field="correct")]
        if len(self.labels) > self.options.top_k > 1:
            k = self.options.top_k
            metrics.append(Metric(f"top{k}", f"top-{k} accuracy", "bootstrap"))
        metrics += [
            Metric("balanced_accuracy", "balanced accuracy", "class mean"),
            Metric("macro_f1", "macro F1", "class mean"),
            Metric("kappa", "Cohen's kappa", "bootstrap"),
        ]
        if self._is_ranked:
            metrics += [
                Metric("auc", "area under ROC, mean of classes", "bootstrap"),
                Metric("average_precision", "average precision, mean of classes", "bootstrap"),
            ]
        metrics += [
            Metric("ece", "calibration error (ECE)", "calibration", higher_is_better=False),
            Metric("nll", "negative log-likelihood", "bootstrap", higher_is_better=False),
            Metric("brier", "Brier score", "bootstrap", higher_is_better=False),
        ]
        return tuple(metrics)

    def compute_metrics(self, records: Sequence[Record]) -> dict[str, float]:
        table = RecordTable.from_records(records)
        weight = table.weight
        counts = self._counts(table)
        values = {
            "accuracy": figures.weighted_mean(table.get_column("correct"), weight),
            "balanced_accuracy": counts.balanced_accuracy(),
            "macro_f1": counts.macro_f1(),
            "kappa": counts.cohen_kappa(),
            "ece": self._reliability(table).expected_calibration_error(),
            "nll": figures.weighted_mean(table.get_column("loss"), weight),
            "brier": figures.weighted_mean(table.get_column("brier"), weight),
        }
        if self._is_ranked:
            ranking = table.get_cached("ranking", lambda: self._ranking(table))
            area, precision = figures.rank_classes(ranking, weight)
            values["auc"] = figures.mean_of_finite(area)
            values["average_precision"] = figures.mean_of_finite(precision)
        k = self.options.top_k
        values[f"top{k}"] = figures.weighted_mean(
            (table.get_column("rank") <= k).astype(np.float64), weight
        )
        return {metric.name: values[metric.name] for metric in self.list_metrics()}

    def class_mean_parts(
        self, records: Sequence[Record], name: str
    ) -> tuple[np.ndarray, np.ndarray]:
        return self._counts(RecordTable.from_records(records)).mean_parts(name)

    def calibration_terms(self, records: Sequence[Record]) -> np.ndarray:
        table = RecordTable.from_records(records)
        return figures.calibration_terms(
            table.get_column("probability"), table.get_column("correct")
        )

    def compare_outputs(self, reference: Outputs, outputs: Outputs, post: Post) -> Difference:
        before, after = reference["logits"], outputs["logits"]
        if before.shape != after.shape:
            return mismatched_shapes(len(before))
        temperature = read_temperature(post)
        p_before, p_after = softmax(before, temperature), softmax(after, temperature)
        changed = p_before.argmax(axis=1) != p_after.argmax(axis=1)
        changed |= ~np.isfinite(after).all(axis=1)
        # both probabilities may move by TIE, towards each other
        clear = np.ptp(np.sort(p_before, axis=1)[:, -2:], axis=1) > 2 * TIE_MARGIN
        return summarize_difference((before, after), (p_before, p_after), changed, clear)

    def summarize_errors(self, records: Sequence[Record]) -> ErrorSummary | None:
        table = RecordTable.from_records(records)
        counts = self._counts(table)
        names, matrix, support = self._confusion(table, counts)
        largest = int(counts.support.argmax())
        return summarize_confusion(
            names,
            matrix,
            support,
            metric="accuracy",
            error="get a wrong label",
            majority=float(counts.support[largest] / max(counts.support.sum(), 1)),
            majority_title=f"always “{self.labels.names[largest]}”",
        )

    def report_sections(self, records: Sequence[Record], post: Post) -> list[Mapping[str, Any]]:
        table = RecordTable.from_records(records)
        counts = self._counts(table)
        names, matrix, _ = self._confusion(table, counts)
        is_truncated = len(names) < len(self.labels)
        wrong = worst_mistakes(table)
        mistakes = [_describe_mistake(row) for row in wrong[:MAX_MISTAKES]]
        return [
            class_table_block(self.labels.names, counts),
            {
                "kind": "confusion",
                "title": f"Confusion{f' (the {len(names)} most confused classes)' * is_truncated}",
                "classes": names,
                "matrix": matrix.astype(int).tolist(),
                "cells": _collect_cells(names, matrix, wrong),
            },
            {
                "kind": "gallery",
                "title": "Worst mistakes",
                "items": mistakes,
                "note": f"The {len(mistakes)} most confident of {len(wrong):,} wrong predictions, "
                "with the model's probabilities: look here for wrong labels first.",
            },
            reliability_block(self._reliability(table)),
            postprocessing_block(post),
        ]

    @property
    def _is_ranked(self) -> bool:
        """Whether records hold every class's probability, which rankings need."""
        return len(self.labels) <= MAX_RANKED_CLASSES

    def _ranking(self, table: RecordTable) -> figures.ScoreRanking:
        target, _ = self._codes(table)
        is_class = target[:, None] == np.arange(len(self.labels))
        return figures.ScoreRanking.from_scores(table.get_column("probabilities"), is_class)

    def _codes(self, table: RecordTable) -> tuple[np.ndarray, np.ndarray]:
        """Class indices of targets and predictions, (rows,) each."""
        names = self.labels.names
        return table.encode_column("target", names), table.encode_column("label", names)

    def _counts(self, table: RecordTable) -> figures.ClassCounts:
        return figures.ClassCounts.from_labels(*self._codes(table), len(self.labels), table.weight)

    def _confusion(
        self, table: RecordTable, counts: figures.ClassCounts
    ) -> tuple[list[str], np.ndarray, np.ndarray]:
        """(K names, (K, K) targets by predictions, samples per class) of all classes, or of the
        MOST_CONFUSED with the most mistakes."""
        target, label = self._codes(table)
        mistakes = counts.predicted + counts.support - 2 * counts.true_positives
        classes = np.sort(np.argsort(-mistakes, kind="stable")[:MAX_CONFUSION_CLASSES])
        position = np.full(len(self.labels), -1)
        position[classes] = np.arange(len(classes))
        both = (position[target] >= 0) & (position[label] >= 0)
        matrix = figures.confusion_matrix(
            position[target[both]], position[label[both]], len(classes), table.weight[both]
        )
        return [self.labels.names[code] for code in classes], matrix, counts.support[classes]

    def _reliability(self, table: RecordTable) -> figures.ReliabilityBins:
        confidence = table.get_column("probability")
        binned = table.get_cached("binned", lambda: figures.confidence_bins(confidence))
        return figures.bin_reliability(
            confidence, table.get_column("correct"), table.weight, binned=binned
        )


def _describe_mistake(record: Record) -> Mapping[str, Any]:
    truth, label = record["target"], record["label"]
    caption, of_truth = f"{truth} predicted as {label}", float(np.exp(-record["loss"]))
    return gallery_item(
        record, caption, truth, label, record["probability"], truth_probability=of_truth
    )


def _collect_cells(
    names: Sequence[str], matrix: np.ndarray, wrong: Sequence[Record]
) -> list[Mapping[str, Any]]:
    """The worst mistakes in each cell of the confusion matrix, the most frequent cell first."""
    position = {name: number for number, name in enumerate(names)}
    cells: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for record in wrong:
        place = position.get(record["target"]), position.get(record["label"])
        if place[0] is not None and place[1] is not None:
            items = cells.setdefault((place[0], place[1]), [])
            if len(items) < MAX_CELL_ITEMS:
                items.append(_describe_mistake(record))
    order = sorted(cells, key=lambda place: (-matrix[place], place))[:MAX_CELLS]
    return [{"truth": i, "answer": j, "items": cells[i, j]} for i, j in order]
