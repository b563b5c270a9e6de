"""Scores of a model by cross-validation: each row is predicted by a model that it did not train.

Where several candidates were fitted, each fold is predicted by the one that is best on the other
folds, and with post-processing that is fitted to the other folds. So no row takes part in a decision
about its own prediction, and the score is that of the whole procedure. The model that ships uses
the candidate and the post-processing that are best on all folds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skipstone.core.formatting import pluralize
from skipstone.data.manifest import Manifest
from skipstone.data.samples import SampleMeta
from skipstone.evaluation.scores import (
    CalibrationGain,
    Scores,
    calibration_gain,
    compute_scores,
    has_confidence,
)
from skipstone.inference.predictor import Evaluation
from skipstone.tasks.base import Outputs, Post, Record, Task, headline_metric

#: The role of a score by cross-validation.
FOLDS_ROLE = "folds"


@dataclass(frozen=True)
class FoldOutputs:
    """Outputs of one repeat of cross-validation.

    Args:
        rows: the rows that were held out, M.
        folds: int (M,), the fold of each.
        outputs: of each candidate by name, (M, ...).
        last_is_mean: whether the last candidate is the mean of the others.
    """

    rows: Manifest
    folds: np.ndarray
    outputs: Sequence[Outputs]
    last_is_mean: bool = False

    def fit_postprocessing(self, task: Task, candidate: int, part: np.ndarray) -> dict[str, Any]:
        """Fitted to the rows where `part` (M,) is true."""
        targets = self.rows.column_values("target")
        load = task.target_loader(self.rows)
        values = [load(targets[row]) for row in np.flatnonzero(part)]
        return dict(task.fit_postprocessing(_select(self.outputs[candidate], part), values))

    def score_rows(self, task: Task, candidate: int, part: np.ndarray, post: Post) -> list[Record]:
        """One record per row where `part` is true."""
        rows = self.rows.take_rows(np.flatnonzero(part))
        load, targets = task.target_loader(rows), rows.column_values("target")
        metas = [
            SampleMeta(id, source.name)
            for id, source in zip(rows.column_values("id"), rows.list_sources(), strict=True)
        ]
        predictions = task.predict(_select(self.outputs[candidate], part), metas, post)
        return [
            task.score_prediction(prediction, load(target))
            for prediction, target in zip(predictions, targets, strict=True)
        ]

    def choose_candidate(self, task: Task, part: np.ndarray) -> int:
        """The best candidate where `part` is true; the mean of models only if it is better than the
        best of them by more than one standard error (Breiman et al. 1984, section 3.4.3)."""
        values, metric = self.rank_candidates(task, part), headline_metric(task)
        best = int(np.argmax(values))
        if not self.last_is_mean or best < len(values) - 1 or metric.field is None:
            return best
        single = int(np.argmax(values[:-1]))
        mean, one = (
            np.array([record[metric.field] for record in self._records_by_candidate(task)[at]])
            for at in (best, single)
        )
        gain = (mean.astype(float) - one.astype(float))[part]
        return best if gain.mean() > gain.std() / np.sqrt(len(gain)) else single

    def rank_candidates(self, task: Task, part: np.ndarray) -> list[float]:
        """The headline metric of each candidate where `part` is true, so that more is better."""
        metric = headline_metric(task)
        sign = 1 if metric.higher_is_better else -1
        values = []
        for records in self._records_by_candidate(task):
            chosen = [records[row] for row in np.flatnonzero(part)]
            if metric.kind == "proportion" and metric.field is not None:
                values.append(float(np.mean([record[metric.field] for record in chosen])))
            else:
                values.append(sign * task.compute_metrics(chosen)[metric.name])
        return values

    def _records_by_candidate(self, task: Task) -> list[list[Record]]:
        everything = np.ones(len(self.folds), bool)
        if not self._cache:
            for candidate in range(len(self.outputs)):
                post = self.fit_postprocessing(task, candidate, everything)
                self._cache.append(self.score_rows(task, candidate, everything, post))
        return self._cache

    _cache: list[list[Record]] = dataclasses.field(default_factory=list, repr=False)


@dataclass(frozen=True)
class CrossValidation:
    """The repeats of a cross-validation; the first has all candidates, the others only the best.

    Args:
        best: the candidate that ships.
    """

    repeats: Sequence[FoldOutputs]
    best: int

    def fit_postprocessing(self, task: Task) -> dict[str, Any]:
        """Of the model that ships: fitted to all rows of the first repeat."""
        first = self.repeats[0]
        return first.fit_postprocessing(task, self.best, np.ones(len(first.folds), bool))

    def evaluate(self, task: Task, repeat: int = 0, *, calibrated: bool = True) -> Evaluation:
        """The records of one repeat, in the order of its rows."""
        outputs = self.repeats[repeat]
        records: list[Record] = [{}] * len(outputs.folds)
        for fold in np.unique(outputs.folds):
            inside = outputs.folds == fold
            candidate = 0
            if len(outputs.outputs) > 1:
                candidate = outputs.choose_candidate(task, ~inside)
            post = outputs.fit_postprocessing(task, candidate, ~inside)
            if not calibrated:
                post["temperature"] = 1.0
            scored = outputs.score_rows(task, candidate, inside, post)
            for row, record in zip(np.flatnonzero(inside), scored, strict=True):
                records[row] = record
        groups = outputs.rows.column_values("group")
        return Evaluation(records, [], rows=list(range(len(records))), groups=groups)

    def compute_scores(self, task: Task, seed: int) -> Scores:
        """Metrics of all repeats, whose intervals count each row once; the records of the first."""
        parts = [self.evaluate(task, repeat) for repeat in range(len(self.repeats))]
        first, rows = parts[0], self.repeats[0].rows
        scores = compute_scores(
            task, first, rows, role=FOLDS_ROLE, seed=seed, split=self.describe_rows()
        )
        if len(parts) > 1:
            groups = [
                group or str(id)
                for group, id in zip(first.groups, rows.column_values("id"), strict=True)
            ]
            pooled = Evaluation(
                [record for part in parts for record in part.records],
                [],
                groups=[*groups] * len(parts),
            )
            metrics = compute_scores(task, pooled, rows, role=FOLDS_ROLE, seed=seed).metrics
            scores = dataclasses.replace(
                scores,
                metrics={
                    name: dataclasses.replace(value, n=len(rows)) for name, value in metrics.items()
                },
            )
        return dataclasses.replace(scores, calibration=self._measure_calibration(task, first, seed))

    def _measure_calibration(
        self, task: Task, evaluation: Evaluation, seed: int
    ) -> CalibrationGain | None:
        if "temperature" not in self.fit_postprocessing(task):
            return None
        if not has_confidence(task, evaluation.records):
            return None
        before = self.evaluate(task, calibrated=False).records
        return calibration_gain(before, evaluation.records, task, evaluation.groups, seed)

    def describe_rows(self) -> str:
        """The scored rows for people."""
        first = self.repeats[0]
        folds = len(np.unique(first.folds))
        times = f", repeated {len(self.repeats)} times" if len(self.repeats) > 1 else ""
        return (
            f"{pluralize(len(first.folds), 'row')}, each predicted by a model that was not fitted on "
            f"it ({folds} folds{times})"
        )

    def to_json(self) -> dict[str, int]:
        first = self.repeats[0]
        folds = len(np.unique(first.folds))
        return {"folds": folds, "repeats": len(self.repeats), "rows": len(first.folds)}


def _select(outputs: Mapping[str, np.ndarray], part: np.ndarray) -> dict[str, np.ndarray]:
    return {name: value[part] for name, value in outputs.items()}
