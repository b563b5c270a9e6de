"""Rows of texts, and figures on whether they were answered rightly, with intervals over texts."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def read_rows(path: Path) -> list[tuple[str, str]]:
    """(text, label) of a CSV with these columns."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def write_table(
    path: Path, train: Sequence[tuple[str, str]], test: Sequence[tuple[str, str]]
) -> None:
    """A CSV with the columns text, label and split."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "split"])
        writer.writerows([*row, "train"] for row in train)
        writer.writerows([*row, "test"] for row in test)


def paired(
    ours: list[tuple[int, bool]], theirs: list[tuple[int, bool]]
) -> tuple[float, float, float]:
    """Mean of paired gaps, and its 95 % interval over texts: one in several repeats counts once."""
    gaps = []
    for (text, good), (same, peer) in zip(ours, theirs, strict=True):
        assert text == same, "both answered the same texts in the same order"
        gaps.append((text, float(good) - float(peer)))
    return _mean(gaps)


def _mean(values: Sequence[tuple[int, float]]) -> tuple[float, float, float]:
    """Mean over texts (number, value), and its 95 % interval: one in several repeats counts once,
    with the mean of its values."""
    texts: dict[int, list[float]] = {}
    for text, value in values:
        texts.setdefault(text, []).append(value)
    means = np.array([np.mean(repeats) for repeats in texts.values()])
    error = 1.96 * means.std(ddof=1) / np.sqrt(len(means))
    return float(means.mean()), float(means.mean() - error), float(means.mean() + error)


def score(rows: Sequence[tuple[int, bool]]) -> str:
    """87.50 % (86.62 to 88.38): a model's accuracy with its interval over texts."""
    value, low, high = _mean([(text, float(good)) for text, good in rows])
    return f"{100 * value:.2f} % ({100 * low:.2f} to {100 * high:.2f})"
