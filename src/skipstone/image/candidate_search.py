"""Candidate pairs of near-duplicate pictures, without comparing all of them in detail.

A picture's descriptor holds the low frequencies of its thumbnail (the cosine transform of pHash:
Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010) as numbers, each
weighted by its frequency, since pictures have less energy in high ones. To find crops, each picture
is also searched for by windows that leave out 5 % at a corner or all round; and mirrored, which
only changes signs of a descriptor.

From `_CELLS_FROM` pictures on, descriptors are sorted into k-means cells, and each is compared with
those of the nearest cells only.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from skipstone.core import events

Array = np.ndarray

FREQUENCIES = 10
_GRID = 32
_CUT = 0.05
#: (top, bottom, left, right) of the parts by which a picture is searched for.
WINDOWS = (
    (0.0, 1.0, 0.0, 1.0),
    (0.0, 1 - _CUT, 0.0, 1 - _CUT),
    (0.0, 1 - _CUT, _CUT, 1.0),
    (_CUT, 1.0, 0.0, 1 - _CUT),
    (_CUT, 1.0, _CUT, 1.0),
    (_CUT / 2, 1 - _CUT / 2, _CUT / 2, 1 - _CUT / 2),
)
#: The least cosine between descriptors of a candidate pair.
MIN_COSINE = 0.9
#: The most candidates per picture.
MAX_CANDIDATES = 8
_CELLS_FROM = 20_000
_PROBES = 6  # cells that a descriptor is compared with
_BLOCK = 1024

_radius = np.hypot(*np.mgrid[:FREQUENCIES, :FREQUENCIES]).astype(np.float32)
#: Frequencies of a descriptor: within a quarter circle, without the mean.
_KEPT = (_radius > 0) & (_radius <= FREQUENCIES - 0.5)
#: Mirroring changes the sign of waves that are odd along x.
MIRROR_SIGNS = np.where(np.arange(FREQUENCIES) % 2, -1, 1).repeat(FREQUENCIES)
MIRROR_SIGNS = MIRROR_SIGNS.reshape(FREQUENCIES, FREQUENCIES).T[_KEPT].astype(np.float32)


class Candidate(NamedTuple):
    """Positions `first` < `second` of two pictures; the warp from the first to the second, which is
    mirrored before if `mirrored` (as in `registration.align`)."""

    first: int
    second: int
    mirrored: bool
    start: tuple[float, ...]


def find_candidates(
    thumbs: Array, *, max_candidates: int = MAX_CANDIDATES, min_cosine: float = MIN_COSINE
) -> list[Candidate]:
    """Candidate pairs of (N, S, S) grey thumbnails."""
    descriptors = _describe_all(thumbs, WINDOWS[0])
    cells = _Cells(descriptors)
    # (first, second) -> (cosine, the row that was searched for, its window, mirrored)
    best: dict[tuple[int, int], tuple[float, int, int, bool]] = {}
    total = len(thumbs) * len(WINDOWS)
    with events.progress_stage("searching look-alikes", total=total, unit="views") as advance:
        for number, window in enumerate(WINDOWS):
            queries = descriptors if number == 0 else _describe_all(thumbs, window)
            for mirrored in (False, True):
                signed = queries * MIRROR_SIGNS if mirrored else queries
                for row, other, cosine in cells.nearest(signed, max_candidates, min_cosine):
                    key = (min(row, other), max(row, other))
                    if cosine > best.get(key, (0.0,))[0]:
                        best[key] = (cosine, row, number, mirrored)
            advance(len(thumbs))
    counts: Counter[int] = Counter()
    candidates = []
    for key, (_, row, number, mirrored) in sorted(best.items(), key=lambda i: (-i[1][0], i[0])):
        # One of the two may have enough: a picture with many copies is the candidate of each.
        if min(counts[key[0]], counts[key[1]]) < max_candidates:
            counts.update(key)
            start = _start(number, of_first=row == key[0], mirrored=mirrored)
            candidates.append(Candidate(*key, mirrored, start))
    return sorted(candidates)


def compute_descriptors(thumbs: Array, window: tuple[float, float, float, float]) -> Array:
    """(N, S, S) grey thumbnails -> unit vectors (N, D), the low frequencies of `window`."""
    top, bottom, left, right = (edge * thumbs.shape[1] for edge in window)
    wave = np.pi * (np.arange(_GRID) + 0.5) / _GRID
    cosines = np.cos(np.arange(FREQUENCIES)[:, None] * wave).astype(np.float32)  # DCT-II
    rows = cosines @ _resampling(top, bottom, thumbs.shape[1])  # (K, S)
    columns = cosines @ _resampling(left, right, thumbs.shape[1])
    vectors = ((rows @ thumbs.astype(np.float32) @ columns.T) * _radius)[:, _KEPT]
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Array = (vectors / np.maximum(length, 1e-6)).astype(np.float32)
    return unit


def _describe_all(thumbs: Array, window: tuple[float, float, float, float]) -> Array:
    parts = [
        compute_descriptors(thumbs[at : at + _BLOCK], window)
        for at in range(0, len(thumbs), _BLOCK)
    ]
    return np.concatenate([np.zeros((0, int(_KEPT.sum())), np.float32), *parts])


def _resampling(low: float, high: float, side: int) -> Array:
    """(GRID, side) weights of an antialiased (triangle) resize of pixels low..high."""
    step = (high - low) / _GRID
    centres = low + (np.arange(_GRID) + 0.5) * step - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(side) - centres[:, None]) / max(step, 1.0))
    shares: Array = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return shares


class _Cells:
    """Descriptors by their nearest centre; a single cell if they are few."""

    def __init__(self, descriptors: Array) -> None:
        self._descriptors = descriptors
        count = len(descriptors)
        self._centres = _centres(descriptors, 1 if count < _CELLS_FROM else int(np.sqrt(count)))
        self.members = self._rows_by_cell(descriptors, 1)

    def nearest(
        self, queries: Array, neighbours: int, alike: float
    ) -> Iterator[tuple[int, int, float]]:
        """(row of a query, row of a descriptor, cosine) of the nearest others."""
        for members, rows in zip(self.members, self._rows_by_cell(queries, _PROBES), strict=True):
            for start in range(0, len(rows) if len(members) else 0, _BLOCK):
                part = rows[start : start + _BLOCK]
                cosines = queries[part] @ self._descriptors[members].T
                cosines[part[:, None] == members[None, :]] = -1  # the picture itself
                count = min(neighbours, len(members))
                columns = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
                values = np.take_along_axis(cosines, columns, 1)
                for i, j in np.argwhere(values >= alike):
                    yield int(part[i]), int(members[columns[i, j]]), float(values[i, j])

    def _rows_by_cell(self, vectors: Array, probes: int) -> list[Array]:
        """Per cell: the rows of vectors that have its centre among the `probes` nearest."""
        count = len(self._centres)
        if count == 1:
            return [np.arange(len(vectors))]
        cells = np.concatenate(
            [
                np.argpartition(-(vectors[at : at + _BLOCK] @ self._centres.T), probes - 1)[
                    :, :probes
                ].ravel()
                for at in range(0, len(vectors), _BLOCK)
            ]
        )
        order = np.argsort(cells, kind="stable")
        bounds = np.searchsorted(cells[order], np.arange(count + 1))
        return [order[low:high] // probes for low, high in itertools.pairwise(bounds)]


def _centres(descriptors: Array, count: int) -> Array:
    """Spherical k-means on a seeded sample: (count, D)."""
    rows = np.random.default_rng(0).permutation(len(descriptors))[: 32 * count]
    sample = descriptors[rows]
    centres: Array = sample[:count].copy()
    for _ in range(4 if count > 1 else 0):
        sums = np.zeros_like(centres)
        np.add.at(sums, (sample @ centres.T).argmax(1), sample)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(length > 0, sums / np.maximum(length, 1e-6), centres)
    return centres.astype(np.float32)


def _start(window: int, *, of_first: bool, mirrored: bool) -> tuple[float, ...]:
    """The warp from the first picture to the (mirrored) second, one of which shows in this window
    what the other shows completely."""
    top, bottom, left, right = WINDOWS[window]
    if mirrored and not of_first:
        left, right = 1 - right, 1 - left
    warp: list[float] = []
    for low, high in ((left, right), (top, bottom)):
        scale = 1 / (high - low)
        shift = scale * (1 - 2 * low) - 1
        warp += (scale, shift) if of_first else (1 / scale, -shift / scale)
    return tuple(warp)
