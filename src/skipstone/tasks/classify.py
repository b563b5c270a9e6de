"""Classification: one label per sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skipstone.bundle.arch import Part
from skipstone.data.samples import Meta
from skipstone.tasks import metrics as figures
from skipstone.tasks.base import Difference, Metric, Outputs, PerSample, Post, Prediction, Record
from skipstone.tasks.calibration import fit_temperature, softmax
from skipstone.tasks.labels import (
    TIE,
    WORST,
    Labels,
    class_table,
    class_weights,
    counts_in,
    difference_of,
    finite_logits,
    gallery,
    grown_classes,
    linear_head,
    loss_args,
    most_confused,
    reliability_block,
    temperature_of,
    unlike,
)
from skipstone.tasks.options import ClassifyOptions
from skipstone.tasks.records import Table

if TYPE_CHECKING:
    from torch import Tensor

    from skipstone.data.manifest import Manifest
    from skipstone.models.losses import Criterion

#: Classes that the confusion matrix shows at most.
MOST_CONFUSED = 1_000


class Classify(PerSample):
    """One of K classes per sample.

    Targets are class names; outputs {"logits": (N, K)}; y {"label": int64 scalar}, or float
    (N, K) after MixUp.

    A record: target, label (class names), correct, probability (of the prediction), rank (of the
    true class, from 1), loss (negative log-likelihood), brier, and id and name of the sample.

    Args:
        schema: {"classes": [...]}, and "counts": [...] of the training rows for class weights.
    """

    name = "classify"
    headline = "accuracy"
    activation = "softmax"
    tie_breaks = ("nll",)  # on few validation rows many epochs have equal accuracy

    def __init__(self, options: ClassifyOptions, schema: Mapping[str, Any]) -> None:
        self.options = options
        self.schema = dict(schema)
        self.labels = Labels(schema, least=2)

    # -- training ----------------------------------------------------------------------------------

    def head(self) -> Part:
        return linear_head(len(self.labels))

    def criterion(self) -> Criterion:
        from skipstone.models.losses import CrossEntropy, LogitsCriterion, SoftmaxFocal

        weights = None
        if self.options.class_weights != "none":
            counts = counts_in(self.schema, len(self.labels))
            weights = class_weights(self.options.class_weights, counts, self.options.effective_beta)
        kind = SoftmaxFocal if self.options.loss == "focal" else CrossEntropy
        return LogitsCriterion(kind(**loss_args(self.options, weights)), "label")

    def class_names(self) -> Sequence[str]:
        return self.labels.names

    def with_new_classes(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        return grown_classes(self.labels, schema)

    def target(self, value: Any, meta: Meta | None = None) -> dict[str, Tensor]:
        import torch

        return {"label": torch.tensor(self.labels.code(value), dtype=torch.int64)}

    def soften(self, y: dict[str, Any]) -> dict[str, Any] | None:
        from torch.nn.functional import one_hot

        label = y["label"]
        if label.is_floating_point():
            return dict(y)
        return {**y, "label": one_hot(label, len(self.labels)).float()}

    def knows(self, value: Any) -> bool:
        return value in self.labels

    def statistics(self, manifest: Manifest) -> Mapping[str, Any]:
        """{"counts": [K]}: samples per class."""
        counts = [0] * len(self.labels)
        for pair in manifest.table["target"].value_counts().to_pylist():
            counts[self.labels.code(pair["values"])] = pair["counts"]
        return {"counts": counts}

    # -- predictions -------------------------------------------------------------------------------

    def predict(self, outputs: Outputs, metas: Sequence[Meta], post: Post) -> list[Prediction]:
        names = self.labels.names
        probability = softmax(finite_logits(outputs, metas, len(names)), temperature_of(post))
        best = np.argsort(-probability, axis=1, kind="stable")[:, : self.options.top_k]
        predictions = []
        for row, meta in enumerate(metas):
            top = [
                {"label": names[code], "probability": float(probability[row, code])}
                for code in best[row]
            ]
            fields = {**top[0], "top": top}
            predictions.append(Prediction(meta, fields, {"probability": probability[row]}))
        return predictions

    def calibrate(self, outputs: Outputs, targets: Sequence[Any]) -> Post:
        """{"temperature": T} (Guo et al. 2017)."""
        codes = np.array([self.labels.code(target) for target in targets], np.int64)
        return {"temperature": fit_temperature(outputs["logits"], codes)}

    def score(self, prediction: Prediction, target: Any) -> Record:
        probability = prediction.scores["probability"][None]  # (1, K)
        code = np.array([self.labels.code(target)])
        label = prediction.fields["label"]
        return {
            "id": prediction.meta.id,
            "name": prediction.meta.name,
            "target": target,
            "label": label,
            "correct": label == target,
            "probability": prediction.fields["probability"],
            "rank": int(figures.rank_of(probability, code)[0]),
            "loss": float(figures.negative_log_likelihood(probability, code)[0]),
            "brier": float(figures.brier(probability, code)[0]),
        }

    # -- metrics -----------------------------------------------------------------------------------

    def metrics(self) -> tuple[Metric, ...]:
        metrics = [Metric("accuracy", "accuracy", "proportion", field="correct")]
        if len(self.labels) > self.options.top_k > 1:
            k = self.options.top_k
            metrics.append(Metric(f"top{k}", f"top-{k} accuracy", "bootstrap"))
        metrics += [
            Metric("balanced_accuracy", "balanced accuracy", "bootstrap"),
            Metric("macro_f1", "macro F1", "bootstrap"),
            Metric("ece", "calibration error (ECE)", "calibration", higher_is_better=False),
            Metric("nll", "negative log-likelihood", "bootstrap", higher_is_better=False),
            Metric("brier", "Brier score", "bootstrap", higher_is_better=False),
        ]
        return tuple(metrics)

    def compute(self, records: Sequence[Record]) -> dict[str, float]:
        table = Table.of(records)
        weight = table.weight
        counts = self._counts(table)
        values = {
            "accuracy": figures.mean(table.column("correct"), weight),
            "balanced_accuracy": counts.balanced_accuracy(),
            "macro_f1": counts.macro_f1(),
            "ece": self._reliability(table).ece(),
            "nll": figures.mean(table.column("loss"), weight),
            "brier": figures.mean(table.column("brier"), weight),
        }
        k = self.options.top_k
        values[f"top{k}"] = figures.mean((table.column("rank") <= k).astype(np.float64), weight)
        return {metric.name: values[metric.name] for metric in self.metrics()}

    def calibration_terms(self, records: Sequence[Record]) -> np.ndarray:
        table = Table.of(records)
        return figures.calibration_terms(table.column("probability"), table.column("correct"))

    def difference(self, reference: Outputs, outputs: Outputs, post: Post) -> Difference:
        before, after = reference["logits"], outputs["logits"]
        if before.shape != after.shape:
            return unlike(len(before))
        temperature = temperature_of(post)
        p_before, p_after = softmax(before, temperature), softmax(after, temperature)
        changed = p_before.argmax(axis=1) != p_after.argmax(axis=1)
        changed |= ~np.isfinite(after).all(axis=1)
        # both probabilities may move by TIE, towards each other
        clear = np.ptp(np.sort(p_before, axis=1)[:, -2:], axis=1) > 2 * TIE
        return difference_of((before, after), (p_before, p_after), changed, clear)

    def sections(self, records: Sequence[Record], post: Post) -> list[Mapping[str, Any]]:
        table = Table.of(records)
        counts = self._counts(table)
        names, matrix, support = self._confusion(table, counts)
        is_truncated = len(names) < len(self.labels)
        wrong = sorted(
            (row for row in table.rows if not row["correct"]), key=lambda row: -row["loss"]
        )
        mistakes = [
            (
                row,
                f"{row['target']} predicted as {row['label']}",
                row["target"],
                row["label"],
                row["probability"],
            )
            for row in wrong[:WORST]
        ]
        return [
            class_table(self.labels.names, counts),
            {
                "kind": "confusion",
                "title": f"Confusion{f' (the {len(names)} most confused classes)' * is_truncated}",
                "classes": names,
                "matrix": matrix.astype(int).tolist(),
            },
            most_confused(names, matrix, support=support),
            gallery(
                "Worst mistakes",
                mistakes,
                f"The {len(mistakes)} most confident of {len(wrong):,} wrong predictions: look "
                "here for wrong labels first.",
            ),
            reliability_block(self._reliability(table)),
            {
                "kind": "facts",
                "title": "Post-processing",
                "items": [["temperature", round(temperature_of(post), 4)]],
            },
        ]

    def _codes(self, table: Table) -> tuple[np.ndarray, np.ndarray]:
        """Class indices of targets and predictions, (rows,) each."""
        names = self.labels.names
        return table.codes("target", names), table.codes("label", names)

    def _counts(self, table: Table) -> figures.Counts:
        return figures.Counts.of_labels(*self._codes(table), len(self.labels), table.weight)

    def _confusion(
        self, table: Table, counts: figures.Counts
    ) -> tuple[list[str], np.ndarray, np.ndarray]:
        """(K names, (K, K) targets by predictions, samples per class) of all classes, or of the
        MOST_CONFUSED with the most mistakes."""
        target, label = self._codes(table)
        mistakes = counts.answered + counts.support - 2 * counts.hits
        classes = np.sort(np.argsort(-mistakes, kind="stable")[:MOST_CONFUSED])
        position = np.full(len(self.labels), -1)
        position[classes] = np.arange(len(classes))
        both = (position[target] >= 0) & (position[label] >= 0)
        matrix = figures.confusion_matrix(
            position[target[both]], position[label[both]], len(classes), table.weight[both]
        )
        return [self.labels.names[code] for code in classes], matrix, counts.support[classes]

    def _reliability(self, table: Table) -> figures.Reliability:
        confidence = table.column("probability")
        binned = table.cached("binned", lambda: figures.bin_of(confidence))
        return figures.reliability(confidence, table.column("correct"), table.weight, binned=binned)
