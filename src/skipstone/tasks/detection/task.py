"""Object detection: boxes around objects of known classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from skipstone.bundle.architecture import ComponentConfig
from skipstone.core import events
from skipstone.core.errors import DamagedError, DataError, SkipstoneError
from skipstone.data.mask_files import default_palette
from skipstone.data.samples import SampleMeta
from skipstone.tasks.base import (
    TYPICAL_QUANTILE,
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
from skipstone.tasks.detection import metrics as figures
from skipstone.tasks.detection.boxes import (
    DEFAULT_THRESHOLD,
    NMS_CANDIDATES,
    SCORE_FLOOR,
    Detections,
    calibrate_scores,
    describe_boxes,
    detect_boxes,
)
from skipstone.tasks.detection.drawing import draw_boxes, resize_like_source
from skipstone.tasks.detection.label_files import (
    render_coco,
    render_csv,
    render_voc,
    render_yolo,
)
from skipstone.tasks.detection.report import box_sections, sum_confusion
from skipstone.tasks.detection.spec import DetectOptions
from skipstone.tasks.detection.tile_merging import merge_tile_boxes
from skipstone.tasks.labels import (
    TIE_MARGIN,
    ClassLabels,
    extend_class_schema,
    max_absolute_difference,
    mismatched_shapes,
    summarize_confusion,
)
from skipstone.tasks.segmentation.mask_maps import encode_jpeg, hstack_images

if TYPE_CHECKING:
    from torch import Tensor


#: Photos that calibration uses at most.
CALIBRATION_PHOTOS = 500
#: Raw outputs are compared relative to this side, so that 1e-4 of it is 0.02 pixels.
PIXEL_SCALE = 200.0
#: A box is unchanged if its overlap with the reference's is at least this.
SAME_BOX = 0.7
#: In low precision a box is lost if its probability falls below the threshold by more than this.
CLEAR_MARGIN = 0.1


class DetectionTask(TaskDefaults):
    """Boxes (x1, y1, x2, y2) of K classes.

    A manifest target is a list of {"label", "box", "crowd", "difficult"}, in pixels of the upright
    photo. Outputs {"boxes": (N, A, 4) in pixels of the record, "scores": (N, A, K) in 0..1}; y
    {"boxes": (n, 4) in pixels of the record, "labels": (n,), "ignored": (n,) bool}, ragged.

    A record holds what `metrics.match_boxes` and `metrics.pair_boxes` return, and correct: the F1
    of the boxes at or above the threshold, loss: 1 - the sum of their IoU over all objects and
    wrong boxes, and id and name of the sample.
    """

    name = "detect"
    headline = "map50"
    tie_breaks = ("map",)
    ragged = frozenset({"boxes", "labels", "ignored"})
    spatial_targets = frozenset({"boxes"})
    count_unit = "boxes"
    document_suffixes = (".csv", ".json")
    max_calibration_rows = CALIBRATION_PHOTOS

    def __init__(self, options: DetectOptions, schema: Mapping[str, Any]) -> None:
        self.options = options
        self.schema = dict(schema)
        self.labels = ClassLabels(schema, min_classes=1)
        self.colours = default_palette(len(self.labels) + 1)[1:]

    # -- training ----------------------------------------------------------------------------------

    def default_head(self) -> ComponentConfig:
        return ComponentConfig("pyramid", {"options": {}, "shape": {"classes": len(self.labels)}})

    def class_names(self) -> Sequence[str]:
        return self.labels.names

    def with_new_classes(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        return extend_class_schema(self.labels, schema)

    def encode_target(self, value: Any, meta: SampleMeta | None = None) -> dict[str, Tensor]:
        import torch
        from torchvision import tv_tensors

        if not self.accepts_target(value):
            raise DataError(f"{value!r:.80} is not a list of boxes of {self._classes_text()}.")
        truths = self._read_truths(value, meta)
        size = (1 << 14, 1 << 14) if meta is None or not meta.shape else meta.shape
        boxes = tv_tensors.BoundingBoxes(
            torch.from_numpy(truths.boxes.astype(np.float32)),
            format=tv_tensors.BoundingBoxFormat.XYXY,
            canvas_size=size,
        )
        return {
            "boxes": boxes,
            "labels": torch.from_numpy(truths.codes),
            "ignored": torch.from_numpy(truths.ignored),
        }

    def accepts_target(self, value: Any) -> bool:
        return isinstance(value, list) and all(
            isinstance(item, Mapping) and item.get("label") in self.labels for item in value
        )

    def count_classes(self, target: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """Boxes per class in a target."""
        counts = Counter(item["label"] for item in target)
        return {name: counts[name] for name in self.labels.names}

    def _classes_text(self) -> str:
        return ", ".join(self.labels.names[:8])

    def _read_truths(
        self, target: Sequence[Mapping[str, Any]], meta: SampleMeta | None = None
    ) -> figures.Truths:
        """A target as arrays; with `meta`, in pixels of the record."""
        boxes = np.array([item["box"] for item in target], np.float64).reshape(-1, 4)
        if meta is not None and meta.to_source is not None:
            a, _, c, _, e, f = meta.to_source
            boxes = (boxes - (c, f, c, f)) / (a, e, a, e)
        crowd = np.array([bool(item.get("crowd")) for item in target], bool)
        difficult = np.array([bool(item.get("difficult")) for item in target], bool)
        codes = np.array([self.labels.index_of(item["label"]) for item in target], np.int64)
        return figures.Truths(boxes, codes, crowd, crowd | difficult)

    # -- predictions -------------------------------------------------------------------------------

    def predict(
        self, outputs: Outputs, metas: Sequence[SampleMeta], post: Post
    ) -> list[Prediction]:
        self._require_boxes(outputs, metas)
        _check_post(post)
        options = asdict(self.options)
        predictions = []
        for boxes, scores, meta in zip(outputs["boxes"], outputs["scores"], metas, strict=True):
            geometry = {"size": meta.size, "to_source": meta.to_source}
            detections = detect_boxes(boxes, scores, options, post, geometry)
            predicted = _above(detections, post.get("threshold", DEFAULT_THRESHOLD))
            fields = describe_boxes(predicted, self.labels.names, meta.size)
            predictions.append(Prediction(meta, fields, detections._asdict()))
        return predictions

    def merge_tiles(
        self,
        whole: Prediction,
        tiles: Sequence[Prediction],
        windows: Sequence[tuple[int, int, int, int]],
        post: Post,
    ) -> Prediction:
        height, width = whole.meta.size
        parts = [Detections(**prediction.scores) for prediction in (whole, *tiles)]
        places = [(0, 0, width, height), *windows]
        merged = merge_tile_boxes(parts, places, (height, width), self.options.nms_iou)
        predicted = _above(merged, post.get("threshold", DEFAULT_THRESHOLD))
        fields = describe_boxes(predicted, self.labels.names, whole.meta.size)
        return Prediction(whole.meta, fields, merged._asdict())

    def _require_boxes(self, outputs: Outputs, metas: Sequence[SampleMeta]) -> None:
        boxes, scores = (np.asarray(outputs.get(name)) for name in ("boxes", "scores"))
        if boxes.shape != (len(metas), *scores.shape[1:2], 4) or scores.shape[2:] != (
            len(self.labels),
        ):
            raise DamagedError(
                f"the network returns boxes of shape {boxes.shape} and scores of shape "
                f"{scores.shape} for {len(metas)} samples and {len(self.labels)} classes: network "
                "and task do not match."
            )
        for row, meta in enumerate(metas):
            if not (np.isfinite(boxes[row]).all() and np.isfinite(scores[row]).all()):
                raise SkipstoneError(
                    f"the network's boxes for {meta.name or f'sample {meta.id}'} are not finite.",
                    hint="Its weights have diverged: train with a lower learning rate.",
                )

    def calibration_sample(
        self, outputs: Outputs, metas: Sequence[SampleMeta], targets: Sequence[Any]
    ) -> tuple[Outputs, Sequence[Any]]:
        """The anchors with the highest scores, and targets in pixels of the record."""
        count = min(NMS_CANDIDATES, outputs["scores"].shape[1])
        order = np.argsort(-outputs["scores"].max(axis=2), axis=1, kind="stable")[:, :count, None]
        sampled = {name: np.take_along_axis(value, order, 1) for name, value in outputs.items()}
        moved = []
        for target, meta in zip(targets, metas, strict=True):
            boxes = self._read_truths(target, meta).boxes.tolist()
            moved.append([{**item, "box": box} for item, box in zip(target, boxes, strict=True)])
        return sampled, moved

    def fit_postprocessing(self, outputs: Outputs, targets: Sequence[Any]) -> Post:
        """{"scale", "shift"} (Platt 1999) of the scores, and the threshold: with the greatest F1, or
        for a share of the objects (`find`)."""
        metas = [SampleMeta(row) for row in range(len(targets))]
        scores: list[np.ndarray] = []
        hits: list[np.ndarray] = []
        truths: list[int] = []
        predictions = self.predict(outputs, metas, {}) if metas else []
        for prediction, target in zip(predictions, targets, strict=True):
            record = figures.match_boxes(
                Detections(**prediction.scores), self._read_truths(target), len(self.labels)
            )
            counted = ~np.array(record["ignored"][0], np.int64) & 1 > 0
            scores.append(np.array(record["score"], np.float64)[counted])
            hits.append((np.array(record["hits"][0], np.int64) & 1)[counted].astype(np.float64))
            truths.append(sum(record["truths"][0]))
        threshold = self._choose_threshold(scores, hits, truths)
        if threshold is None:
            return {"threshold": DEFAULT_THRESHOLD}
        scale, shift = figures.fit_score_calibration(np.concatenate(scores), np.concatenate(hits))
        post = {"scale": scale, "shift": shift}
        return {**post, "threshold": float(calibrate_scores(np.array([threshold]), post)[0])}

    def _choose_threshold(
        self, scores: list[np.ndarray], hits: list[np.ndarray], truths: list[int]
    ) -> float | None:
        """The threshold of uncalibrated scores; None without any hit."""
        if not scores or not any(map(np.any, hits)):
            return None
        share = self.options.find
        if share is None:
            all_scores, all_hits = np.concatenate(scores), np.concatenate(hits)
            return figures.choose_threshold(all_scores, all_hits, sum(truths))
        detections = [score[hit > 0] for score, hit in zip(scores, hits, strict=True)]
        threshold = figures.choose_threshold_for_recall(detections, truths, share)
        if threshold is None:
            events.emit_warning(
                f"--find {share:g} cannot be promised with {len(truths)} validation photos: all "
                "boxes are predicted. Add photos, train longer, or ask for less."
            )
            return SCORE_FLOOR
        return threshold

    def score_prediction(self, prediction: Prediction, target: Any) -> Record:
        truths = self._read_truths(target)
        detections = Detections(**prediction.scores)
        predicted = _above(detections, len(prediction.fields["label"]))
        nothing = len(self.labels)
        pairs = figures.pair_boxes(predicted, truths, nothing)
        right = [iou for truth, code, iou, _ in pairs if truth == code]
        objects = sum(truth != nothing for truth, *_ in pairs)
        answers = sum(code != nothing for _, code, *_ in pairs)
        return {
            "id": prediction.meta.id,
            "name": prediction.meta.name,
            **figures.match_boxes(detections, truths, len(self.labels)),
            "pairs": pairs,
            "correct": 2 * len(right) / (objects + answers) if pairs else 1.0,
            "loss": 1 - sum(right) / len(pairs) if pairs else 0.0,
        }

    def compare_outputs(self, reference: Outputs, outputs: Outputs, post: Post) -> Difference:
        n = len(reference["scores"])
        if any(reference[name].shape != outputs[name].shape for name in ("boxes", "scores")):
            return mismatched_shapes(n)
        p_before, p_after = (
            calibrate_scores(each["scores"], post) for each in (reference, outputs)
        )
        flips = near_ties = lost_boxes = boxes = 0
        for row in range(n):
            gap = max_absolute_difference(p_before[row], p_after[row])
            moved = max_absolute_difference(reference["boxes"][row], outputs["boxes"][row])
            is_tie = max(gap, moved / PIXEL_SCALE) <= TIE_MARGIN
            pair = [
                self._detect_both(each["boxes"][row], each["scores"][row], post)
                for each in (reference, outputs)
            ]
            is_changed = not _is_same(pair[0][0], pair[1][0])
            flips += is_changed and not is_tie
            near_ties += is_changed and is_tie
            boxes += sum(len(strict.codes) for strict, _ in pair)
            if not is_tie:
                lost_boxes += _count_lost(pair[0][0], pair[1][1])
                lost_boxes += _count_lost(pair[1][0], pair[0][1])
        shift = max_absolute_difference(
            reference["boxes"].astype(np.float64), outputs["boxes"].astype(np.float64)
        )
        return Difference(
            max_absolute_difference(p_before, p_after),
            shift / PIXEL_SCALE,
            flips,
            near_ties,
            n,
            share=lost_boxes / boxes if boxes else 0.0,
            typical=_typical_difference(reference, outputs),
        )

    def _detect_both(
        self, boxes: np.ndarray, scores: np.ndarray, post: Post
    ) -> tuple[Detections, Detections]:
        """The boxes of one photo at or above the threshold, and those that are not clearly below."""
        threshold = post.get("threshold", DEFAULT_THRESHOLD)
        options, floor = asdict(self.options), max(threshold - CLEAR_MARGIN, threshold / 2)
        loose = detect_boxes(boxes, scores, options, post, {}, floor)
        return _above(loose, threshold), loose

    # -- metrics -----------------------------------------------------------------------------------

    def list_metrics(self) -> tuple[Metric, ...]:
        return (
            Metric("map50", "mAP at IoU 0.5", "bootstrap"),
            Metric("map", "mAP at IoU 0.5 to 0.95", "bootstrap"),
            Metric("recall", "recall at the threshold", "bootstrap"),
            Metric("precision", "precision at the threshold", "bootstrap"),
            Metric("ece", "calibration error (ECE)", "calibration", higher_is_better=False),
            *(
                Metric(f"ap50:{name}", f"AP at IoU 0.5 of {name}", "bootstrap")
                for name in self.labels.names
            ),
            *(
                Metric(f"map:{size}", f"mAP of {size} objects", "bootstrap")
                for size in list(figures.SIZES)[1:]
            ),
        )

    def compute_metrics(self, records: Sequence[Record]) -> dict[str, float]:
        table = RecordTable.from_records(records)
        by_size = [self._average_precision(table, size) for size in range(len(figures.SIZES))]
        means = [_mean_without_nan(values) for values in by_size]
        nothing = len(self.labels)

        def count_pairs(row: Record) -> tuple[int, int, int]:
            pairs = [(truth, code) for truth, code, *_ in row["pairs"]]
            right = sum(truth == code for truth, code in pairs)
            objects = sum(truth != nothing for truth, _ in pairs)
            return right, objects, sum(code != nothing for _, code in pairs)

        counts = table.get_cached("pairs", lambda: np.array([count_pairs(r) for r in table.rows]))
        right, objects, answers = table.weight @ counts if len(counts) else np.zeros(3)
        nan = float("nan")
        return {
            "map50": _mean_without_nan(by_size[0][:, 0]),
            "map": means[0],
            "recall": float(right / objects) if objects else nan,
            "precision": float(right / answers) if answers else nan,
            "ece": figures.box_reliability(table).expected_calibration_error(),
            **{
                f"ap50:{name}": float(by_size[0][code, 0])
                for code, name in enumerate(self.labels.names)
            },
            **{
                f"map:{size}": means[number]
                for number, size in enumerate(figures.SIZES)
                if number > 0
            },
        }

    def calibration_terms(self, records: Sequence[Record]) -> np.ndarray:
        return figures.box_calibration_terms(RecordTable.from_records(records))

    def _average_precision(self, table: RecordTable, size: int) -> np.ndarray:
        """(K, thresholds)"""
        truths = figures.count_truths(table, size)
        return np.stack(
            [
                figures.average_precision(table, size, code, truths[code])
                for code in range(len(self.labels))
            ]
        )

    def summarize_errors(self, records: Sequence[Record]) -> ErrorSummary | None:
        count = len(self.labels)
        matrix = sum_confusion(RecordTable.from_records(records), count)[:count]
        objects = matrix.sum(axis=1)
        return summarize_confusion(
            self.labels.names,
            matrix[:, :count] / max(objects.sum(), 1),
            objects / max(objects.sum(), 1),
            metric="recall",
            error="are missed or get a wrong label",
            unit="objects",
            majority=0.0,
            majority_title="no box at all",
        )

    def report_sections(self, records: Sequence[Record], post: Post) -> list[Mapping[str, Any]]:
        return box_sections(
            RecordTable.from_records(records), self.labels.names, self.colours, post
        )

    # -- drawing -----------------------------------------------------------------------------------

    def draw_prediction(
        self, picture: np.ndarray, prediction: Prediction, target: Any | None = None
    ) -> np.ndarray:
        """The photo with the target's boxes (if known), and with the predicted ones, in a row."""
        photo, scale = resize_like_source(picture, prediction.meta)
        views = []
        if target is not None:
            truths = self._read_truths(target)
            views.append(draw_boxes(photo, truths.boxes * scale, truths.codes, self.colours))
        detections = Detections(**prediction.scores)
        shown = _above(detections, len(prediction.fields["label"]))
        views.append(
            draw_boxes(photo, shown.boxes * scale, shown.codes, self.colours, shown.scores)
        )
        return hstack_images(views)

    def render_files(
        self, picture: np.ndarray, prediction: Prediction
    ) -> dict[str, tuple[str, bytes]]:
        """The photo with its boxes as a JPEG, and the boxes as a Pascal VOC and a YOLO file."""
        names, fields = self.labels.names, prediction.fields
        drawn = self.draw_prediction(picture, prediction)
        return {
            "drawing": ("-boxes.jpg", encode_jpeg(drawn)),
            "voc": (".xml", render_voc(prediction.meta.name, fields["size"], fields)),
            "yolo": (".txt", render_yolo(names, fields["size"], fields)),
        }

    def render_document(self, suffix: str, rows: Sequence[Mapping[str, Any]]) -> bytes:
        """A COCO file (.json), or a table with a box per row."""
        return render_coco(self.labels.names, rows) if suffix == ".json" else render_csv(rows)

    def draw_targets(self, picture: np.ndarray, y: Mapping[str, Any]) -> np.ndarray:
        """A training sample's boxes on its picture (H, W, C)."""
        return draw_boxes(picture, np.asarray(y["boxes"]), np.asarray(y["labels"]), self.colours)


def _above(detections: Detections, threshold: float | int) -> Detections:
    """The boxes with at least a score (a float), or the first ones (an integer)."""
    count = threshold if isinstance(threshold, int) else int((detections.scores >= threshold).sum())
    return Detections(*(values[:count] for values in detections))


def _is_same(before: Detections, after: Detections) -> bool:
    """Whether the boxes of both are the same, in the same order."""
    if not np.array_equal(before.codes, after.codes):
        return False
    overlap = figures.box_overlaps(before.boxes, after.boxes, np.zeros(len(after.codes), bool))
    return bool((np.diagonal(overlap) >= SAME_BOX).all())


def _count_lost(boxes: Detections, others: Detections) -> int:
    """Boxes that `others` do not have, with the same class and in the same place."""
    overlap = figures.box_overlaps(boxes.boxes, others.boxes, np.zeros(len(others.codes), bool))
    same = (overlap >= SAME_BOX) & (boxes.codes[:, None] == others.codes[None])
    return int((~same.any(axis=1)).sum())


def _typical_difference(reference: Outputs, outputs: Outputs) -> float:
    """`Difference.typical` over the boxes that either could predict, from their score and place."""
    candidates = np.maximum(reference["scores"], outputs["scores"]).max(axis=2) >= SCORE_FLOOR
    if not candidates.any():
        return 0.0
    gap = np.abs(reference["scores"] - outputs["scores"]).max(axis=2)[candidates]
    moved = np.abs(reference["boxes"] - outputs["boxes"]).max(axis=2)[candidates]
    difference = np.maximum(gap, moved / PIXEL_SCALE).astype(np.float64)
    return float(np.quantile(difference, TYPICAL_QUANTILE))


def _mean_without_nan(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _check_post(post: Post) -> None:
    """DamagedError for post-processing that `fit_postprocessing` cannot produce."""
    for name, low, high in (("threshold", 0.0, 1.0), ("scale", 1e-3, 1e3), ("shift", -1e3, 1e3)):
        value = post.get(name, low)
        if type(value) not in (int, float) or not low <= value <= high:
            raise DamagedError(
                f"the model's {name} is {value!r:.60}; allowed: {low:g} to {high:g}."
            )
    if ("scale" in post) != ("shift" in post):
        raise DamagedError("the model's calibration lacks its scale or its shift.")
