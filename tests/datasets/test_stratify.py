"""Iterative stratification: shares, rare labels, units of several rows."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from skipstone.datasets.stratify import RowUnit, stratify_units

SHARES = (0.7, 0.15, 0.15)


def units_of(labels: list[tuple[str, ...]]) -> list[RowUnit]:
    return [
        RowUnit(f"{number:05d}".encode(), (number,), Counter(names))
        for number, names in enumerate(labels)
    ]


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=120))
def test_one_label_each_lies_within_one_of_its_share(labels: list[str]) -> None:
    parts = stratify_units(units_of([(label,) for label in labels]), SHARES)
    counts = Counter(zip(labels, parts, strict=True))
    for label, total in Counter(labels).items():
        for part, share in enumerate(SHARES):
            assert abs(counts[label, part] - share * total) < 1 + 1e-9
        if total <= 2:
            assert counts[label, 0] == total


@given(
    st.lists(st.sets(st.sampled_from("abcd"), min_size=1, max_size=3), min_size=1, max_size=60),
    st.randoms(use_true_random=False),
)
def test_the_order_of_units_does_not_matter(labels: list[set[str]], random: object) -> None:
    units = units_of([tuple(sorted(names)) for names in labels])
    shuffled = list(units)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    expected = dict(zip((unit.rows for unit in units), stratify_units(units, SHARES), strict=True))
    found = dict(
        zip((unit.rows for unit in shuffled), stratify_units(shuffled, SHARES), strict=True)
    )
    assert found == expected


def test_tags_are_shared_out_better_than_by_chance() -> None:
    """Sechidis et al., section 5: mean deviation of label counts (LD) from their share, against
    random splits of the same sizes."""
    rng = np.random.default_rng(0)
    odds = np.array([0.5, 0.3, 0.1, 0.05, 0.02])
    chosen = rng.random((800, 5)) < odds
    labels = [tuple(np.flatnonzero(row).astype(str)) or ("none",) for row in chosen]
    parts = np.array(stratify_units(units_of(labels), SHARES))
    sizes = [(parts == part).mean() for part in range(3)]
    np.testing.assert_allclose(sizes, SHARES, atol=0.01)

    def deviation(parts: np.ndarray) -> float:
        rates = np.array([chosen[parts == part].mean(0) for part in range(3)])
        return float(np.abs(rates / chosen.mean(0) - 1).mean())

    chance = [deviation(rng.permutation(parts)) for _ in range(50)]
    assert deviation(parts) < min(chance) / 2


def test_large_units_leave_the_shares_as_near_as_they_can() -> None:
    sizes = [1, 2, 3, 4, 5, 6, 7, 8] * 5
    units, start = [], 0
    for number, size in enumerate(sizes):
        rows = tuple(range(start, start + size))
        units.append(RowUnit(bytes([number]), rows, {"a": size}))
        start += size
    parts = stratify_units(units, SHARES)
    held = np.bincount(parts, weights=sizes)
    np.testing.assert_allclose(held / start, SHARES, atol=0.02)


def test_ten_thousand_labels_take_no_longer_than_their_rows() -> None:
    labels = [(str(number % 10_000),) for number in range(30_000)]
    started = time.process_time()
    parts = stratify_units(units_of(labels), SHARES)
    assert time.process_time() - started < 5  # a look at every label for each would be minutes
    counts = Counter(zip(labels, parts, strict=True))
    assert all(counts[(str(number),), 0] == 2 for number in range(10_000))
