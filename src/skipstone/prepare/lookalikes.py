"""Which pictures of many may show the same? A short list for each, found without comparing all.

A picture is described by the low frequencies of its thumbnail (a cosine transform, as in pHash:
Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010), kept as numbers
and not as bits, each weighted by its frequency since pictures have less in high ones. To be found
although it was cropped, a picture asks for others not only as a whole but also with 5 % cut off at
each corner and all round; and mirrored, which in this description is a change of signs.

Few pictures are compared with all. Many (`_CELLS_FROM`) are first sorted into cells around centres
(k-means), and each is compared with the members of the cells nearest to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from skipstone import events

Array = np.ndarray

FREQUENCIES = 10
_GRID = 32
_CUT = 0.05
#: (top, bottom, left, right) of what a picture is looked for by.
WINDOWS = (
    (0.0, 1.0, 0.0, 1.0),
    (0.0, 1 - _CUT, 0.0, 1 - _CUT),
    (0.0, 1 - _CUT, _CUT, 1.0),
    (_CUT, 1.0, 0.0, 1 - _CUT),
    (_CUT, 1.0, _CUT, 1.0),
    (_CUT / 2, 1 - _CUT / 2, _CUT / 2, 1 - _CUT / 2),
)
#: Cosine between descriptions from which two pictures are worth a closer look.
ALIKE = 0.9
#: The most others that a picture is compared with.
NEIGHBOURS = 8
_CELLS_FROM = 20_000
_PROBES = 6
_BLOCK = 1024


@dataclass(frozen=True)
class Candidates:
    """P pairs of positions, `first` < `second`, and how to lay the second over the first.

    Args:
        mirrored: (P,) bool: the second is to be mirrored before.
        start: (P, 4) warps, as `registration.align` takes them.
        likeness: (P,) cosines.
    """

    first: Array
    second: Array
    mirrored: Array
    start: Array
    likeness: Array

    def __len__(self) -> int:
        return len(self.first)

    def part(self, which: slice | Array) -> Candidates:
        """Some of the pairs."""
        return Candidates(
            self.first[which],
            self.second[which],
            self.mirrored[which],
            self.start[which],
            self.likeness[which],
        )


def describe(thumbs: Array, window: tuple[float, float, float, float]) -> Array:
    """(N, S, S) grey thumbnails as unit vectors (N, D) of their low frequencies in `window`."""
    side = thumbs.shape[1]
    top, bottom, left, right = (edge * side for edge in window)
    rows = _cosines() @ _resampling(top, bottom, side)  # (K, S)
    columns = _cosines() @ _resampling(left, right, side)
    waves = rows @ thumbs.astype(np.float32) @ columns.T  # (N, K, K)
    frequency = _frequency()
    vectors = waves[:, _kept()] * frequency[_kept()]
    length = np.sqrt((vectors * vectors).sum(1, keepdims=True))
    unit: Array = (vectors / np.maximum(length, 1e-6)).astype(np.float32)
    return unit


def lookalikes(thumbs: Array, *, neighbours: int = NEIGHBOURS, alike: float = ALIKE) -> Candidates:
    """The pairs worth a closer look among (N, S, S) grey thumbnails."""
    described = _in_blocks(thumbs, WINDOWS[0])
    signs = _mirror_signs()
    cells = _Cells(described)
    # of each picture: the best neighbours so far, by which window, and whether mirrored
    found: dict[tuple[int, int], tuple[float, int, int, bool]] = {}
    total = len(thumbs) * len(WINDOWS)
    with events.stage("looking for look-alikes", total=total, unit="views") as advance:
        for number, window in enumerate(WINDOWS):
            asked = described if number == 0 else _in_blocks(thumbs, window)
            for mirrored in (False, True):
                query = asked * signs if mirrored else asked
                for row, other, cosine in cells.nearest(query, neighbours, alike):
                    key = (min(row, other), max(row, other))
                    if cosine > found.get(key, (0.0,))[0]:
                        found[key] = (cosine, row, number, mirrored)
            advance(len(thumbs))
    return _candidates(found, neighbours)


def _in_blocks(thumbs: Array, window: tuple[float, float, float, float]) -> Array:
    parts = [describe(thumbs[at : at + _BLOCK], window) for at in range(0, len(thumbs), _BLOCK)]
    return np.concatenate(parts) if parts else np.zeros((0, int(_kept().sum())), np.float32)


class _Cells:
    """Descriptions sorted by the nearest of a number of centres; one centre where they are few."""

    def __init__(self, described: Array) -> None:
        self._described = described
        count = len(described)
        self._centres = _centres(described, 1 if count < _CELLS_FROM else int(np.sqrt(count)))
        nearest = np.concatenate(
            [(part @ self._centres.T).argmax(1) for part in _parts(described)]
            or [np.zeros(0, np.int64)]
        )
        order = np.argsort(nearest, kind="stable")
        bounds = np.searchsorted(nearest[order], np.arange(len(self._centres) + 1))
        self._members = [order[low:high] for low, high in itertools.pairwise(bounds)]

    def nearest(
        self, query: Array, neighbours: int, alike: float
    ) -> Iterator[tuple[int, int, float]]:
        """(row of query, row of a member, cosine) of the nearest others that are alike."""
        asked = self._asked(query)
        for members, rows in zip(self._members, asked, strict=True):
            if not len(members):
                continue
            inside = self._described[members]
            for at in range(0, len(rows), _BLOCK):
                part = rows[at : at + _BLOCK]
                cosines = query[part] @ inside.T
                cosines[part[:, None] == members[None, :]] = -1  # itself
                keep = min(neighbours, len(members))
                best = np.argpartition(-cosines, keep - 1, axis=1)[:, :keep]
                values = np.take_along_axis(cosines, best, 1)
                for i, j in np.argwhere(values >= alike):
                    yield int(part[i]), int(members[best[i, j]]), float(values[i, j])

    def _asked(self, query: Array) -> list[Array]:
        """Which rows of the query look into each cell."""
        if len(self._centres) == 1:
            return [np.arange(len(query))]
        probes = min(_PROBES, len(self._centres))
        chosen = np.concatenate(
            [
                np.argpartition(-(part @ self._centres.T), probes - 1, axis=1)[:, :probes]
                for part in _parts(query)
            ]
        )
        rows = np.repeat(np.arange(len(query)), probes)
        order = np.argsort(chosen.ravel(), kind="stable")
        bounds = np.searchsorted(chosen.ravel()[order], np.arange(len(self._centres) + 1))
        return [rows[order[low:high]] for low, high in itertools.pairwise(bounds)]


def _parts(rows: Array) -> Iterator[Array]:
    for at in range(0, len(rows), 8 * _BLOCK):
        yield rows[at : at + 8 * _BLOCK]


def _centres(described: Array, count: int) -> Array:
    """Spherical k-means on a sample, from seeded rows; (count, D)."""
    if count == 1:
        return np.zeros((1, described.shape[1]), np.float32)
    random = np.random.default_rng(0)
    sample = described[random.permutation(len(described))[: 32 * count]]
    centres: Array = sample[:count].copy()
    for _ in range(4):
        nearest = (sample @ centres.T).argmax(1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, sample)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(length > 0, sums / np.maximum(length, 1e-6), centres)
    return centres.astype(np.float32)


def _candidates(
    found: dict[tuple[int, int], tuple[float, int, int, bool]], neighbours: int
) -> Candidates:
    """The best of each picture, with the warp that the window found by stands for."""
    taken: dict[int, int] = {}
    kept = []
    for key, best in sorted(found.items(), key=lambda item: (-item[1][0], item[0])):
        # Either of the two may still have room: a much copied picture has more than its share.
        if min(taken.get(key[0], 0), taken.get(key[1], 0)) < neighbours:
            taken[key[0]] = taken.get(key[0], 0) + 1
            taken[key[1]] = taken.get(key[1], 0) + 1
            kept.append((*key, *best))
    kept.sort()
    first = np.array([pair[0] for pair in kept], np.int64)
    second = np.array([pair[1] for pair in kept], np.int64)
    mirrored = np.array([pair[5] for pair in kept], bool)
    start = np.array(
        [_start(pair[4], asked_first=pair[3] == pair[0], mirrored=pair[5]) for pair in kept],
        np.float32,
    ).reshape(-1, 4)
    return Candidates(first, second, mirrored, start, np.array([pair[2] for pair in kept]))


def _start(window: int, *, asked_first: bool, mirrored: bool) -> tuple[float, ...]:
    """The warp from the first picture to the (mirrored) second.

    The one that asked shows in its window what the other shows as a whole.
    """
    top, bottom, left, right = WINDOWS[window]
    x, y = _stretch(left, right), _stretch(top, bottom)
    if not asked_first:
        # The window is the second's: invert. Mirrored, its left is the right of what is laid over.
        x = _stretch(1 - right, 1 - left) if mirrored else x
        x, y = _inverse(x), _inverse(y)
    return (*x, *y)


def _stretch(low: float, high: float) -> tuple[float, float]:
    """Positions in [-1, 1] of a whole to those of what lies between low and high of it."""
    scale = 1 / (high - low)
    return scale, scale * (1 - 2 * low) - 1


def _inverse(line: tuple[float, float]) -> tuple[float, float]:
    return 1 / line[0], -line[1] / line[0]


def _resampling(low: float, high: float, side: int) -> Array:
    """(GRID, side) weights of an antialiased (triangle) resize of pixels low..high."""
    step = (high - low) / _GRID
    centres = low + (np.arange(_GRID) + 0.5) * step - 0.5
    reach = max(step, 1.0)
    weights = np.maximum(0, 1 - np.abs(np.arange(side)[None] - centres[:, None]) / reach)
    shares: Array = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return shares


def _cosines() -> Array:
    """(FREQUENCIES, GRID) of the DCT-II."""
    at = (np.arange(_GRID) + 0.5) / _GRID
    waves = [np.cos(np.pi * at * wave) for wave in range(FREQUENCIES)]
    return np.stack(waves).astype(np.float32)


def _frequency() -> Array:
    waves = np.arange(FREQUENCIES)
    radius: Array = np.sqrt(waves[:, None] ** 2 + waves[None, :] ** 2).astype(np.float32)
    return radius


def _kept() -> Array:
    """Which frequencies count: all but the mean, within a quarter circle."""
    radius = _frequency()
    kept: Array = (radius > 0) & (radius <= FREQUENCIES - 0.5)
    return kept


def _mirror_signs() -> Array:
    """What mirroring does to a description: waves that are odd along x change their sign."""
    odd = (np.arange(FREQUENCIES) % 2 == 1)[None, :].repeat(FREQUENCIES, 0)
    return np.where(odd[_kept()], -1, 1).astype(np.float32)
