"""Average precision of boxes, as COCO defines it (pycocotools' COCOeval), and what is missed.

Boxes are matched with truths photo by photo, once: a record holds, for each box, at which IoU
thresholds it is a hit. Average precision then needs only sums over records, so that resamples of
photos are quick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skipstone.tasks.base import RecordTable
from skipstone.tasks.detection.boxes import Detections
from skipstone.tasks.metrics import BINS, ReliabilityBins, confidence_bins

#: IoU from which a box counts as right, 0.50 to 0.95.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALL_POINTS = np.linspace(0.0, 1.0, 101)
#: Areas in square pixels of the photo, from and below.
SIZES: Mapping[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
#: Boxes of a lower probability do not count in the calibration error: they are the most, and few of
#: them are predicted.
LEAST_PROBABILITY = 0.1
#: Boxes of one class in one photo that count at most.
_MOST = 100


@dataclass(frozen=True)
class Truths:
    """The objects of one photo.

    Args:
        boxes: (m, 4).
        codes: (m,) classes.
        crowd: (m,) whether a box surrounds many objects: it may match any number of boxes.
        ignored: (m,) whether it need not be found: crowds and difficult objects.
    """

    boxes: np.ndarray
    codes: np.ndarray
    crowd: np.ndarray
    ignored: np.ndarray


def box_areas(boxes: np.ndarray) -> np.ndarray:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def box_overlaps(boxes: np.ndarray, truths: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """(n, m): IoU; for a crowd the share of the box that lies inside."""
    corner1 = np.maximum(boxes[:, None, :2], truths[None, :, :2])
    corner2 = np.minimum(boxes[:, None, 2:], truths[None, :, 2:])
    common = np.prod(np.maximum(corner2 - corner1, 0), axis=2)
    own = box_areas(boxes)[:, None]
    union = np.where(crowd, own, own + box_areas(truths)[None] - common)
    return np.asarray(common / np.maximum(union, 1e-12))


def match_boxes(detections: Detections, truths: Truths, classes: int) -> dict[str, Any]:
    """The part of a record that average precision needs.

    Returns:
        score, code: of each box; hits, ignored: for each of SIZES, for each box a number whose bit
        t is set if the box is a hit (does not count) at IOU_THRESHOLDS[t]; truths: for each of
        SIZES, the objects to find by class.
    """
    kept = _most_of_each_class(detections)
    boxes, scores, codes = (values[kept] for values in detections)
    sizes, steps = len(SIZES), len(IOU_THRESHOLDS)
    hits = np.zeros((sizes, steps, len(codes)), bool)
    ignored = np.zeros_like(hits)
    counts = np.zeros((sizes, classes), np.int64)
    truth_areas = box_areas(truths.boxes)
    low, high = np.array(list(SIZES.values())).T[..., None]  # (sizes, 1) each
    outside = (truth_areas < low) | (truth_areas > high)  # (sizes, m)
    not_counted = truths.ignored | outside
    box_outside = (box_areas(boxes) < low) | (box_areas(boxes) > high)  # (sizes, n)
    for code in range(classes):
        truth = np.flatnonzero(truths.codes == code)
        box = np.flatnonzero(codes == code)
        counts[:, code] = (~not_counted[:, truth]).sum(axis=1)
        if not len(box):
            continue
        overlap = box_overlaps(boxes[box], truths.boxes[truth], truths.crowd[truth])
        matched = _match_greedily(overlap, truths.crowd[truth], not_counted[:, truth])
        hits[:, :, box] = matched >= 0
        if len(truth):
            taken = np.take_along_axis(
                not_counted[:, truth][:, None], np.maximum(matched, 0), axis=2
            )
            ignored[:, :, box] = (matched >= 0) & taken
    ignored |= ~hits & box_outside[:, None]
    bits = 1 << np.arange(steps)
    return {
        "score": scores.tolist(),
        "code": codes.tolist(),
        "hits": np.einsum("t,stn->sn", bits, hits.astype(np.int64)).tolist(),
        "ignored": np.einsum("t,stn->sn", bits, ignored.astype(np.int64)).tolist(),
        "truths": counts.tolist(),
    }


def _most_of_each_class(detections: Detections) -> np.ndarray:
    """Rows of the _MOST boxes of each class, highest score first."""
    order = np.argsort(-detections.scores, kind="stable")
    kept = [order[detections.codes[order] == code][:_MOST] for code in np.unique(detections.codes)]
    return np.sort(np.concatenate(kept)) if kept else order


def _match_greedily(overlap: np.ndarray, crowd: np.ndarray, not_counted: np.ndarray) -> np.ndarray:
    """The truth that each box is matched with, or -1: (sizes, thresholds, n).

    The box of the highest score comes first; it takes the truth of the greatest overlap, and one
    that does not count only if no other fits.

    Args:
        overlap: (n, m); not_counted: (sizes, m).
    """
    count, truths = overlap.shape
    matched = np.full((len(not_counted), len(IOU_THRESHOLDS), count), -1, np.int64)
    if not truths:
        return matched
    free = np.ones((len(not_counted), len(IOU_THRESHOLDS), truths), bool)
    least = np.minimum(IOU_THRESHOLDS, 1 - 1e-10)[None, :, None]
    for row in range(count):
        fits = (free | crowd) & (overlap[row] >= least)  # (sizes, thresholds, m)
        if not fits.any():
            continue
        # overlaps are at most 1, so any truth that counts comes before all others
        value = np.where(fits, overlap[row] + 2 * ~not_counted[:, None], -1)
        best = truths - 1 - value[..., ::-1].argmax(axis=2)  # of equal ones the last
        size, step = np.nonzero(fits.any(axis=2))
        matched[size, step, row] = best[size, step]
        free[size, step, best[size, step]] = False
    return matched


@dataclass(frozen=True)
class SortedBoxes:
    """All boxes of one class and size that count at some threshold, highest score first.

    Args:
        score: (n,); hits, misses: (thresholds, n) float64; owner: (n,) the record of each.
    """

    score: np.ndarray
    hits: np.ndarray
    misses: np.ndarray
    owner: np.ndarray


def sort_boxes(table: RecordTable, size: int, code: int) -> SortedBoxes:
    return table.get_cached(("boxes", size, code), lambda: _sort_boxes(table.rows, size, code))


def _sort_boxes(rows: Sequence[Mapping[str, Any]], size: int, code: int) -> SortedBoxes:
    codes = np.array([code for row in rows for code in row["code"]], np.int64)
    score = np.array([value for row in rows for value in row["score"]], np.float64)
    hit = np.array([bits for row in rows for bits in row["hits"][size]], np.int64)
    ignored = np.array([bits for row in rows for bits in row["ignored"][size]], np.int64)
    owner = np.repeat(np.arange(len(rows)), [len(row["code"]) for row in rows])
    full = (1 << len(IOU_THRESHOLDS)) - 1
    chosen = np.flatnonzero((codes == code) & (ignored != full))
    chosen = chosen[np.argsort(-score[chosen], kind="stable")]
    bit = np.arange(len(IOU_THRESHOLDS))[:, None]
    is_hit = (hit[chosen] >> bit & 1).astype(bool)
    counts = ~(ignored[chosen] >> bit & 1).astype(bool)
    return SortedBoxes(
        score[chosen],
        (is_hit & counts).astype(np.float64),
        (~is_hit & counts).astype(np.float64),
        owner[chosen],
    )


def count_truths(table: RecordTable, size: int) -> np.ndarray:
    """(classes,) objects to find."""
    counts: np.ndarray = table.get_cached(
        ("truths", size),
        lambda: np.array([row["truths"][size] for row in table.rows], np.float64),
    )
    return np.asarray(table.weight @ counts)


def average_precision(table: RecordTable, size: int, code: int, truths: float) -> np.ndarray:
    """(thresholds,) of one class; NaN without objects to find."""
    if truths <= 0:
        return np.full(len(IOU_THRESHOLDS), np.nan)
    boxes = sort_boxes(table, size, code)
    weight = table.weight[boxes.owner]
    hits = np.cumsum(boxes.hits * weight, axis=1)
    misses = np.cumsum(boxes.misses * weight, axis=1)
    precision = hits / np.maximum(hits + misses, np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = hits / truths
    result = np.zeros(len(IOU_THRESHOLDS))
    for step in range(len(result)):
        place = np.searchsorted(recall[step], _RECALL_POINTS, side="left")
        place = place[place < len(boxes.score)]
        result[step] = precision[step, place].sum() / len(_RECALL_POINTS)
    return result


def precision_recall(table: RecordTable, code: int) -> list[tuple[float, float]]:
    """(recall, precision) of one class at IoU 0.5, at most 101 points."""
    truths = count_truths(table, 0)[code]
    boxes = sort_boxes(table, 0, code)
    if truths <= 0 or not len(boxes.score):
        return []
    hits, misses = (np.cumsum(values[0]) for values in (boxes.hits, boxes.misses))
    precision = hits / np.maximum(hits + misses, np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(hits / truths, _RECALL_POINTS, side="left")
    return [
        (float(point), float(precision[at]))
        for point, at in zip(_RECALL_POINTS, place, strict=True)
        if at < len(precision)
    ]


def box_reliability(table: RecordTable) -> ReliabilityBins:
    """Probabilities of the boxes of LEAST_PROBABILITY or more against the share that is right."""
    count, confidence, right = np.tensordot(table.weight, _binned_boxes(table), 1).T
    divisor = np.where(count > 0, count, 1)
    return ReliabilityBins(confidence / divisor, right / divisor, count)


def box_calibration_terms(table: RecordTable) -> np.ndarray:
    """(photos, bins): the calibration error is the sum of the absolute means over photos."""
    sums = _binned_boxes(table)
    boxes = max(float(sums[..., 0].sum()), 1.0)
    return np.asarray((sums[..., 2] - sums[..., 1]) * len(sums) / boxes)


def _binned_boxes(table: RecordTable) -> np.ndarray:
    """(photos, bins, 3): boxes in the bin, the sum of their probabilities, and the right ones."""

    def count_row(row: Mapping[str, Any]) -> np.ndarray:
        score = np.array(row["score"], np.float64)
        is_hit, is_ignored = (np.array(row[name][0], np.int64) & 1 for name in ("hits", "ignored"))
        counted = (score >= LEAST_PROBABILITY) & (is_ignored == 0)
        score, is_hit = score[counted], is_hit[counted]
        place = confidence_bins(score)
        return np.stack(
            [np.bincount(place, values, BINS) for values in (np.ones(len(score)), score, is_hit)],
            axis=1,
        )

    sums: np.ndarray = table.get_cached(
        "binned boxes", lambda: np.stack([count_row(row) for row in table.rows])
    )
    return sums


def pair_boxes(detections: Detections, truths: Truths, nothing: int) -> list[list[float]]:
    """[truth, prediction, IoU, area] of each object and each box, matched at an IoU of 0.5 or more
    whatever their class, the greatest IoU first. `nothing` stands for a missed object, or for a box
    where nothing is; boxes on ignored objects are left out. `area` is the object's."""
    overlap = box_overlaps(detections.boxes, truths.boxes, truths.crowd)
    same = detections.codes[:, None] == truths.codes[None]
    pairs: list[list[float]] = []
    free_boxes, free_truths = set(range(len(detections.codes))), set(range(len(truths.codes)))
    areas = box_areas(truths.boxes)
    # a box of the right class goes before one of another class
    order = np.argsort(-(overlap + same), axis=None, kind="stable")
    for flat in order.tolist():
        box, truth = divmod(flat, len(truths.codes))
        if overlap[box, truth] < IOU_THRESHOLDS[0] or box not in free_boxes:
            continue
        if truth not in free_truths and not truths.crowd[truth]:
            continue
        free_boxes.discard(box)
        free_truths.discard(truth)
        if not truths.ignored[truth]:
            codes = int(truths.codes[truth]), int(detections.codes[box])
            pairs.append([*codes, float(overlap[box, truth]), float(areas[truth])])
    for truth in sorted(free_truths):
        if not truths.ignored[truth]:
            pairs.append([int(truths.codes[truth]), nothing, 0.0, float(areas[truth])])
    return pairs + [[nothing, int(detections.codes[box]), 0.0, 0.0] for box in sorted(free_boxes)]


def fit_score_calibration(scores: np.ndarray, hits: np.ndarray) -> tuple[float, float]:
    """(scale, shift) of Platt's logistic regression of hits on the logits of scores (n,).

    A weak prior at (1, 0) keeps it finite where all boxes, or none, are hits.
    """
    clipped = scores.clip(1e-9, 1 - 1e-9)
    features = np.stack([np.log(clipped) - np.log1p(-clipped), np.ones(len(scores))], axis=1)
    prior = np.array([1.0, 0.0])

    def penalized_loss(weights: np.ndarray) -> float:
        logits = features @ weights
        entropy = np.logaddexp(0, logits) - hits * logits
        return float(entropy.sum() + np.square(weights - prior).sum() / 2)

    weights = prior.copy()
    for _ in range(50):
        p = 1 / (1 + np.exp(-(features @ weights)))
        gradient = features.T @ (p - hits) + (weights - prior)
        curvature = (features * (p * (1 - p))[:, None]).T @ features + np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        before = penalized_loss(weights)
        while penalized_loss(weights - step) > before and np.abs(step).max() > 1e-10:
            step /= 2  # a whole step of Newton's method may lead away from the minimum
        weights = weights - step
        if np.abs(step).max() < 1e-10:
            break
    return float(max(weights[0], 1e-2)), float(weights[1])


def choose_threshold_for_recall(
    hit_scores: Sequence[np.ndarray], truths: Sequence[int], share: float
) -> float | None:
    """The greatest threshold with which, on average over unseen photos, at least `share` of a
    photo's objects are found; None if no threshold does.

    Conformal risk control (Angelopoulos et al. 2022, arXiv:2208.02814, theorem 1): the loss of a
    photo is the share of its objects that is missed, at most 1, and grows with the threshold.

    Args:
        hit_scores: for each photo the scores of the boxes that are hits.
        truths: objects of each photo.
    """
    n = len(hit_scores)
    scores = np.concatenate([*hit_scores, np.zeros(0)])
    value = np.concatenate(
        [
            np.full(len(hits), 1 / max(count, 1))
            for hits, count in zip(hit_scores, truths, strict=True)
        ]
        + [np.zeros(0)]
    )
    order = np.argsort(-scores, kind="stable")
    with_objects = sum(count > 0 for count in truths)
    risk = (with_objects - np.cumsum(value[order])) / max(n, 1)
    enough = np.flatnonzero((n * risk + 1) / (n + 1) <= 1 - share + 1e-12)
    if not len(enough):
        return None
    last = int(enough[0])
    following = scores[order[last + 1]] if last + 1 < len(order) else 0.0
    return float((scores[order[last]] + following) / 2)


def choose_threshold(scores: np.ndarray, hits: np.ndarray, truths: int) -> float | None:
    """The threshold with the greatest F1, between two scores; None without any hit.

    Args:
        scores, hits: (n,) of all boxes; truths: objects to find.
    """
    order = np.argsort(-scores, kind="stable")
    total = np.cumsum(hits[order])
    if not len(total) or total[-1] == 0:
        return None
    f1 = 2 * total / (np.arange(1, len(total) + 1) + truths)
    best = int(f1.argmax())
    following = scores[order[best + 1]] if best + 1 < len(order) else 0.0
    return float((scores[order[best]] + following) / 2)
