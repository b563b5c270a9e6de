"""A small detector: ragged targets, a criterion that the head brings, several outputs.

At each cell of the deepest map, distances from the cell's centre to the four sides of a box, and a
score a class, as FCOS has them (Tian et al. 2019, sec. 3.1), without centre-ness and levels.
Boxes are (x1, y1, x2, y2) in fractions of the picture, so they suit pictures resized by squashing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.special import expit
from torch import Tensor, nn
from torchvision.ops import box_iou, nms

from skipstone.bundle.architecture import ComponentConfig
from skipstone.core.errors import DataError
from skipstone.data.samples import SampleMeta
from skipstone.models.heads.base import Head
from skipstone.models.losses import Criterion, SigmoidFocal, Targets
from skipstone.tasks.base import Difference, Metric, Outputs, Post, Prediction, Record, TaskDefaults
from skipstone.tasks.labels import (
    TIE_MARGIN,
    ClassLabels,
    max_absolute_difference,
    max_relative_difference,
    mismatched_shapes,
)

from . import BoxesOptions


class GridHead(Head):
    """Outputs {"boxes": (N, M, 4), "scores": (N, M, K)} (logits), M the cells of the last map."""

    def __init__(
        self, options: None, *, channels: tuple[int, ...], strides: tuple[int, ...], classes: int
    ) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels[-1], 4 + classes, 3, padding=1)
        assert self.layer.bias is not None
        nn.init.constant_(self.layer.bias[4:], -2.0)  # few cells hold something (Lin 2017, 4.1)

    def forward(self, features: tuple[Tensor, ...], size: Sequence[int]) -> dict[str, Tensor]:
        raw = self.layer(features[-1]).flatten(2).transpose(1, 2)  # (N, M, 4 + K)
        centre, reach = _centres(features[-1]), raw[..., :4].sigmoid()
        boxes = torch.cat([centre - reach[..., :2], centre + reach[..., 2:]], dim=-1)
        return {"boxes": boxes, "scores": raw[..., 4:]}

    def training_outputs(
        self, features: tuple[Tensor, ...], size: Sequence[int]
    ) -> dict[str, Tensor]:
        return {**self(features, size), "centres": _centres(features[-1])}

    def criterion(self) -> Criterion:
        return GridCriterion()


class GridCriterion(Criterion):
    """Each box is answered for by the cell that is nearest to its middle."""

    def __init__(self) -> None:
        super().__init__()
        self.focal = SigmoidFocal(gamma=2.0)

    def forward(self, outputs: dict[str, Tensor], y: Targets) -> dict[str, Tensor]:
        centre = outputs["centres"]
        wanted, gap = torch.zeros_like(outputs["scores"]), outputs["boxes"].sum() * 0.0
        for row, (boxes, labels) in enumerate(zip(y["boxes"], y["labels"], strict=True)):
            cell = torch.cdist((boxes[:, :2] + boxes[:, 2:]) / 2, centre).argmin(dim=1)
            wanted[row, cell, labels] = 1.0
            gap = gap + (outputs["boxes"][row, cell] - boxes).abs().sum()
        return {"score": self.focal(outputs["scores"], wanted), "box": 5.0 * gap}

    def weight(self, y: Targets) -> Tensor:
        """How many boxes there are; 1 where there is none."""
        return torch.tensor(float(max(1, sum(map(len, y["boxes"])))))


def _centres(feature: Tensor) -> Tensor:
    """(M, 2): x and y of each cell's centre, in fractions of the picture."""
    high, wide = feature.shape[-2:]
    y = (torch.arange(high, dtype=feature.dtype, device=feature.device) + 0.5) / high
    x = (torch.arange(wide, dtype=feature.dtype, device=feature.device) + 0.5) / wide
    return torch.stack([x.repeat(high), y.repeat_interleave(wide)], dim=1)


class Boxes(TaskDefaults):
    """A target is a list of {"label", "box"}; y {"boxes": (n, 4), "labels": (n,)}, ragged. A record
    counts hits, answers and truths; `correct` is the sample's F1."""

    name, headline = "boxes", "f1"
    ragged, spatial_targets = frozenset({"boxes", "labels"}), frozenset({"boxes"})

    def __init__(self, options: BoxesOptions, schema: Mapping[str, Any]) -> None:
        self.options, self.schema = options, dict(schema)
        self.labels = ClassLabels(schema, min_classes=1)

    def default_head(self) -> ComponentConfig:
        return ComponentConfig("grid", {"options": {}, "shape": {"classes": len(self.labels)}})

    def encode_target(self, value: Any, meta: SampleMeta | None = None) -> dict[str, Tensor]:
        if not self.accepts_target(value):
            raise DataError(f"{value!r} is no list of boxes of {', '.join(self.labels.names)}.")
        boxes = torch.tensor([item["box"] for item in value], dtype=torch.float32).reshape(-1, 4)
        codes = [self.labels.index_of(item["label"]) for item in value]
        return {"boxes": boxes, "labels": torch.tensor(codes, dtype=torch.int64)}

    def accepts_target(self, value: Any) -> bool:
        return isinstance(value, list) and all(item.get("label") in self.labels for item in value)

    def predict(
        self, outputs: Outputs, metas: Sequence[SampleMeta], post: Post
    ) -> list[Prediction]:
        if not all(np.isfinite(value).all() for value in outputs.values()):
            raise DataError(f"not finite: the answers to {', '.join(meta.name for meta in metas)}")
        found = []
        for boxes, scores, meta in zip(
            outputs["boxes"], expit(outputs["scores"]), metas, strict=True
        ):
            best = scores.max(axis=1)
            keep = nms(torch.tensor(boxes), torch.tensor(best), 0.5).numpy()
            keep = keep[best[keep] >= post.get("score", 0.3)]
            fields = {
                "label": [self.labels.names[code] for code in scores[keep].argmax(axis=1)],
                "probability": [float(value) for value in best[keep]],
                "boxes": [[float(value) for value in box] for box in boxes[keep]],
            }
            found.append(Prediction(meta, fields, {"boxes": boxes[keep]}))
        return found

    def fit_postprocessing(self, outputs: Outputs, targets: Sequence[Any]) -> Post:
        """{"score": the least score of a box}, by F1."""

        def f1(score: float) -> float:
            metas = [SampleMeta(row) for row in range(len(targets))]
            answers = self.predict(outputs, metas, {"score": score})
            return self.compute_metrics([*map(self.score_prediction, answers, targets)])["f1"]

        return {"score": max(np.linspace(0.1, 0.8, 15).tolist(), key=f1) if len(targets) else 0.3}

    def score_prediction(self, prediction: Prediction, target: Any) -> Record:
        truth = np.array([item["box"] for item in target], np.float32).reshape(-1, 4)
        overlap = box_iou(torch.tensor(truth), torch.tensor(prediction.scores["boxes"])).numpy()
        named = [
            [item["label"] == other for other in prediction.fields["label"]] for item in target
        ]
        fit = overlap * np.reshape(named, overlap.shape)
        hits = int((fit[linear_sum_assignment(-fit)] >= self.options.iou).sum())
        truths, answered = overlap.shape
        best = float(overlap.max(axis=1).mean()) if overlap.size else float(answered == truths)
        return {
            "id": prediction.meta.id,
            "name": prediction.meta.name,
            "hits": hits,
            "answered": answered,
            "truths": truths,
            "correct": 2 * hits / (answered + truths) if answered + truths else 1.0,
            "iou": best,
            "loss": 1 - best,
        }

    def list_metrics(self) -> tuple[Metric, ...]:
        title = f"F1 of boxes at IoU {self.options.iou}"
        return Metric("f1", title, "bootstrap"), Metric("mean_iou", "mean best IoU", "bootstrap")

    def compute_metrics(self, records: Sequence[Record]) -> dict[str, float]:
        both = sum(record["answered"] + record["truths"] for record in records)
        f1 = 2 * sum(record["hits"] for record in records) / both if both else 1.0
        return {"f1": f1, "mean_iou": float(np.mean([record["iou"] for record in records]))}

    def compare_outputs(self, reference: Outputs, outputs: Outputs, post: Post) -> Difference:
        n, least = len(reference["scores"]), post.get("score", 0.3)
        if any(reference[name].shape != outputs[name].shape for name in reference):
            return mismatched_shapes(n)
        was, now = (expit(each["scores"]).reshape(n, -1) for each in (reference, outputs))
        changed = ((was >= least) != (now >= least)) | np.isnan(now)
        flips = (changed & ~(np.abs(was - least) <= TIE_MARGIN) | np.isnan(now)).any(axis=1)
        gaps = [
            max_relative_difference(value.reshape(n, -1), outputs[name].reshape(n, -1))
            for name, value in reference.items()
        ]
        ties = int((changed.any(axis=1) & ~flips).sum())
        return Difference(max_absolute_difference(was, now), max(gaps), int(flips.sum()), ties, n)
