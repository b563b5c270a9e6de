"""Whether the confidence in pixels is what comes true, from a sample of each picture's pixels.

Pixels are those of the record, which is what the network answered. Those of one picture are alike,
so pictures are what is independent: each counts the same, however many of its pixels count, and
intervals are over pictures.
"""

from __future__ import annotations

import numpy as np

from skipstone.data.samples import Meta
from skipstone.tasks.metrics import BINS, Reliability, bin_of
from skipstone.tasks.records import Table

#: Pixels of a picture that are looked at.
SAMPLE = 2048


def sampled(meta: Meta, top: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """SAMPLE pixels, or all of a small picture: their places in it, probabilities and classes.

    Args:
        top: probability of the likeliest class, (h, w); labels: that class, (h, w).
    """
    places = np.arange(top.size)
    if top.size > SAMPLE:
        places = np.random.default_rng([meta.id, top.size]).integers(0, top.size, SAMPLE)
    return {"places": places, "top": top.ravel()[places], "labels": labels.ravel()[places]}


def binned(confidence: np.ndarray, correct: np.ndarray) -> list[list[float]]:
    """Of pixels (P,), by bin of their confidence: [bin, pixels, sum of confidences, right ones]."""
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
