"""From a detector's outputs to boxes in the pixels of the source.

The text of this file is embedded in the stand-alone script that `export` writes, so it needs only
numpy. Boxes are (x1, y1, x2, y2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

#: Scores below it are never predicted; average precision counts boxes down to it.
SCORE_FLOOR = 0.003
#: Boxes with the highest scores that enter non-maximum suppression.
NMS_CANDIDATES = 600
#: The threshold of a model that is not calibrated.
DEFAULT_THRESHOLD = 0.3


class Detections(NamedTuple):
    """Boxes of one photo, highest score first.

    Args:
        boxes: (n, 4) float64.
        scores: (n,) float64, probabilities.
        codes: (n,) int64, classes.
    """

    boxes: np.ndarray
    scores: np.ndarray
    codes: np.ndarray


def detect_boxes(
    boxes: np.ndarray,
    scores: np.ndarray,
    options: Mapping[str, Any],
    post: Mapping[str, Any],
    geometry: Mapping[str, Any],
    floor: float = SCORE_FLOOR,
) -> Detections:
    """The boxes of one photo with a score of at least `floor`, after non-maximum suppression.

    Args:
        boxes: (A, 4) in pixels of the network's input.
        scores: (A, K) in 0..1, before calibration.
        geometry: {"size", "to_source"} of the sample, as in `SampleMeta`; boxes then are in pixels
            of the source and end at its border.
    """
    detections = suppress_overlaps(
        boxes, calibrate_scores(scores, post), floor, options["nms_iou"], options["max_boxes"]
    )
    if geometry.get("to_source") is None:
        return detections
    a, _, c, _, e, f = geometry["to_source"]
    height, width = geometry["size"]
    moved = detections.boxes * (a, e, a, e) + (c, f, c, f)
    return detections._replace(boxes=moved.clip(0, (width, height, width, height)))


def calibrate_scores(scores: np.ndarray, post: Mapping[str, Any]) -> np.ndarray:
    """Scores as probabilities that a box is right: sigmoid(scale * logit(score) + shift)."""
    scores = scores.astype(np.float64)
    if "scale" not in post:
        return scores
    clipped = scores.clip(1e-9, 1 - 1e-9)
    logits = np.log(clipped) - np.log1p(-clipped)
    return np.asarray(1 / (1 + np.exp(-(post["scale"] * logits + post["shift"]))))


def suppress_overlaps(
    boxes: np.ndarray, scores: np.ndarray, floor: float, iou: float, most: int
) -> Detections:
    """Greedy non-maximum suppression within each class.

    Args:
        boxes: (A, 4).
        scores: (A, K).
        floor: least score.
        iou: overlap above which the box of the lower score is dropped.
        most: boxes at most.
    """
    anchors, codes = np.nonzero(scores >= floor)
    top = scores[anchors, codes]
    order = np.argsort(-top, kind="stable")[:NMS_CANDIDATES]
    anchors, codes, top = anchors[order], codes[order], top[order]
    candidates = boxes[anchors].astype(np.float64)
    area = np.prod(np.maximum(candidates[:, 2:] - candidates[:, :2], 0), axis=1)
    pending = np.arange(len(order))
    kept: list[int] = []
    while len(pending) and len(kept) < most:
        best, rest = pending[0], pending[1:]
        kept.append(int(best))
        corner1 = np.maximum(candidates[best, :2], candidates[rest, :2])
        corner2 = np.minimum(candidates[best, 2:], candidates[rest, 2:])
        common = np.prod(np.maximum(corner2 - corner1, 0), axis=1)
        union = np.maximum(area[best] + area[rest] - common, 1e-9)
        pending = rest[(common <= iou * union) | (codes[rest] != codes[best])]
    return Detections(candidates[kept], top[kept], codes[kept])


def decode_boxes(
    outputs: Mapping[str, np.ndarray],
    schema: Mapping[str, Any],
    options: Mapping[str, Any],
    post: Mapping[str, Any],
    geometries: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The boxes of each photo at or above the threshold; see `tasks.label_answers`."""
    threshold = float(post.get("threshold", DEFAULT_THRESHOLD))
    return [
        describe_boxes(
            detect_boxes(boxes, scores, options, post, geometry, threshold),
            schema["classes"],
            geometry.get("size", ()),
        )
        for boxes, scores, geometry in zip(
            outputs["boxes"], outputs["scores"], geometries, strict=True
        )
    ]


def describe_boxes(
    detections: Detections, names: Sequence[str], size: Sequence[int]
) -> dict[str, Any]:
    """Fields of a prediction: {"label", "probability", "box"}, a list each, and the photo's "size"
    [width, height] from its (height, width)."""
    return {
        "label": [names[code] for code in detections.codes],
        "probability": detections.scores.tolist(),
        "box": detections.boxes.tolist(),
        "size": [int(side) for side in reversed(size)],
    }
