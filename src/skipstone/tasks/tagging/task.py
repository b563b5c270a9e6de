"""Tagging: any number of labels per sample (multi-label classification)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from skipstone.core.errors import DataError
from skipstone.core.formatting import pluralize
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
from skipstone.tasks.label_answers import select_tags, sigmoid
from skipstone.tasks.labels import (
    MAX_MISTAKES,
    TIE_MARGIN,
    LabelTask,
    class_table_block,
    compute_positive_weights,
    find_weakest_class,
    gallery_item,
    loss_args,
    mismatched_shapes,
    postprocessing_block,
    read_temperature,
    read_thresholds,
    reliability_block,
    require_class_counts,
    require_finite_logits,
    summarize_difference,
    worst_mistakes,
)
from skipstone.tasks.options import TagOptions
from skipstone.tasks.temperature import fit_temperature, sigmoid_nll

if TYPE_CHECKING:
    from torch import Tensor

    from skipstone.data.manifest import Manifest
    from skipstone.models.losses import Criterion

#: Kinds of mistakes with a gallery of their own, and samples in each of them, at most.
MAX_TAG_GALLERIES, MAX_TAG_ITEMS = 8, 4
#: positives that the pooled curve counts as
PRIOR_POSITIVES = 10.0
#: candidates, evenly spaced in logit from 0.0025 to 0.9975
CANDIDATES = 1 / (1 + np.exp(-np.linspace(-6.0, 6.0, 241)))


def compute_f1_curves(
    probability: np.ndarray, target: np.ndarray, candidates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """F1 of each tag at each candidate (K, C), and of all tags pooled (C,).

    A tag is predicted if probability >= threshold. probability, target (boolean): (N, K).
    """
    tags = probability.shape[1]
    hits = np.zeros((tags, len(candidates)))
    predicted = np.zeros((tags, len(candidates)))
    for k in range(tags):
        ranked = np.sort(probability[:, k])
        positives = np.sort(probability[target[:, k], k])
        predicted[k] = len(ranked) - np.searchsorted(ranked, candidates, side="left")
        hits[k] = len(positives) - np.searchsorted(positives, candidates, side="left")
    support = target.sum(axis=0).astype(np.float64)

    def f1(hit: np.ndarray, prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
        top, bottom = 2 * hit, prediction + truth
        return np.asarray(np.divide(top, bottom, out=np.zeros(bottom.shape), where=bottom > 0))

    per_tag = f1(hits, predicted, support[:, None])
    return per_tag, f1(hits.sum(axis=0), predicted.sum(axis=0), support.sum())


def choose_thresholds(
    probability: np.ndarray, target: np.ndarray, *, prior: float = PRIOR_POSITIVES
) -> list[float]:
    """A threshold per tag, (K,), from the validation rows; 0.5 for all if they have no positive.

    A threshold fitted on three positives is mostly noise. So the F1 curve of each tag, weighted by
    its positives, is averaged with the curve of all tags pooled, weighted as `prior` positives:
    rare tags get a threshold near the pooled optimum. (The overfitting: Lipton et al. 2014, sec. 6.)
    Of a run of equally good candidates the middle one is chosen.
    """
    if not target.any():
        return [0.5] * probability.shape[1]
    per_tag, pooled = compute_f1_curves(probability, target, CANDIDATES)
    support = target.sum(axis=0).astype(np.float64)[:, None]
    curve = (support * per_tag + prior * pooled) / np.maximum(support + prior, 1e-300)
    return [float(CANDIDATES[_middle_of_best(row)]) for row in curve]


def _middle_of_best(curve: np.ndarray) -> int:
    """The middle of the longest run of (nearly) maximal values."""
    best = np.flatnonzero(curve >= curve.max() - 1e-12)
    runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    longest = max(runs, key=len)
    return int(longest[len(longest) // 2])


class TaggingTask(LabelTask):
    """Any subset of K tags per sample.

    Targets are lists of tag names; outputs {"logits": (N, K)}; y {"tags": float32 (K,)}. A
    prediction's `label` is the list of predicted tags, most probable first, `probability` their
    probabilities, and `probabilities` those of all tags.

    The headline is mAP: it does not depend on thresholds, so early stopping and --max-drop can use
    the same validation rows that the thresholds are fitted on. `accuracy` is subset accuracy: every
    tag correct.

    A record: target, label (lists of tag names), correct (all tags), jaccard, loss (mean
    binary cross-entropy), probabilities (K), and id and name of the sample.

    Args:
        schema: {"classes": [...]}, and "counts" and "samples" of the training rows for class
            weights.
    """

    name = "tag"
    headline = "map"
    activation = "sigmoid"
    min_classes = 1
    options: TagOptions

    # -- training ----------------------------------------------------------------------------------

    def criterion(self) -> Criterion:
        from skipstone.models.losses import BinaryCrossEntropy, LogitsCriterion, SigmoidFocal

        weights = None
        if self.options.class_weights != "none":
            counts = require_class_counts(self.schema, len(self.labels))
            weights = compute_positive_weights(
                self.options.class_weights,
                counts,
                int(self.schema["samples"]),
                self.options.effective_beta,
            )
        kind = SigmoidFocal if self.options.loss == "focal" else BinaryCrossEntropy
        return LogitsCriterion(kind(**loss_args(self.options, weights)), "tags")

    def encode_target(self, value: Any, meta: SampleMeta | None = None) -> dict[str, Tensor]:
        import torch

        tags = torch.zeros(len(self.labels), dtype=torch.float32)
        tags[self._codes(value)] = 1.0
        return {"tags": tags}

    def to_soft_targets(self, y: dict[str, Any]) -> dict[str, Any] | None:
        return dict(y)  # already floats, 0 and 1

    def accepts_target(self, value: Any) -> bool:
        return _is_list(value) and all(name in self.labels for name in value)

    def label_statistics(self, manifest: Manifest) -> Mapping[str, Any]:
        """{"counts": [K], "samples": N}: samples per tag, and samples in total."""
        counts = [0] * len(self.labels)
        names = pc.list_flatten(manifest.table["target"].combine_chunks())
        for pair in names.value_counts().to_pylist():
            counts[self.labels.index_of(pair["values"])] = pair["counts"]
        return {"counts": counts, "samples": len(manifest)}

    # -- predictions -------------------------------------------------------------------------------

    def predict(
        self, outputs: Outputs, metas: Sequence[SampleMeta], post: Post
    ) -> list[Prediction]:
        names = self.labels.names
        probability = sigmoid(
            require_finite_logits(outputs, metas, len(names)), read_temperature(post)
        )
        return [
            Prediction(meta, fields, {"probability": row})
            for meta, fields, row in zip(
                metas,
                select_tags(probability, names, self._thresholds(post)),
                probability,
                strict=True,
            )
        ]

    def fit_postprocessing(self, outputs: Outputs, targets: Sequence[Any]) -> Post:
        """{"temperature": T, "thresholds": [K]}; thresholds apply to calibrated probabilities."""
        truth = np.array([self._multi_hot(target) for target in targets], bool)
        truth = truth.reshape(len(targets), len(self.labels))
        temperature = fit_temperature(outputs["logits"], truth, sigmoid_nll)
        thresholds = [0.5] * len(self.labels)
        if self.options.thresholds == "f1":
            thresholds = choose_thresholds(sigmoid(outputs["logits"], temperature), truth)
        return {"temperature": temperature, "thresholds": thresholds}

    def score_prediction(self, prediction: Prediction, target: Any) -> Record:
        truth = self._multi_hot(target)
        label = list(prediction.fields["label"])
        predicted = self._multi_hot(label)
        probability = prediction.scores["probability"]
        likelihood = np.where(truth, probability, 1 - probability)
        union = (truth | predicted).sum()
        return {
            "id": prediction.meta.id,
            "name": prediction.meta.name,
            "target": list(target),
            "label": label,
            "correct": bool((truth == predicted).all()),
            "jaccard": float((truth & predicted).sum() / union) if union else 1.0,
            "loss": float(-np.log(np.maximum(likelihood, np.finfo(np.float64).tiny)).mean()),
            "probabilities": [float(value) for value in probability],
        }

    # -- metrics -----------------------------------------------------------------------------------

    def list_metrics(self) -> tuple[Metric, ...]:
        return (
            Metric("map", "mean average precision", "bootstrap"),
            Metric("accuracy", "accuracy (all tags correct)", "proportion", field="correct"),
            Metric("macro_f1", "macro F1", "class mean"),
            Metric("micro_f1", "micro F1", "bootstrap"),
            Metric("jaccard", "overlap of tags (Jaccard)", "bootstrap"),
            Metric("ece", "calibration error (ECE)", "calibration", higher_is_better=False),
            Metric("nll", "negative log-likelihood", "bootstrap", higher_is_better=False),
        )

    def compute_metrics(self, records: Sequence[Record]) -> dict[str, float]:
        table = RecordTable.from_records(records)
        counts = self._counts(table)
        average = self._average_precision(table)
        occurs = ~np.isnan(average)
        return {
            "map": float(average[occurs].mean()) if occurs.any() else float("nan"),
            "accuracy": figures.weighted_mean(table.get_column("correct"), table.weight),
            "macro_f1": counts.macro_f1(),
            "micro_f1": counts.micro_f1(),
            "jaccard": figures.weighted_mean(table.get_column("jaccard"), table.weight),
            "ece": figures.sum_absolute_means(self.calibration_terms(table), table.weight),
            "nll": figures.weighted_mean(table.get_column("loss"), table.weight),
        }

    def class_mean_parts(
        self, records: Sequence[Record], name: str
    ) -> tuple[np.ndarray, np.ndarray]:
        return self._counts(RecordTable.from_records(records)).mean_parts(name)

    def calibration_terms(self, records: Sequence[Record]) -> np.ndarray:
        """The terms of a row are the mean over its tags."""
        table = RecordTable.from_records(records)

        def make() -> np.ndarray:
            confidence, truth = (
                table.get_column("probabilities").ravel(),
                self._truth(table).ravel(),
            )
            terms = figures.calibration_terms(confidence, truth.astype(np.float64))
            return np.asarray(terms.reshape(len(table.rows), len(self.labels), -1).mean(axis=1))

        return table.get_cached("terms", make)

    def compare_outputs(self, reference: Outputs, outputs: Outputs, post: Post) -> Difference:
        before, after = reference["logits"], outputs["logits"]
        if before.shape != after.shape:
            return mismatched_shapes(len(before))
        thresholds, temperature = self._thresholds(post), read_temperature(post)
        p_before, p_after = sigmoid(before, temperature), sigmoid(after, temperature)
        changed = (p_before >= thresholds) != (p_after >= thresholds)  # (N, K)
        changed |= ~np.isfinite(after)
        clear = (changed & (np.abs(p_before - thresholds) > TIE_MARGIN)).any(axis=1)
        return summarize_difference(
            (before, after), (p_before, p_after), changed.any(axis=1), clear
        )

    def summarize_errors(self, records: Sequence[Record]) -> ErrorSummary | None:
        table = RecordTable.from_records(records)
        counts = self._counts(table)
        occurs = counts.support > 0
        share = counts.support / max(table.weight.sum(), 1)
        return ErrorSummary(
            metric="accuracy",
            error="get at least one wrong tag",
            majority=float(share[occurs].mean()) if occurs.any() else 0.0,
            majority_title="giving the tags by chance",
            weakest=find_weakest_class(self.labels.names, counts.true_positives, counts.support),
        )

    def report_sections(self, records: Sequence[Record], post: Post) -> list[Mapping[str, Any]]:
        table = RecordTable.from_records(records)
        average = [None if np.isnan(v) else float(v) for v in self._average_precision(table)]
        thresholds = [round(float(value), 4) for value in self._thresholds(post)]
        wrong = worst_mistakes(table)
        worst = wrong[:MAX_MISTAKES]
        return [
            class_table_block(
                self.labels.names,
                self._counts(table),
                {"average precision": average, "threshold": thresholds},
            ),
            {
                "kind": "gallery",
                "title": "Worst mistakes",
                "items": list(map(self._describe_mistake, worst)),
                "note": f"The {len(worst)} worst of {len(wrong):,} samples with a wrong tag; the "
                "probability is that of the most confident wrong decision, which is named.",
            },
            *self._list_tag_galleries(wrong),
            reliability_block(self._reliability(table)),
            postprocessing_block(post),
        ]

    def _list_tag_galleries(self, wrong: Sequence[Record]) -> list[Mapping[str, Any]]:
        """A gallery per tag and kind of mistake: samples in which it was missed, or wrongly found;
        the most frequent first."""
        mistakes: dict[tuple[str, str], list[Record]] = {}
        for record in wrong:
            truth, label = set(record["target"]), set(record["label"])
            for title, names in (("Missed", truth - label), ("Wrongly found", label - truth)):
                for name in names:
                    mistakes.setdefault((title, name), []).append(record)
        order = sorted(mistakes, key=lambda kind: (-len(mistakes[kind]), kind))[:MAX_TAG_GALLERIES]
        return [
            {
                "kind": "gallery",
                "title": f"{title}: {name}",
                "items": list(map(self._describe_mistake, mistakes[title, name][:MAX_TAG_ITEMS])),
                "note": f"In {pluralize(len(mistakes[title, name]), 'sample')}.",
            }
            for title, name in order
        ]

    # -- columns of a table of records -------------------------------------------------------------

    def _truth(self, table: RecordTable) -> np.ndarray:
        """Boolean (rows, K)."""
        return table.get_cached(
            "truth", lambda: self._multi_hot_rows(row["target"] for row in table.rows)
        )

    def _counts(self, table: RecordTable) -> figures.ClassCounts:
        """From floats, which each resample multiplies by its weights."""
        labels = (row["label"] for row in table.rows)
        predicted = table.get_cached(
            "predicted", lambda: self._multi_hot_rows(labels).astype(np.float64)
        )
        truth = table.get_cached("true", lambda: self._truth(table).astype(np.float64))
        return figures.ClassCounts.from_tags(truth, predicted, table.weight)

    def _average_precision(self, table: RecordTable) -> np.ndarray:
        scores, truth = table.get_column("probabilities"), self._truth(table)
        ranking = table.get_cached(
            "ranking", lambda: figures.ScoreRanking.from_scores(scores, truth)
        )
        return figures.average_precision(ranking, table.weight)

    def _reliability(self, table: RecordTable) -> figures.ReliabilityBins:
        """Over every (sample, tag): the probability of the tag against its presence."""
        return figures.bin_reliability(
            table.get_column("probabilities").ravel(),
            self._truth(table).ravel(),
            np.repeat(table.weight, len(self.labels)),
        )

    def _worst_decision(self, record: Record) -> tuple[int, bool, float]:
        """(class index, whether it was predicted, confidence) of the most confident wrong decision
        about a tag."""
        predicted = self._multi_hot(record["label"])
        probability = np.array(record["probabilities"])
        confidence = np.where(predicted, probability, 1 - probability)
        confidence[predicted == self._multi_hot(record["target"])] = -1.0
        code = int(confidence.argmax())
        return code, bool(predicted[code]), float(confidence[code])

    def _describe_mistake(self, record: Record) -> Mapping[str, Any]:
        code, is_predicted, confidence = self._worst_decision(record)
        return gallery_item(
            record,
            _describe_errors(record),
            _join(record["target"]),
            _join(record["label"]),
            confidence,
            about=f"{'wrongly found' if is_predicted else 'missed'} {self.labels.names[code]}",
            decision={"code": code, "is_present": is_predicted},
        )

    def _multi_hot_rows(self, rows: Iterable[Sequence[str]]) -> np.ndarray:
        return np.array([self._multi_hot(names) for names in rows], bool)

    def _multi_hot(self, names: Any) -> np.ndarray:
        """Boolean (K,)."""
        hot = np.zeros(len(self.labels), bool)
        hot[self._codes(names)] = True
        return hot

    def _codes(self, names: Any) -> list[int]:
        if not _is_list(names):
            raise DataError(f"a target of task 'tag' must be a list of tags, not {names!r}.")
        return [self.labels.index_of(name) for name in names]

    def _thresholds(self, post: Post) -> np.ndarray:
        return read_thresholds(post, len(self.labels))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)


def _join(names: Sequence[str]) -> str:
    return ", ".join(names) or "no tags"


def _describe_errors(record: Record) -> str:
    missed = [name for name in record["target"] if name not in record["label"]]
    added = [name for name in record["label"] if name not in record["target"]]
    parts = [f"missed {_join(missed)}"] if missed else []
    parts += [f"wrongly found {_join(added)}"] if added else []
    return "; ".join(parts)
