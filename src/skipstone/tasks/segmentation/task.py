"""Semantic segmentation: one class per pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skipstone.bundle.architecture import ComponentConfig
from skipstone.core import events
from skipstone.core.errors import DataError
from skipstone.data.mask_files import IGNORE_INDEX, MaskTable, default_palette, format_colour
from skipstone.data.samples import SampleMeta
from skipstone.tasks.base import (
    Difference,
    ErrorSummary,
    Metric,
    Outputs,
    Post,
    Prediction,
    Record,
    RecordTable,
    TaskDefaults,
)
from skipstone.tasks.labels import (
    TIE_MARGIN,
    ClassLabels,
    compute_class_weights,
    extend_class_schema,
    max_absolute_difference,
    max_relative_difference,
    mismatched_shapes,
    read_temperature,
    require_class_counts,
    require_finite_logits,
    summarize_confusion,
)
from skipstone.tasks.options import SegmentOptions
from skipstone.tasks.segmentation import metrics as figures
from skipstone.tasks.segmentation.crf import CrfOptions
from skipstone.tasks.segmentation.mask_maps import (
    MaskLoader,
    describe_value,
    encode_jpeg,
    hstack_images,
    overlay_mask,
    pixel_probabilities,
    refine_logits,
    resize_to_record,
    size_mismatch_message,
    typical_relative_difference,
)
from skipstone.tasks.segmentation.metrics import (
    mean_over_images,
    pixel_calibration_terms,
    pixel_reliability,
    sample_pixels,
    summarize_confidence,
)
from skipstone.tasks.segmentation.report import mask_sections
from skipstone.tasks.segmentation.standalone import (
    encode_index_png,
    mask_values,
    predict_mask,
    valid_region,
)
from skipstone.tasks.temperature import fit_temperature

if TYPE_CHECKING:
    from torch import Tensor, nn

    from skipstone.data.manifest import Manifest
    from skipstone.models.losses import Criterion

#: Pixels per image that calibration uses, and images at most.
CALIBRATION_PIXELS, CALIBRATION_IMAGES = 2048, 500
#: A prediction counts as changed when more than this share of its pixels changed.
FLIP_SHARE = 0.01


class SegmentationTask(TaskDefaults):
    """One of K classes per pixel.

    Manifest targets are {"mask": path}; loaded ones uint8 (H, W) of class indices, or IGNORE.
    Outputs {"logits": (N, K, H, W)} on the record; y {"mask": int64 (H, W)}, IGNORE for pixels
    that are not scored. `Meta` has the geometry of the record; predictions are masks in the size of
    the source.

    A record: cells and counts (the image's confusion matrix, sparse: target * K + prediction),
    boundary (pairs of class index and BF score), pixels (scored), correct (share of them),
    loss (1 - mean IoU of the image), bins, nll and brier (see `summarize_confidence`), and
    id and name of the sample.

    Args:
        schema: {"classes": [...]}; also "colours", "masks" (see data/mask_files.py), and "counts" of
            pixels for class weights.
    """

    name = "segment"
    spatial_targets = frozenset({"mask"})
    count_unit = "pixels"
    headline = "miou"
    activation = "softmax"
    max_calibration_rows = CALIBRATION_IMAGES

    def __init__(self, options: SegmentOptions, schema: Mapping[str, Any]) -> None:
        self.options = options
        self.schema = dict(schema)
        self.labels = ClassLabels(schema, min_classes=2)
        self.table = MaskTable.from_schema(schema)
        colours = schema.get("colours") or [list(colour) for colour in self.table.colours]
        if len(colours) != len(self.labels):
            colours = [list(colour) for colour in default_palette(len(self.labels))]
        self.colours = colours

    # -- training ----------------------------------------------------------------------------------

    def default_head(self) -> ComponentConfig:
        return ComponentConfig("lraspp", {"options": {}, "shape": {"classes": len(self.labels)}})

    def criterion(self) -> Criterion:
        from skipstone.models.losses import PIXEL_LOSSES, LogitsCriterion

        args: dict[str, Any] = {"ignore_index": IGNORE_INDEX}
        if self.options.class_weights != "none":
            counts = require_class_counts(self.schema, len(self.labels))
            args["class_weights"] = compute_class_weights(
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
        extended = extend_class_schema(self.labels, schema)
        table, names = MaskTable.from_schema(schema), extended["classes"]
        table_colours = dict(zip(table.names, table.colours, strict=True))
        colours = [tuple(colour) for colour in self.colours]
        for name in names[len(colours) :]:
            candidates = (table_colours[name], *default_palette(2 * len(names)))
            colours.append(next(colour for colour in candidates if colour not in colours))
        return {**extended, "colours": [list(colour) for colour in colours]}

    def target_loader(self, manifest: Manifest) -> Callable[[Any], Any]:
        table = MaskTable.from_schema(manifest.schema)
        unknown = [name for name in table.names if name not in self.labels]
        if unknown:
            events.emit_warning(
                f"The model has no class {', '.join(unknown)}: these pixels of the masks are not "
                "scored."
            )
        self._reject_other_palette(table, manifest.root)
        codes = np.full(256, IGNORE_INDEX, np.uint8)
        for code, name in enumerate(table.names):
            codes[code] = self.labels.index_of(name) if name in self.labels else IGNORE_INDEX
        return MaskLoader(manifest.root, table, codes)

    def _reject_other_palette(self, table: MaskTable, root: Path) -> None:
        """DataError if classes named after indices have other colours than in the model's data."""
        own_colours = {row.name: row.colour for row in self.table.rows}
        for row in table.rows:
            colour = own_colours.get(row.name)
            if row.name != str(row.value) or colour is None or row.colour in (None, colour):
                continue
            raise DataError(
                f"{root}: index {row.value} is {format_colour(row.colour or 0)} in these masks and "
                f"{format_colour(colour)} in those of the model, so the indices are not the same "
                "classes.",
                hint=f"Name the classes of the model in {root / 'classes.csv'}, with their colours "
                "in these masks: name,r,g,b",
            )

    def encode_target(self, value: Any, meta: SampleMeta | None = None) -> dict[str, Tensor]:
        import torch
        from torchvision import tv_tensors

        if not self._is_mask(value):
            raise DataError(
                f"{describe_value(value)} is not a mask of {', '.join(self.labels.names[:8])}."
            )
        mask = resize_to_record(value, meta)
        return {"mask": tv_tensors.Mask(torch.from_numpy(mask.astype(np.int64)))}

    def accepts_target(self, value: Any) -> bool:
        is_path = isinstance(value, Mapping) and isinstance(value.get("mask"), str)
        return is_path or self._is_mask(value)

    def _is_mask(self, value: Any) -> bool:
        if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim != 2:
            return False
        return not bool(((value >= len(self.labels)) & (value != IGNORE_INDEX)).any())

    def label_statistics(self, manifest: Manifest) -> Mapping[str, Any]:
        """{"counts": [K]}: pixels per class; only if class weights need them, because every mask is
        read."""
        if self.options.class_weights == "none":
            return {}
        counts = np.zeros(256, np.int64)
        load = self.target_loader(manifest)
        for target in events.track_progress(
            manifest.column_values("target"), "counting pixels", total=len(manifest), unit="masks"
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

    def predict(
        self, outputs: Outputs, metas: Sequence[SampleMeta], post: Post
    ) -> list[Prediction]:
        logits = require_finite_logits(outputs, metas, len(self.labels), rank=4)
        temperature = read_temperature(post)
        options = post.get("crf")
        if options:
            scaled = logits / np.float32(temperature)
            logits = np.stack(
                [
                    refine_logits(scores, picture, meta, options)
                    for scores, picture, meta in zip(scaled, outputs["image"], metas, strict=True)
                ]
            )
            temperature = 1.0
        return [self._predict_one(logits[row], meta, temperature) for row, meta in enumerate(metas)]

    def required_inputs(self, post: Post) -> frozenset[str]:
        return frozenset({"image"}) if post.get("crf") else frozenset()

    def optional_postprocessors(self) -> Mapping[str, Post]:
        return {"crf": {"crf": asdict(CrfOptions())}} if self.options.crf == "auto" else {}

    def _predict_one(self, logits: np.ndarray, meta: SampleMeta, temperature: float) -> Prediction:
        prediction = predict_mask(logits, meta, temperature, self.labels.names)
        rows, columns = valid_region(meta)
        pixels = sample_pixels(meta, logits[:, rows, columns], temperature)
        return Prediction(meta, prediction.fields, {"mask": prediction.mask, **pixels})

    def calibration_sample(
        self, outputs: Outputs, metas: Sequence[SampleMeta], targets: Sequence[Any]
    ) -> tuple[Outputs, Sequence[Any]]:
        """EVIDENCE labelled pixels per image: logits (N, K, 1, P), masks (1, P)."""
        scores, truths = [], []
        for logits, meta, target in zip(outputs["logits"], metas, targets, strict=True):
            truth = resize_to_record(target, meta).ravel()
            labelled = np.flatnonzero(truth != IGNORE_INDEX)
            rng = np.random.default_rng([meta.id, len(labelled)])
            pixels = np.zeros(CALIBRATION_PIXELS, np.int64)
            if len(labelled):
                pixels = rng.choice(labelled, CALIBRATION_PIXELS)
            scores.append(logits.reshape(len(logits), -1)[:, pixels][:, None])
            truths.append(truth[pixels][None])
        return {"logits": np.stack(scores)} if scores else {}, truths

    def fit_postprocessing(self, outputs: Outputs, targets: Sequence[Any]) -> Post:
        """{"temperature": T} (Guo et al. 2017) over pixels, and {"crf": {...}} with crf="on"."""
        crf = {"crf": asdict(CrfOptions())} if self.options.crf == "on" else {}
        if not len(targets):
            return {"temperature": 1.0, **crf}
        logits = np.moveaxis(outputs["logits"], 1, -1).reshape(-1, len(self.labels))
        codes = np.stack(list(targets)).reshape(-1).astype(np.int64)
        counted = codes != IGNORE_INDEX
        return {"temperature": fit_temperature(logits[counted], codes[counted]), **crf}

    def score_prediction(self, prediction: Prediction, target: Any) -> Record:
        answer, meta = prediction.scores["mask"], prediction.meta
        if answer.shape != target.shape:
            raise DataError(
                size_mismatch_message(target, meta) if meta.size else "masks differ in size"
            )
        matrix = figures.pixel_confusion(target, answer, len(self.labels))
        pixels = int(matrix.sum())
        cells, counts = figures.to_sparse(matrix)
        edges = figures.boundary_f1(target, answer, len(self.labels))
        iou = figures.mean_without_nan(figures.intersection_over_union(matrix))
        scores = prediction.scores
        truth = resize_to_record(target, meta)[valid_region(meta)].ravel()[scores["places"]]
        return {
            "id": meta.id,
            "name": meta.name,
            "cells": cells,
            "counts": counts,
            "boundary": [[code, value] for code, value in edges.items()],
            "pixels": pixels,
            "correct": float(np.diagonal(matrix).sum() / pixels) if pixels else 1.0,
            "loss": 1 - iou if pixels else 0.0,
            **summarize_confidence(scores["probability"], truth),
        }

    def compare_outputs(self, reference: Outputs, outputs: Outputs, post: Post) -> Difference:
        before, after = reference["logits"], outputs["logits"]
        n = len(before)
        if before.shape != after.shape:
            return mismatched_shapes(n)
        temperature = read_temperature(post)
        p_before, p_after = (pixel_probabilities(logits, temperature) for logits in (before, after))
        not_finite = ~np.isfinite(after).all(axis=1).reshape(n, -1)
        changed = (p_before.argmax(axis=2) != p_after.argmax(axis=2)) | not_finite  # (N, H * W)
        top = np.partition(p_before, -2, axis=2)[..., -2:]
        clear = changed & ((np.ptp(top, axis=2) > 2 * TIE_MARGIN) | not_finite)
        flipped = (clear.mean(axis=1) > FLIP_SHARE) | not_finite.any(axis=1)
        return Difference(
            max_absolute_difference(p_before, p_after),
            max_relative_difference(before.reshape(n, -1), after.reshape(n, -1)),
            int(flipped.sum()),
            int((changed.any(axis=1) & ~flipped).sum()),
            n,
            share=float(clear.mean()) if clear.size else 0.0,
            typical=typical_relative_difference(before, after),
        )

    # -- metrics -----------------------------------------------------------------------------------

    def list_metrics(self) -> tuple[Metric, ...]:
        return (
            Metric("miou", "mean IoU", "bootstrap"),
            Metric("pixel_accuracy", "pixel accuracy", "bootstrap"),
            Metric("boundary_f1", "boundary F1", "bootstrap"),
            Metric("ece", "calibration error (ECE)", "calibration", higher_is_better=False),
            Metric("nll", "negative log-likelihood", "bootstrap", higher_is_better=False),
            Metric("brier", "Brier score", "bootstrap", higher_is_better=False),
            *(Metric(f"iou:{name}", f"IoU of {name}", "bootstrap") for name in self.labels.names),
        )

    def compute_metrics(self, records: Sequence[Record]) -> dict[str, float]:
        table = RecordTable.from_records(records)
        matrix = self.sum_confusion(table)
        iou = figures.intersection_over_union(matrix)
        total = matrix.sum()
        values = {
            "miou": figures.mean_without_nan(iou),
            "pixel_accuracy": float(np.trace(matrix) / total) if total else float("nan"),
            "boundary_f1": figures.mean_without_nan(self.mean_boundary_f1(table)),
            "ece": pixel_reliability(table).expected_calibration_error(),
            "nll": mean_over_images(table, "nll"),
            "brier": mean_over_images(table, "brier"),
        }
        per_class = {f"iou:{name}": float(iou[code]) for code, name in enumerate(self.labels.names)}
        return values | per_class

    def calibration_terms(self, records: Sequence[Record]) -> np.ndarray:
        return pixel_calibration_terms(RecordTable.from_records(records))

    def sum_confusion(self, table: RecordTable) -> np.ndarray:
        """(K, K) pixels over all images."""
        cells, counts, owner = table.get_cached(
            "confusion",
            lambda: figures.flatten_sparse([(row["cells"], row["counts"]) for row in table.rows]),
        )
        size = len(self.labels)
        weights = counts * table.weight[owner]
        return np.bincount(cells, weights=weights, minlength=size * size).reshape(size, size)

    def mean_boundary_f1(self, table: RecordTable) -> np.ndarray:
        """(K,) BF score per class, the mean over images that have it; NaN for an absent class."""
        codes, values, owner = table.get_cached(
            "boundary",
            lambda: figures.flatten_sparse(
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

    def summarize_errors(self, records: Sequence[Record]) -> ErrorSummary | None:
        matrix = self.sum_confusion(RecordTable.from_records(records))
        matrix = matrix / max(matrix.sum(), 1)
        support = matrix.sum(axis=1)
        largest = int(support.argmax())
        return summarize_confusion(
            self.labels.names,
            matrix,
            support,
            metric="pixel_accuracy",
            error="get a wrong class",
            unit="pixels",
            majority=float(support[largest] / max((support > 0).sum(), 1)),
            majority_title=f"always “{self.labels.names[largest]}”",
        )

    def report_sections(self, records: Sequence[Record], post: Post) -> list[Mapping[str, Any]]:
        table = RecordTable.from_records(records)
        return mask_sections(
            self.labels.names,
            self.colours,
            self.sum_confusion(table),
            self.mean_boundary_f1(table),
            table,
            post,
        )

    # -- drawing -----------------------------------------------------------------------------------

    def draw_prediction(
        self, picture: np.ndarray, prediction: Prediction, target: Any | None = None
    ) -> np.ndarray:
        """The record's picture (H, W, C), the same with the target (if known), and with the
        prediction, in a row: uint8 (H, W, 3)."""
        rows, columns = valid_region(prediction.meta)
        visible = picture[rows, columns]
        plain = np.repeat(visible, 3, axis=2) if visible.shape[2] == 1 else visible
        masks = [target] if target is not None else []
        masks.append(prediction.scores["mask"])
        tinted = [
            overlay_mask(
                visible, resize_to_record(mask, prediction.meta)[rows, columns], self.colours
            )
            for mask in masks
        ]
        return hstack_images([plain, *tinted])

    def draw_targets(self, picture: np.ndarray, y: Mapping[str, Any]) -> np.ndarray:
        """A training sample's mask over its picture (H, W, C)."""
        return overlay_mask(picture, np.asarray(y["mask"]).astype(np.uint8), self.colours)

    def render_files(
        self, picture: np.ndarray, prediction: Prediction
    ) -> dict[str, tuple[str, bytes]]:
        """The mask as a PNG and an overlay as a JPEG."""
        rows, columns = valid_region(prediction.meta)
        mask = prediction.scores["mask"]
        tinted = overlay_mask(
            picture[rows, columns],
            resize_to_record(mask, prediction.meta)[rows, columns],
            self.colours,
        )
        values = mask_values(self.labels.names, self.table.to_json())
        return {
            "mask": (".png", encode_index_png(mask, values, self.colours)),
            "overlay": ("-overlay.jpg", encode_jpeg(tinted)),
        }

    def decoding_layer(self) -> nn.Module:
        """{"logits": (N, K, H, W)} -> {"mask": uint8 (N, H, W)}: the argmax of each pixel."""
        from skipstone.models.heads.dense import ArgmaxMaskLayer

        return ArgmaxMaskLayer()
