"""Calibration of pixels, from a sample of the pixels of each image.

Pixels are those of the record, before the mask is resized to the source. Pixels of one image are
correlated, so the image is the independent unit: all images have equal weight, and intervals are
over images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skipstone.data.mask_files import IGNORE_INDEX
from skipstone.data.samples import SampleMeta
from skipstone.tasks.metrics import (
    BINS,
    ReliabilityBins,
    brier_scores,
    confidence_bins,
    negative_log_likelihood,
    weighted_mean,
)
from skipstone.tasks.records import RecordTable
from skipstone.tasks.temperature import softmax

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
