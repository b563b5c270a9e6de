"""Figures on masks: confusion of pixels, IoU, and F1 of boundaries. Pure numpy.

Codes are uint8 (H, W), class numbers or IGNORE. A figure over nothing is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skipstone.data.masks import IGNORE

Array = np.ndarray
#: Boundaries match within this share of the picture's diagonal (Csurka et al. 2013, sec. 3.2) ...
TOLERANCE = 0.0075
#: ... and within a pixel at least, for small pictures.
LEAST_TOLERANCE = 1.0


def confusion(truth: Array, answer: Array, classes: int) -> Array:
    """(K, K) int64: pixels by truth (row) and answer (column); pixels of no class do not count."""
    counted = truth != IGNORE
    flat = truth[counted].astype(np.int64) * classes + answer[counted]
    return np.asarray(np.bincount(flat, minlength=classes * classes).reshape(classes, classes))


def intersection_over_union(matrix: Array) -> Array:
    """Jaccard index of each class, (K,); NaN for a class that is neither there nor answered."""
    hit = np.diagonal(matrix).astype(np.float64)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - hit
    return np.asarray(np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0))


def mean_of_present(values: Array) -> float:
    """Mean over what is no NaN; NaN where nothing is."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")


def boundary_f1(truth: Array, answer: Array, classes: int) -> dict[int, float]:
    """BF score of each class that has a boundary in the truth or in the answer.

    Csurka, Larlus, Perronnin: "What is a good evaluation measure for semantic segmentation?" (BMVC
    2013, sec. 3.2): precision is the share of the answer's boundary pixels that lie within a
    tolerance of the truth's, recall the reverse, and F1 their harmonic mean, by class and picture.
    A boundary pixel has a neighbour (above, below, left, right) of another class. Where the truth
    says nothing the answer says nothing either.
    """
    answer = np.where(truth == IGNORE, np.uint8(IGNORE), answer)
    radius = max(LEAST_TOLERANCE, TOLERANCE * float(np.hypot(*truth.shape)))
    edges = [boundaries(truth), boundaries(answer)]
    found: dict[int, float] = {}
    sizes, matched = [], []
    for first in range(0, classes, 64):  # as many classes as an integer has bits
        width = min(64, classes - first)
        bits = [
            _bits(codes, edge, first, width)
            for codes, edge in zip((truth, answer), edges, strict=True)
        ]
        near = [dilated(bit, radius) for bit in bits]
        for own, other, codes in ((0, 1, truth), (1, 0, answer)):
            inside = bits[own] != 0
            hit = (bits[own] & near[other]) != 0
            sizes.append(np.bincount(codes[inside], minlength=classes)[:classes])
            matched.append(np.bincount(codes[hit], minlength=classes)[:classes])
    truth_size, answer_size = (np.sum(sizes[own::2], axis=0) for own in (0, 1))
    truth_hit, answer_hit = (np.sum(matched[own::2], axis=0) for own in (0, 1))
    for code in range(classes):
        if truth_size[code] + answer_size[code] == 0:
            continue
        recall = truth_hit[code] / truth_size[code] if truth_size[code] else 0.0
        precision = answer_hit[code] / answer_size[code] if answer_size[code] else 0.0
        both = precision + recall
        found[code] = float(2 * precision * recall / both) if both else 0.0
    return found


def boundaries(codes: Array) -> Array:
    """bool (H, W): pixels with a neighbour of another class, IGNORE being one."""
    edge = np.zeros(codes.shape, bool)
    down, right = codes[1:] != codes[:-1], codes[:, 1:] != codes[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


def _bits(codes: Array, edge: Array, first: int, width: int) -> Array:
    """Unsigned integers (H, W): bit k is set on boundary pixels of class first + k."""
    kind = next(t for t in (np.uint8, np.uint16, np.uint32, np.uint64) if width <= 8 * t().nbytes)
    table = np.zeros(256, kind)
    table[first : first + width] = np.left_shift(np.ones(width, kind), np.arange(width, dtype=kind))
    table[IGNORE] = 0
    return np.asarray(table[codes] * edge)


def dilated(bits: Array, radius: float) -> Array:
    """Each pixel holds every bit that is set within `radius` (Euclidean) of it: all classes at
    once, a disc being rows of different widths."""
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


def sparse(matrix: Array) -> tuple[list[int], list[int]]:
    """Where a confusion matrix holds something (flat), and what: for records of many classes."""
    cells = np.flatnonzero(matrix)
    return cells.tolist(), matrix.ravel()[cells].tolist()


def flattened(
    rows: Sequence[tuple[Sequence[int], Sequence[float]]],
) -> tuple[Array, Array, Array]:
    """Sparse rows as three columns: place, value, and which row each is of."""
    sizes = [len(cells) for cells, _ in rows]
    cells = np.fromiter((c for row, _ in rows for c in row), np.int64, sum(sizes))
    values = np.fromiter((v for _, row in rows for v in row), np.float64, sum(sizes))
    return cells, values, np.repeat(np.arange(len(rows)), sizes)
