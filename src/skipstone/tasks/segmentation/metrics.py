"""Metrics of masks: confusion of pixels, IoU, and boundary F1. Pure numpy.

Masks are uint8 (H, W), class indices or IGNORE. A metric over no pixels is NaN.

Calibration uses a sample of the pixels of each image's record, before the mask is resized to the
source. Pixels of one image are correlated, so the image is the independent unit: all images have
equal weight, and intervals are over images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skipstone.data.mask_files import IGNORE_INDEX
from skipstone.data.samples import SampleMeta
from skipstone.tasks.base import RecordTable
from skipstone.tasks.label_answers import softmax
from skipstone.tasks.metrics import (
    BINS,
    ReliabilityBins,
    brier_scores,
    confidence_bins,
    negative_log_likelihood,
    weighted_mean,
)

Array = np.ndarray
#: Boundaries match within this share of the image diagonal (Csurka et al. 2013, sec. 3.2) ...
BOUNDARY_TOLERANCE = 0.0075
#: ... and within one pixel in small images.
MIN_BOUNDARY_TOLERANCE = 1.0


def pixel_confusion(truth: Array, answer: Array, classes: int) -> Array:
    """(K, K) int64: pixels by target (row) and prediction (column), without IGNORE."""
    counted = truth != IGNORE_INDEX
    flat = truth[counted].astype(np.int64) * classes + answer[counted]
    return np.asarray(np.bincount(flat, minlength=classes * classes).reshape(classes, classes))


def intersection_over_union(matrix: Array) -> Array:
    """Jaccard index per class, (K,); NaN for a class in neither targets nor predictions."""
    hit = np.diagonal(matrix).astype(np.float64)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - hit
    return np.asarray(np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0))


def mean_without_nan(values: Array) -> float:
    """Mean without NaN; NaN if all are NaN."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")


def boundary_f1(truth: Array, answer: Array, classes: int) -> dict[int, float]:
    """BF score of each class with a boundary in the target or in the prediction.

    Csurka, Larlus, Perronnin: "What is a good evaluation measure for semantic segmentation?" (BMVC
    2013, sec. 3.2): precision is the share of predicted boundary pixels within a tolerance of the
    target's, recall the reverse, and F1 their harmonic mean, by class and image. A boundary pixel
    has a neighbour (above, below, left, right) of another class. The target's IGNORE is also
    ignored in the prediction.
    """
    answer = np.where(truth == IGNORE_INDEX, np.uint8(IGNORE_INDEX), answer)
    radius = max(MIN_BOUNDARY_TOLERANCE, BOUNDARY_TOLERANCE * float(np.hypot(*truth.shape)))
    edges = [find_boundaries(truth), find_boundaries(answer)]
    scores: dict[int, float] = {}
    sizes, matched = [], []
    for first in range(0, classes, 64):  # one class per bit
        width = min(64, classes - first)
        bits = [
            _bits(codes, edge, first, width)
            for codes, edge in zip((truth, answer), edges, strict=True)
        ]
        near = [dilate_bits(bit, radius) for bit in bits]
        for index, other, codes in ((0, 1, truth), (1, 0, answer)):
            inside = bits[index] != 0
            hit = (bits[index] & near[other]) != 0
            sizes.append(np.bincount(codes[inside], minlength=classes)[:classes])
            matched.append(np.bincount(codes[hit], minlength=classes)[:classes])
    truth_size, answer_size = (np.sum(sizes[index::2], axis=0) for index in (0, 1))
    truth_hit, answer_hit = (np.sum(matched[index::2], axis=0) for index in (0, 1))
    for code in range(classes):
        if truth_size[code] + answer_size[code] == 0:
            continue
        recall = truth_hit[code] / truth_size[code] if truth_size[code] else 0.0
        precision = answer_hit[code] / answer_size[code] if answer_size[code] else 0.0
        total = precision + recall
        scores[code] = float(2 * precision * recall / total) if total else 0.0
    return scores


def find_boundaries(codes: Array) -> Array:
    """bool (H, W): pixels with a neighbour of another class; IGNORE is a class here."""
    edge = np.zeros(codes.shape, bool)
    down, right = codes[1:] != codes[:-1], codes[:, 1:] != codes[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


def _bits(codes: Array, edge: Array, first: int, width: int) -> Array:
    """Unsigned integers (H, W): bit k marks boundary pixels of class first + k."""
    kind = next(t for t in (np.uint8, np.uint16, np.uint32, np.uint64) if width <= 8 * t().nbytes)
    table = np.zeros(256, kind)
    table[first : first + width] = np.left_shift(np.ones(width, kind), np.arange(width, dtype=kind))
    table[IGNORE_INDEX] = 0
    return np.asarray(table[codes] * edge)


def dilate_bits(bits: Array, radius: float) -> Array:
    """Dilation of all classes at once: each pixel gets every bit that is set within `radius`
    (Euclidean) of it. The disc is a stack of rows of different widths."""
    reach = int(radius)
    wide = [bits]
    for x in range(1, reach + 1):
        row = wide[-1].copy()
        if x < bits.shape[1]:
            row[:, x:] |= bits[:, :-x]
            row[:, :-x] |= bits[:, x:]
        wide.append(row)
    out = wide[reach].copy()
    for y in range(1, min(reach, bits.shape[0] - 1) + 1):
        row = wide[int(np.sqrt(radius**2 - y**2))]
        out[y:] |= row[:-y]
        out[:-y] |= row[y:]
    return np.asarray(out)


def to_sparse(matrix: Array) -> tuple[list[int], list[int]]:
    """Flat indices and values of the nonzero cells of a confusion matrix."""
    cells = np.flatnonzero(matrix)
    return cells.tolist(), matrix.ravel()[cells].tolist()


def flatten_sparse(
    rows: Sequence[tuple[Sequence[int], Sequence[float]]],
) -> tuple[Array, Array, Array]:
    """Sparse rows as three columns: index, value, and row number."""
    sizes = [len(cells) for cells, _ in rows]
    cells = np.fromiter((c for row, _ in rows for c in row), np.int64, sum(sizes))
    values = np.fromiter((v for _, row in rows for v in row), np.float64, sum(sizes))
    return cells, values, np.repeat(np.arange(len(rows)), sizes)


#: Pixels sampled per image.
PIXELS_PER_IMAGE = 2048


def sample_pixels(
    meta: SampleMeta, logits: np.ndarray, temperature: float
) -> dict[str, np.ndarray]:
    """SAMPLE pixels, or all of a small image: their flat indices (P,) and the probability of each
    class (P, K), from logits (K, h, w)."""
    flat = logits.reshape(len(logits), -1)
    pixels = np.arange(flat.shape[1])
    if len(pixels) > PIXELS_PER_IMAGE:
        pixels = np.random.default_rng([meta.id, len(pixels)]).integers(
            0, len(pixels), PIXELS_PER_IMAGE
        )
    return {"places": pixels, "probability": softmax(flat[:, pixels].T, temperature)}


def summarize_confidence(probability: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Sums over the sampled pixels of one image, for its record.

    Args:
        probability: (P, K); truth: (P,) class indices, or IGNORE for pixels that are not scored.

    Returns:
        bins: rows of [bin of confidence, pixels, sum of confidences, correct pixels]; nll, brier:
        means over the scored pixels, 0 without any.
    """
    counted = truth != IGNORE_INDEX
    probability, truth = probability[counted], truth[counted].astype(np.int64)
    top = probability.max(axis=1)
    summary: dict[str, Any] = {"bins": _binned(top, probability.argmax(axis=1) == truth)}
    for name, figure in (("nll", negative_log_likelihood), ("brier", brier_scores)):
        summary[name] = weighted_mean(figure(probability, truth)) if len(truth) else 0.0
    return summary


def _binned(confidence: np.ndarray, correct: np.ndarray) -> list[list[float]]:
    bin_index = confidence_bins(confidence)
    sums = [
        np.bincount(bin_index, weights=weights, minlength=BINS)
        for weights in (None, confidence, correct)
    ]
    return [[int(b), *(float(each[b]) for each in sums)] for b in np.flatnonzero(sums[0])]


def pixel_reliability(table: RecordTable) -> ReliabilityBins:
    """Over the pixels of all images, each image with equal weight."""
    shares, pixels = _shares(table)
    counted = table.weight * (pixels > 0)
    count, confidence, right = np.tensordot(counted, shares, 1).T  # (bins,) each
    divisor = np.where(count > 0, count, 1)
    pixels_per_image = (counted @ pixels) / max(counted.sum(), 1)
    return ReliabilityBins(confidence / divisor, right / divisor, count * pixels_per_image)


def mean_over_images(table: RecordTable, field: str) -> float:
    """Of "nll" or "brier", over images with scored pixels."""
    _, pixels = _shares(table)
    return weighted_mean(table.get_column(field), table.weight * (pixels > 0))


def pixel_calibration_terms(table: RecordTable) -> np.ndarray:
    """(images, bins): the calibration error is the sum of the absolute means over images."""
    shares, pixels = _shares(table)
    gaps: np.ndarray = shares[..., 2] - shares[..., 1]
    return gaps * len(pixels) / max(int((pixels > 0).sum()), 1)


def _shares(table: RecordTable) -> tuple[np.ndarray, np.ndarray]:
    """(images, bins, 3): pixels in the bin, their summed confidence, and the correct ones, each
    divided by the pixels of the image; and the pixels per image, (images,)."""

    def make() -> tuple[np.ndarray, np.ndarray]:
        sums = np.zeros((len(table.rows), BINS, 3))
        for row, record in enumerate(table.rows):
            for bin_index, *values in record["bins"]:
                sums[row, bin_index] = values
        pixels = sums[..., 0].sum(axis=1)
        return sums / np.maximum(pixels, 1)[:, None, None], pixels

    return table.get_cached("pixel bins", make)
