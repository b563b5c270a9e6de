"""Rows that belong together: groups from links, kept from chaining into one.

One link too many joins two groups, and a chain of pictures that are each a little like the next
can take in everything: then no split is left that keeps groups whole. So a group that holds more
than `LARGEST` of the rows has its links tightened, weakest first, until what is left holds
together by strong links only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: The share of all rows from which on a group of look-alikes is looked at again.
LARGEST = 0.01
#: Groups up to this size are left alone, however few rows there are.
SMALL_GROUP = 8
#: Scores that the links of a large group have to reach, one after the other. Whatever still holds
#: together at the last is one picture many times over, and stays whole.
_TIGHTER = (0.90, 0.92, 0.94, 0.96, 0.98)


@dataclass(frozen=True, slots=True)
class Link:
    """Two rows that show the same. `score` is in 0..1: how well their details agree."""

    first: int
    second: int
    score: float
    mirrored: bool = False


@dataclass(frozen=True)
class Groups:
    """Args:
    groups: rows of each group, ascending; two or more.
    links: those that hold them, without what was cut.
    cut: links that were given up because of chains.
    """

    groups: tuple[tuple[int, ...], ...]
    links: tuple[Link, ...]
    cut: int = 0


class Union:
    """Disjoint sets of numbers that are joined (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def find(self, item: int) -> int:
        parent = self._parent.setdefault(item, item)
        while parent != self._parent[parent]:
            self._parent[parent] = self._parent[self._parent[parent]]
            parent = self._parent[parent]
        self._parent[item] = parent
        return parent

    def join(self, items: Iterable[int]) -> None:
        found = sorted({self.find(item) for item in items})
        for other in found[1:]:
            self._parent[other] = found[0]

    def sets(self) -> list[tuple[int, ...]]:
        """Each set ascending, in order of its smallest."""
        members: dict[int, list[int]] = defaultdict(list)
        for item in sorted(self._parent):
            members[self.find(item)].append(item)
        return sorted(tuple(rows) for rows in members.values())


def tightened(
    links: Sequence[Link], copies: Sequence[Sequence[int]], rows: int, *, largest: float = LARGEST
) -> Groups:
    """Groups by links and by equal bytes, of which no chain holds more than `largest` of `rows`.

    Equal bytes always hold together.
    """
    limit = max(largest * rows, SMALL_GROUP)
    kept = list(links)
    for score in _TIGHTER:
        large = {row for group in _joined(kept, copies) if len(group) > limit for row in group}
        if not large:
            break
        kept = [link for link in kept if link.first not in large or link.score >= score]
    return Groups(tuple(_joined(kept, copies)), tuple(kept), len(links) - len(kept))


def _joined(links: Iterable[Link], copies: Iterable[Sequence[int]]) -> list[tuple[int, ...]]:
    union = Union()
    for group in copies:
        union.join(group)
    for link in links:
        union.join((link.first, link.second))
    return [group for group in union.sets() if len(group) > 1]
