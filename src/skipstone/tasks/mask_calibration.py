"""Whether the confidence in pixels is what comes true, from a sample of each picture's pixels.

Pixels are those of the record, which is what the network answered. Those of one picture are alike,
so pictures are what is independent: each counts the same, however many of its pixels count, and
intervals are over pictures.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skipstone.data.masks import IGNORE
from skipstone.data.samples import Meta
from skipstone.tasks.calibration import softmax
from skipstone.tasks.metrics import (
    BINS,
    Reliability,
    bin_of,
    brier,
    mean,
    negative_log_likelihood,
)
from skipstone.tasks.records import Table

#: Pixels of a picture that are looked at.
SAMPLE = 2048


def sampled(meta: Meta, logits: np.ndarray, temperature: float) -> dict[str, np.ndarray]:
    """SAMPLE pixels, or all of a small picture, (P,): their places in it, and the probability of
    each class (P, K), from logits (K, h, w)."""
    flat = logits.reshape(len(logits), -1)
    places = np.arange(flat.shape[1])
    if len(places) > SAMPLE:
        places = np.random.default_rng([meta.id, len(places)]).integers(0, len(places), SAMPLE)
    return {"places": places, "probability": softmax(flat[:, places].T, temperature)}


def confidence(probability: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """What a record says of how sure the answers to its pixels are.

    Args:
        probability: (P, K); truth: (P,) class numbers, or IGNORE where nothing counts.

    Returns:
        bins: [bin of confidence, pixels, sum of confidences, right ones] each; nll, brier: means
        over the pixels that count, 0 where none does.
    """
    counted = truth != IGNORE
    probability, truth = probability[counted], truth[counted].astype(np.int64)
    top = probability.max(axis=1)
    found: dict[str, Any] = {"bins": _binned(top, probability.argmax(axis=1) == truth)}
    for name, figure in (("nll", negative_log_likelihood), ("brier", brier)):
        found[name] = mean(figure(probability, truth)) if len(truth) else 0.0
    return found


def _binned(confidence: np.ndarray, correct: np.ndarray) -> list[list[float]]:
    place = bin_of(confidence)
    sums = [
        np.bincount(place, weights=weights, minlength=BINS)
        for weights in (None, confidence, correct)
    ]
    return [[int(b), *(float(each[b]) for each in sums)] for b in np.flatnonzero(sums[0])]


def reliability_of(table: Table) -> Reliability:
    """All pictures' pixels, each picture counting the same."""
    shares, pixels = _shares(table)
    counted = table.weight * (pixels > 0)
    count, confidence, right = np.tensordot(counted, shares, 1).T  # (bins,) each
    some = np.where(count > 0, count, 1)
    many = (counted @ pixels) / max(counted.sum(), 1)  # pixels of a picture
    return Reliability(confidence / some, right / some, count * many)


def mean_of(table: Table, field: str) -> float:
    """Of "nll" or "brier", over pictures that have pixels that count."""
    _, pixels = _shares(table)
    return mean(table.column(field), table.weight * (pixels > 0))


def terms_of(table: Table) -> np.ndarray:
    """(pictures, bins): the calibration error is the sum of the absolute means over pictures."""
    shares, pixels = _shares(table)
    gaps: np.ndarray = shares[..., 2] - shares[..., 1]
    return gaps * len(pixels) / max(int((pixels > 0).sum()), 1)


def _shares(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """(pictures, bins, 3): of a picture's pixels those in the bin, their confidence, the right
    ones, each over all its pixels; and how many it has, (pictures,)."""

    def lay() -> tuple[np.ndarray, np.ndarray]:
        found = np.zeros((len(table.rows), BINS, 3))
        for row, record in enumerate(table.rows):
            for place, *sums in record["bins"]:
                found[row, place] = sums
        pixels = found[..., 0].sum(axis=1)
        return found / np.maximum(pixels, 1)[:, None, None], pixels

    return table.cached("pixel bins", lay)
