"""Grade: one of several levels that have an order, where a near answer is better than a far one.

K levels are K - 1 questions, "is it above this level?" (Frank and Hall 2001, A Simple Approach to
Ordinal Classification), which the usual linear head answers side by side. An answer is the median:
as many levels up as there are questions answered by yes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from skipstone.bundle.architecture import ComponentConfig
from skipstone.data.samples import SampleMeta
from skipstone.models.losses import BinaryCrossEntropy, Criterion, LogitsCriterion
from skipstone.tasks.base import Difference, Metric, Outputs, Post, Prediction, Record, TaskDefaults
from skipstone.tasks.labels import (
    TIE_MARGIN,
    ClassLabels,
    mismatched_shapes,
    require_finite_logits,
    summarize_difference,
)

from . import GradeOptions


class Grade(TaskDefaults):
    """Targets are names of levels; schema {"levels": [...]}, the lowest first; outputs {"logits":
    (N, K - 1)}; y {"above": float32 (K - 1,)}."""

    name, headline, activation = "grade", "near", "sigmoid"

    def __init__(self, options: GradeOptions, schema: Mapping[str, Any]) -> None:
        self.options, self.schema = options, dict(schema)
        self.levels = ClassLabels({"classes": schema["levels"]}, min_classes=2)

    def default_head(self) -> ComponentConfig:
        return ComponentConfig(
            "linear", {"options": {}, "shape": {"classes": len(self.levels) - 1}}
        )

    def criterion(self) -> Criterion:
        return LogitsCriterion(BinaryCrossEntropy(), "above")

    def encode_target(self, value: Any, meta: SampleMeta | None = None) -> dict[str, Tensor]:
        return {"above": (torch.arange(len(self.levels) - 1) < self.levels.index_of(value)).float()}

    def accepts_target(self, value: Any) -> bool:
        return value in self.levels

    def predict(
        self, outputs: Outputs, metas: Sequence[SampleMeta], post: Post
    ) -> list[Prediction]:
        above = expit(
            require_finite_logits(outputs, metas, len(self.levels) - 1).astype(np.float64)
        )
        ends = np.ones(len(above)), np.zeros(len(above))
        share = -np.diff(np.column_stack([ends[0], above, ends[1]]), axis=1)  # (N, K)
        found = []
        for level, shares, meta in zip(_level(above), share, metas, strict=True):
            fields = {
                "label": self.levels.names[level],
                "probability": max(0.0, float(shares[level])),
            }
            found.append(Prediction(meta, fields, {"level": np.array(level)}))
        return found

    def fit_postprocessing(self, outputs: Outputs, targets: Sequence[Any]) -> Post:
        return {}

    def score_prediction(self, prediction: Prediction, target: Any) -> Record:
        off = abs(int(prediction.scores["level"]) - self.levels.index_of(target))
        return {
            "id": prediction.meta.id,
            "name": prediction.meta.name,
            "target": target,
            "label": prediction.fields["label"],
            "correct": off == 0,
            "near": off <= self.options.near,
            "off": off,
            "loss": float(off),
        }

    def list_metrics(self) -> tuple[Metric, ...]:
        return (
            Metric("near", f"at most {self.options.near} off", "proportion", field="near"),
            Metric("accuracy", "accuracy", "proportion", field="correct"),
            Metric("levels_off", "levels off", "bootstrap", higher_is_better=False),
        )

    def compute_metrics(self, records: Sequence[Record]) -> dict[str, float]:
        fields = {"near": "near", "accuracy": "correct", "levels_off": "off"}
        return {
            name: float(np.mean([record[field] for record in records]))
            for name, field in fields.items()
        }

    def compare_outputs(self, reference: Outputs, outputs: Outputs, post: Post) -> Difference:
        before, after = reference["logits"], outputs["logits"]
        if before.shape != after.shape:
            return mismatched_shapes(len(before))
        was, now = expit(before), expit(after)
        changed = (_level(was) != _level(now)) | ~np.isfinite(after).all(axis=1)
        clear = np.abs(was - 0.5).min(axis=1) > TIE_MARGIN
        return summarize_difference((before, after), (was, now), changed, clear)

    def report_sections(self, records: Sequence[Record], post: Post) -> list[Mapping[str, Any]]:
        levels = [["order", " < ".join(self.levels.names)]]
        return [{"kind": "facts", "title": "Levels", "items": levels}]


def _level(above: np.ndarray) -> np.ndarray:
    """(N,) from the probability of lying above each level, (N, K - 1)."""
    return (above > 0.5).sum(axis=1)
