"""Semantic segmentation: one class per pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from skipstone import events
from skipstone.bundle.arch import Part
from skipstone.data.masks import IGNORE, MaskTable, usual_colours
from skipstone.data.samples import Meta
from skipstone.errors import DataError
from skipstone.tasks import mask_metrics as figures
from skipstone.tasks.base import Difference, Metric, Outputs, PerSample, Post, Prediction, Record
from skipstone.tasks.calibration import fit_temperature
from skipstone.tasks.crf import CrfOptions
from skipstone.tasks.labels import (
    TIE,
    Labels,
    class_weights,
    counts_in,
    finite_logits,
    grown_classes,
    probability_difference,
    raw_difference,
    temperature_of,
    unlike,
)
from skipstone.tasks.mask_answers import (
    Opener,
    pixel_probabilities,
    refined,
    shown,
    typical_difference,
)
from skipstone.tasks.mask_calibration import (
    confidence,
    mean_of,
    reliability_of,
    sampled,
    terms_of,
)
from skipstone.tasks.mask_maps import beside, jpeg, on_record, overlay, sizes_differ
from skipstone.tasks.mask_report import mask_sections
from skipstone.tasks.mask_source import answered, index_png, seen_part, written_values
from skipstone.tasks.options import SegmentOptions
from skipstone.tasks.records import Table

if TYPE_CHECKING:
    from torch import Tensor, nn

    from skipstone.data.manifest import Manifest
    from skipstone.models.losses import Criterion

#: Pixels per image that calibration uses, and images at most.
EVIDENCE, PICTURES = 2048, 500
#: A prediction counts as changed when more than this share of its pixels changed.
FLIPPED = 0.01


class Segment(PerSample):
    """One of K classes per pixel.

    Manifest targets are {"mask": path}; loaded ones uint8 (H, W) of class indices, or IGNORE.
    Outputs {"logits": (N, K, H, W)} on the record; y {"mask": int64 (H, W)}, IGNORE for pixels
    that are not scored. `Meta` has the geometry of the record; predictions are masks in the size of
    the source.

    A record: cells and counts (the image's confusion matrix, sparse: target * K + prediction),
    boundary (pairs of class index and BF score), pixels (scored), correct (share of them),
    loss (1 - mean IoU of the image), bins, nll and brier (see `mask_calibration.confidence`), and
    id and name of the sample.

    Args:
        schema: {"classes": [...]}; also "colours", "masks" (see data/masks.py), and "counts" of
            pixels for class weights.
    """

    name = "segment"
    places = frozenset({"mask"})
    count_unit = "pixels"
    headline = "miou"
    activation = "softmax"
    max_calibration_rows = PICTURES

    def __init__(self, options: SegmentOptions, schema: Mapping[str, Any]) -> None:
        self.options = options
        self.schema = dict(schema)
        self.labels = Labels(schema, least=2)
        self.table = MaskTable.of_schema(schema)
        colours = schema.get("colours") or [list(colour) for colour in self.table.colours]
        if len(colours) != len(self.labels):
            colours = [list(colour) for colour in usual_colours(len(self.labels))]
        self.colours = colours

    # -- training ----------------------------------------------------------------------------------

    def head(self) -> Part:
        return Part("lraspp", {"options": {}, "shape": {"classes": len(self.labels)}})

    def criterion(self) -> Criterion:
        from skipstone.models.losses import LogitsCriterion
        from skipstone.models.pixel_losses import PIXEL_LOSSES

        args: dict[str, Any] = {"ignore_index": IGNORE}
        if self.options.class_weights != "none":
            counts = counts_in(self.schema, len(self.labels))
            args["class_weights"] = class_weights(
                self.options.class_weights, counts, self.options.effective_beta
            )
        if self.options.loss == "focal":
            args["gamma"] = self.options.focal_gamma
        return LogitsCriterion(PIXEL_LOSSES[self.options.loss](**args), "mask")

    def class_names(self) -> Sequence[str]:
        return self.labels.names

    def with_new_classes(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Old classes keep their colours; a new one gets its colour in the mask table or, if that
        is taken, an unused one."""
        extended = grown_classes(self.labels, schema)
        table, names = MaskTable.of_schema(schema), extended["classes"]
        table_colours = dict(zip(table.names, table.colours, strict=True))
        colours = [tuple(colour) for colour in self.colours]
        for name in names[len(colours) :]:
            candidates = (table_colours[name], *usual_colours(2 * len(names)))
            colours.append(next(colour for colour in candidates if colour not in colours))
        return {**extended, "colours": [list(colour) for colour in colours]}

    def opener(self, manifest: Manifest) -> Callable[[Any], Any]:
        table = MaskTable.of_schema(manifest.schema)
        unknown = [name for name in table.names if name not in self.labels]
        if unknown:
            events.warn(
                f"The model has no class {', '.join(unknown)}: these pixels of the masks are not "
                "scored."
            )
        codes = np.full(256, IGNORE, np.uint8)
        for code, name in enumerate(table.names):
            codes[code] = self.labels.code(name) if name in self.labels else IGNORE
        return Opener(manifest.root, table, codes)

    def target(self, value: Any, meta: Meta | None = None) -> dict[str, Tensor]:
        import torch
        from torchvision import tv_tensors

        if not self._is_mask(value):
            raise DataError(f"{shown(value)} is not a mask of {', '.join(self.labels.names[:8])}.")
        mask = on_record(value, meta)
        return {"mask": tv_tensors.Mask(torch.from_numpy(mask.astype(np.int64)))}

    def knows(self, value: Any) -> bool:
        is_path = isinstance(value, Mapping) and isinstance(value.get("mask"), str)
        return is_path or self._is_mask(value)

    def _is_mask(self, value: Any) -> bool:
        if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim != 2:
            return False
        return not bool(((value >= len(self.labels)) & (value != IGNORE)).any())

    def statistics(self, manifest: Manifest) -> Mapping[str, Any]:
        """{"counts": [K]}: pixels per class; only if class weights need them, because every mask is
        read."""
        if self.options.class_weights == "none":
            return {}
        counts = np.zeros(256, np.int64)
        load = self.opener(manifest)
        for target in events.track(
            manifest.column("target"), "counting pixels", total=len(manifest), unit="masks"
        ):
            try:
                counts += np.bincount(load(target).ravel(), minlength=256)
            except DataError:
                continue  # the loader drops it and reports it
        return {"counts": [int(count) for count in counts[: len(self.labels)]]}

    def count_classes(self, target: np.ndarray) -> dict[str, int]:
        """Labelled pixels per class in a loaded target."""
        counts = np.bincount(target.ravel(), minlength=256)
        return {name: int(counts[code]) for code, name in enumerate(self.labels.names)}

    # -- predictions -------------------------------------------------------------------------------

    def predict(self, outputs: Outputs, metas: Sequence[Meta], post: Post) -> list[Prediction]:
        logits = finite_logits(outputs, metas, len(self.labels), rank=4)
        temperature = temperature_of(post)
        options = post.get("crf")
        if options:
            scaled = logits / np.float32(temperature)
            logits = np.stack(
                [
                    refined(scores, picture, meta, options)
                    for scores, picture, meta in zip(scaled, outputs["image"], metas, strict=True)
                ]
            )
            temperature = 1.0
        return [self._predict_one(logits[row], meta, temperature) for row, meta in enumerate(metas)]

    def required_inputs(self, post: Post) -> frozenset[str]:
        return frozenset({"image"}) if post.get("crf") else frozenset()

    def optional_postprocessors(self) -> Mapping[str, Post]:
        return {"crf": {"crf": asdict(CrfOptions())}} if self.options.crf == "auto" else {}

    def _predict_one(self, logits: np.ndarray, meta: Meta, temperature: float) -> Prediction:
        prediction = answered(logits, meta, temperature, self.labels.names)
        rows, columns = seen_part(meta)
        pixels = sampled(meta, logits[:, rows, columns], temperature)
        return Prediction(meta, prediction.fields, {"mask": prediction.mask, **pixels})

    def evidence(
        self, outputs: Outputs, metas: Sequence[Meta], targets: Sequence[Any]
    ) -> tuple[Outputs, Sequence[Any]]:
        """EVIDENCE labelled pixels per image: logits (N, K, 1, P), masks (1, P)."""
        scores, truths = [], []
        for logits, meta, target in zip(outputs["logits"], metas, targets, strict=True):
            truth = on_record(target, meta).ravel()
            labelled = np.flatnonzero(truth != IGNORE)
            rng = np.random.default_rng([meta.id, len(labelled)])
            pixels = np.zeros(EVIDENCE, np.int64)
            if len(labelled):
                pixels = rng.choice(labelled, EVIDENCE)
            scores.append(logits.reshape(len(logits), -1)[:, pixels][:, None])
            truths.append(truth[pixels][None])
        return {"logits": np.stack(scores)} if scores else {}, truths

    def calibrate(self, outputs: Outputs, targets: Sequence[Any]) -> Post:
        """{"temperature": T} (Guo et al. 2017) over pixels, and {"crf": {...}} with crf="on"."""
        crf = {"crf": asdict(CrfOptions())} if self.options.crf == "on" else {}
        if not len(targets):
            return {"temperature": 1.0, **crf}
        logits = np.moveaxis(outputs["logits"], 1, -1).reshape(-1, len(self.labels))
        codes = np.stack(list(targets)).reshape(-1).astype(np.int64)
        counted = codes != IGNORE
        return {"temperature": fit_temperature(logits[counted], codes[counted]), **crf}

    def score(self, prediction: Prediction, target: Any) -> Record:
        answer, meta = prediction.scores["mask"], prediction.meta
        if answer.shape != target.shape:
            raise DataError(sizes_differ(target, meta) if meta.size else "masks differ in size")
        matrix = figures.confusion(target, answer, len(self.labels))
        pixels = int(matrix.sum())
        cells, counts = figures.sparse(matrix)
        edges = figures.boundary_f1(target, answer, len(self.labels))
        iou = figures.mean_of_present(figures.intersection_over_union(matrix))
        scores = prediction.scores
        truth = on_record(target, meta)[seen_part(meta)].ravel()[scores["places"]]
        return {
            "id": meta.id,
            "name": meta.name,
            "cells": cells,
            "counts": counts,
            "boundary": [[code, value] for code, value in edges.items()],
            "pixels": pixels,
            "correct": float(np.diagonal(matrix).sum() / pixels) if pixels else 1.0,
            "loss": 1 - iou if pixels else 0.0,
            **confidence(scores["probability"], truth),
        }

    def difference(self, reference: Outputs, outputs: Outputs, post: Post) -> Difference:
        before, after = reference["logits"], outputs["logits"]
        n = len(before)
        if before.shape != after.shape:
            return unlike(n)
        temperature = temperature_of(post)
        p_before, p_after = (pixel_probabilities(logits, temperature) for logits in (before, after))
        not_finite = ~np.isfinite(after).all(axis=1).reshape(n, -1)
        changed = (p_before.argmax(axis=2) != p_after.argmax(axis=2)) | not_finite  # (N, H * W)
        top = np.partition(p_before, -2, axis=2)[..., -2:]
        clear = changed & ((np.ptp(top, axis=2) > 2 * TIE) | not_finite)
        flipped = (clear.mean(axis=1) > FLIPPED) | not_finite.any(axis=1)
        return Difference(
            probability_difference(p_before, p_after),
            raw_difference(before.reshape(n, -1), after.reshape(n, -1)),
            int(flipped.sum()),
            int((changed.any(axis=1) & ~flipped).sum()),
            n,
            share=float(clear.mean()) if clear.size else 0.0,
            typical=typical_difference(before, after),
        )

    # -- metrics -----------------------------------------------------------------------------------

    def metrics(self) -> tuple[Metric, ...]:
        return (
            Metric("miou", "mean IoU", "bootstrap"),
            Metric("pixel_accuracy", "pixel accuracy", "bootstrap"),
            Metric("boundary_f1", "boundary F1", "bootstrap"),
            Metric("ece", "calibration error (ECE)", "calibration", higher_is_better=False),
            Metric("nll", "negative log-likelihood", "bootstrap", higher_is_better=False),
            Metric("brier", "Brier score", "bootstrap", higher_is_better=False),
            *(Metric(f"iou:{name}", f"IoU of {name}", "bootstrap") for name in self.labels.names),
        )

    def compute(self, records: Sequence[Record]) -> dict[str, float]:
        table = Table.of(records)
        matrix = self.confusion(table)
        iou = figures.intersection_over_union(matrix)
        total = matrix.sum()
        values = {
            "miou": figures.mean_of_present(iou),
            "pixel_accuracy": float(np.trace(matrix) / total) if total else float("nan"),
            "boundary_f1": figures.mean_of_present(self.boundaries(table)),
            "ece": reliability_of(table).ece(),
            "nll": mean_of(table, "nll"),
            "brier": mean_of(table, "brier"),
        }
        per_class = {f"iou:{name}": float(iou[code]) for code, name in enumerate(self.labels.names)}
        return values | per_class

    def calibration_terms(self, records: Sequence[Record]) -> np.ndarray:
        return terms_of(Table.of(records))

    def confusion(self, table: Table) -> np.ndarray:
        """(K, K) pixels over all images."""
        cells, counts, owner = table.cached(
            "confusion",
            lambda: figures.flattened([(row["cells"], row["counts"]) for row in table.rows]),
        )
        size = len(self.labels)
        weights = counts * table.weight[owner]
        return np.bincount(cells, weights=weights, minlength=size * size).reshape(size, size)

    def boundaries(self, table: Table) -> np.ndarray:
        """(K,) BF score per class, the mean over images that have it; NaN for an absent class."""
        codes, values, owner = table.cached(
            "boundary",
            lambda: figures.flattened(
                [
                    ([c for c, _ in row["boundary"]], [v for _, v in row["boundary"]])
                    for row in table.rows
                ]
            ),
        )
        weight = table.weight[owner]
        size = len(self.labels)
        total = np.bincount(codes, weights=weight, minlength=size)
        score = np.bincount(codes, weights=weight * values, minlength=size)
        return np.asarray(np.divide(score, total, out=np.full(size, np.nan), where=total > 0))

    def sections(self, records: Sequence[Record], post: Post) -> list[Mapping[str, Any]]:
        table = Table.of(records)
        return mask_sections(
            self.labels.names,
            self.colours,
            self.confusion(table),
            self.boundaries(table),
            table,
            post,
        )

    # -- drawing -----------------------------------------------------------------------------------

    def draw_prediction(
        self, picture: np.ndarray, prediction: Prediction, target: Any | None = None
    ) -> np.ndarray:
        """The record's picture (H, W, C), the same with the target (if known), and with the
        prediction, in a row: uint8 (H, W, 3)."""
        rows, columns = seen_part(prediction.meta)
        visible = picture[rows, columns]
        plain = np.repeat(visible, 3, axis=2) if visible.shape[2] == 1 else visible
        masks = [target] if target is not None else []
        masks.append(prediction.scores["mask"])
        tinted = [
            overlay(visible, on_record(mask, prediction.meta)[rows, columns], self.colours)
            for mask in masks
        ]
        return beside([plain, *tinted])

    def draw_targets(self, picture: np.ndarray, y: Mapping[str, Any]) -> np.ndarray:
        """A training sample's mask over its picture (H, W, C)."""
        return overlay(picture, np.asarray(y["mask"]).astype(np.uint8), self.colours)

    def render_files(
        self, picture: np.ndarray, prediction: Prediction
    ) -> dict[str, tuple[str, bytes]]:
        """The mask as a PNG and an overlay as a JPEG."""
        rows, columns = seen_part(prediction.meta)
        mask = prediction.scores["mask"]
        tinted = overlay(
            picture[rows, columns], on_record(mask, prediction.meta)[rows, columns], self.colours
        )
        values = written_values(self.labels.names, self.table.to_json())
        return {
            "mask": (".png", index_png(mask, values, self.colours)),
            "overlay": ("-overlay.jpg", jpeg(tinted)),
        }

    def decoding_layer(self) -> nn.Module:
        """{"logits": (N, K, H, W)} -> {"mask": uint8 (N, H, W)}: the argmax of each pixel."""
        from skipstone.tasks.mask_layer import LikeliestClass

        return LikeliestClass()
