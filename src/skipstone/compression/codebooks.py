"""Optimal codebooks: k-means of single numbers.

In one dimension the best clusters are intervals, so a dynamic program over the sorted numbers finds
the optimum (Wang and Song 2011, The R Journal 3/2, Ckmeans.1d.dp). With E[c, j] the least sum of
squared errors of the first j numbers in c clusters:

    E[c, j] = min over i of E[c - 1, i] + error of numbers i to j - 1 in one cluster
"""

from __future__ import annotations

import numpy as np

#: The dynamic program takes this many points at most; more numbers are binned first.
MAX_POINTS = 512
_MAX_ITERATIONS = 100


def fit_codebook(values: np.ndarray, size: int) -> np.ndarray:
    """The means of `size` clusters of numbers, ascending, float64; fewer for fewer distinct numbers.

    Optimal for up to `MAX_POINTS` distinct numbers. For more, the optimum for `MAX_POINTS` bins of
    equal width is refined by Lloyd's algorithm on all numbers.

    Args:
        values: one-dimensional, finite, not empty.
    """
    points, counts = np.unique(values.astype(np.float64), return_counts=True)
    sums = points * counts
    squares = points * sums
    if len(points) > MAX_POINTS:
        edges = np.linspace(points[0], points[-1], MAX_POINTS + 1)
        bins = np.clip(np.searchsorted(edges, points, side="right") - 1, 0, MAX_POINTS - 1)
        binned = np.stack([np.bincount(bins, n, MAX_POINTS) for n in (counts, sums, squares)])
        is_used = binned[0] > 0
        starts = _find_cluster_starts(binned[:, is_used], size)
        starts = np.searchsorted(points, edges[:-1][is_used][starts])
    else:
        starts = _find_cluster_starts(np.stack([counts, sums, squares]), size)
    total_counts, total_sums = (np.concatenate([[0], np.cumsum(each)]) for each in (counts, sums))
    for _ in range(_MAX_ITERATIONS):
        ends = np.append(starts[1:], len(points))
        means = (total_sums[ends] - total_sums[starts]) / (
            total_counts[ends] - total_counts[starts]
        )
        middles = (means[1:] + means[:-1]) / 2
        moved = np.unique(np.concatenate([[0], np.searchsorted(points, middles)]))
        if np.array_equal(moved, starts):
            break
        starts = moved
    return np.asarray(means)


def _find_cluster_starts(points: np.ndarray, size: int) -> np.ndarray:
    """Index of the first point of each optimal cluster.

    Args:
        points: count, sum and sum of squares of the numbers at each of n points, ascending, (3, n).
    """
    n = points.shape[1]
    size = min(size, n)
    count, total, square = (np.concatenate([[0.0], np.cumsum(each)]) for each in points)
    with np.errstate(divide="ignore", invalid="ignore"):  # (n + 1, n + 1): numbers i to j - 1
        error = square - square[:, None] - (total - total[:, None]) ** 2 / (count - count[:, None])
    error[np.tril_indices(n + 1)] = np.inf  # no empty clusters
    least, choices = error[0], np.zeros((size, n + 1), dtype=np.int64)
    for cluster in range(1, size):
        sums_of_errors = least[:, None] + error
        choices[cluster] = sums_of_errors.argmin(0)
        least = np.take_along_axis(sums_of_errors, choices[cluster][None], 0)[0]
    starts = [n]
    for cluster in reversed(range(size)):
        starts.append(int(choices[cluster][starts[-1]]))
    return np.array(starts[:0:-1])


def assign_codes(values: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """Index of the nearest value of an ascending codebook, of the shape of `values`."""
    return np.searchsorted((codebook[1:] + codebook[:-1]) / 2, values)
