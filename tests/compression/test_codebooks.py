"""Codebooks against brute force and scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.cluster import KMeans

from skipstone.compression.codebooks import MAX_POINTS, assign_codes, fit_codebook


def squared_error(values: np.ndarray, codebook: np.ndarray) -> float:
    return float(((values - codebook[assign_codes(values, codebook)]) ** 2).sum())


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9, 12])
def test_few_numbers_get_the_best_of_all_partitions(size: int) -> None:
    rng = np.random.default_rng(size)
    values = np.sort(np.append(rng.normal(size=8), [0.5, 0.5]))  # a number twice
    best = min(
        sum(((part - part.mean()) ** 2).sum() for part in np.split(values, cuts))
        for cuts in map(list, itertools.combinations(range(1, 10), min(size, 9) - 1))
    )
    codebook = fit_codebook(rng.permutation(values), size)
    assert squared_error(values, codebook) == pytest.approx(best, abs=1e-12)
    assert len(codebook) == min(size, 9)
    assert (np.diff(codebook) > 0).all()


@pytest.mark.parametrize("size", [4, 16])
def test_many_numbers_get_no_worse_clusters_than_from_scikit_learn(size: int) -> None:
    values = np.random.default_rng(0).standard_t(4, size=4 * MAX_POINTS)
    reference = KMeans(size, n_init=5, random_state=0).fit(values[:, None])
    assert squared_error(values, fit_codebook(values, size)) <= reference.inertia_ * 1.001


def test_each_number_gets_the_nearest_value() -> None:
    rng = np.random.default_rng(1)
    values, codebook = rng.normal(size=(20, 3)), np.sort(rng.normal(size=7))
    nearest = np.abs(values[..., None] - codebook).argmin(-1)
    np.testing.assert_array_equal(assign_codes(values, codebook), nearest)
