"""Iterative stratification: divide units into parts so that each part has its share of every label.

Sechidis, Tsoumakas, Vlahavas, "On the Stratification of Multi-Label Data" (ECML PKDD 2011),
figure 1, on units of several rows (a group, a set of duplicates) instead of single rows. With one
label per row it is ordinary stratification: every count is within 1 of its ideal.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

Label = Hashable


@dataclass(frozen=True, slots=True)
class RowUnit:
    """Rows that are never divided.

    Args:
        key: breaks ties; independent of the order of rows.
        rows: positions in the manifest.
        labels: how often each label occurs in these rows. Never empty: rows without a label have a
            pseudo-label, so that they are divided evenly too.
    """

    key: bytes
    rows: tuple[int, ...]
    labels: Mapping[Label, int]


def stratify_units(units: Sequence[RowUnit], shares: Sequence[float]) -> list[int]:
    """The part (an index into `shares`, which sum to 1) of each unit.

    The first part gets labels that are too rare to divide: its share should be the largest.
    Deterministic, and independent of the order of `units`.
    """
    total = sum(len(unit.rows) for unit in units)
    remaining: Counter[Label] = Counter()
    members: dict[Label, list[int]] = defaultdict(list)
    for number, unit in enumerate(units):
        for label, count in unit.labels.items():
            remaining[label] += count
            members[label].append(number)
    rows_wanted = [share * total for share in shares]
    wanted = {label: [share * n for share in shares] for label, n in remaining.items()}
    part = [-1] * len(units)
    labels = list(remaining)
    number_of = {label: number for number, label in enumerate(labels)}

    def priority(label: Label) -> tuple[int, str, int]:
        return remaining[label], str(label), number_of[label]

    def assign(number: int, label: Label) -> None:
        unit, missing = units[number], wanted[label]
        # The part that lacks most of this label; then most rows; then the earlier part.
        best = max(
            range(len(shares)), key=lambda p: (_rounded(missing[p]), _rounded(rows_wanted[p]), -p)
        )
        part[number] = best
        rows_wanted[best] -= len(unit.rows)
        for name, count in unit.labels.items():
            wanted[name][best] -= count
            remaining[name] -= count
            if name in open_labels:
                heapq.heappush(queue, priority(name))

    open_labels = set(remaining)
    queue = sorted(map(priority, labels))
    while queue:
        # Rarest label first: commoner ones can still compensate. A label is in the queue once per
        # change of its remaining count; the newest entry is the smallest and comes first.
        label = labels[heapq.heappop(queue)[-1]]
        if label not in open_labels:
            continue
        open_labels.remove(label)
        unassigned = [number for number in members[label] if part[number] < 0]
        # Large units first, while there is room for them.
        unassigned.sort(key=lambda number: (-units[number].labels[label], units[number].key))
        for number in unassigned:
            assign(number, label)
    return part


def _rounded(value: float) -> float:
    """0.15 * 20 - 3 should tie with 0, despite floating point."""
    return round(value, 9)
