"""Near duplicates of recordings: the same sound in another format, louder, or with other ends.

Candidates are neighbours by a short description of each fingerprint; their full fingerprints are then
compared at every small shift in time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skipstone.audio.inspect_recording import RecordingContent
from skipstone.datasets.grouping import Link

#: Correlation from which two fingerprints are of one recording. Different recordings of one word by
#: one voice reach 0.967.
SAME = 0.97
#: Neighbours of each recording that are compared, of at least this similarity.
_NEIGHBOURS, _CANDIDATE = 6, 0.8
#: Segments of the description; frames by which copies may be shifted; share that has to overlap.
_SEGMENTS, _SHIFT, _OVERLAP = 8, 12, 0.75
_BLOCK = 1024
_MIN_FRAMES = 4


def find_near_duplicate_recordings(contents: Sequence[RecordingContent | None]) -> list[Link]:
    """`find_near_duplicates` of the spec of the input `audio`."""
    rows = [
        row
        for row, content in enumerate(contents)
        if content is not None and len(content.fingerprint) >= _MIN_FRAMES
    ]
    prints = [contents[row].fingerprint.astype(np.float32) for row in rows]  # type: ignore[union-attr]
    if len(rows) < 2:
        return []
    described = np.stack([_describe(values) for values in prints])
    links = []
    for first, second in _candidate_pairs(described):
        score = compare_fingerprints(prints[first], prints[second])
        if score >= SAME:
            links.append(Link(rows[first], rows[second], score))
    return links


def compare_fingerprints(one: np.ndarray, other: np.ndarray) -> float:
    """The greatest correlation of two fingerprints (T, BANDS) over small shifts in time."""
    best, shorter = 0.0, min(len(one), len(other))
    for shift in range(-_SHIFT, _SHIFT + 1):
        first, second = one[max(0, shift) :], other[max(0, -shift) :]
        count = min(len(first), len(second))
        if count < max(_MIN_FRAMES, _OVERLAP * max(shorter, 0.9 * max(len(one), len(other)))):
            continue
        # without each band's mean: steady sounds such as a hum would all be alike
        a = first[:count] - first[:count].mean(axis=0)
        b = second[:count] - second[:count].mean(axis=0)
        scale = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
        best = max(best, float((a * b).sum()) / max(scale, 1e-9))
    return best


def _describe(values: np.ndarray) -> np.ndarray:
    """A unit vector: the mean of each band in 8 segments, without the mean of all."""
    edges = np.linspace(0, len(values), _SEGMENTS + 1)
    at = np.minimum(((edges[:-1] + edges[1:]) / 2).astype(int), len(values) - 1)
    width = max(1, len(values) // (2 * _SEGMENTS))
    parts = [values[max(0, n - width) : n + width + 1].mean(axis=0) for n in at]
    vector = np.concatenate(parts)
    vector = vector - vector.mean()
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))


def _candidate_pairs(described: np.ndarray) -> list[tuple[int, int]]:
    pairs: set[tuple[int, int]] = set()
    count = min(_NEIGHBOURS + 1, len(described))
    for start in range(0, len(described), _BLOCK):
        similar = described[start : start + _BLOCK] @ described.T
        nearest = np.argpartition(-similar, count - 1, axis=1)[:, :count]
        for offset, columns in enumerate(nearest):
            row = start + offset
            for column in columns.tolist():
                if column != row and similar[offset, column] >= _CANDIDATE:
                    pairs.add((min(row, column), max(row, column)))
    return sorted(pairs)
