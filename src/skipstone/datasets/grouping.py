"""Groups of near duplicates from links, without long chains.

Links are transitive, so a chain of pictures that are each similar to the next can join all rows
into one group, which no split could divide. A group of more than `MAX_GROUP_SHARE` of the rows therefore
loses its weakest links, step by step, until only strong links join it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Groups of more than this share of the rows lose their weakest links.
MAX_GROUP_SHARE = 0.01
#: Groups up to this size never do.
SMALL_GROUP = 8
#: Minimum scores of the links of a large group, one after the other. A group that is still large
#: after the last is one picture many times, and stays.
_MIN_SCORES = (0.90, 0.92, 0.94, 0.96, 0.98)


@dataclass(frozen=True, slots=True)
class Link:
    """Two rows that are near duplicates; `score` (0..1): how well their details agree."""

    first: int
    second: int
    score: float
    mirrored: bool = False


@dataclass(frozen=True)
class Groups:
    """Args:
    groups: rows of each group, ascending; two or more.
    links: their links, without those that were removed.
    removed_links: number of links that were removed.
    """

    groups: tuple[tuple[int, ...], ...]
    links: tuple[Link, ...]
    removed_links: int = 0


class DisjointSets:
    """Disjoint sets of numbers (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def find_root(self, item: int) -> int:
        parent = self._parent.setdefault(item, item)
        while parent != self._parent[parent]:
            self._parent[parent] = self._parent[self._parent[parent]]
            parent = self._parent[parent]
        self._parent[item] = parent
        return parent

    def join_items(self, items: Iterable[int]) -> None:
        roots = sorted({self.find_root(item) for item in items})
        for other in roots[1:]:
            self._parent[other] = roots[0]

    def list_sets(self) -> list[tuple[int, ...]]:
        """Each set ascending; sets in order of their smallest."""
        members: dict[int, list[int]] = defaultdict(list)
        for item in sorted(self._parent):
            members[self.find_root(item)].append(item)
        return sorted(tuple(rows) for rows in members.values())


def group_links(
    links: Sequence[Link],
    copies: Sequence[Sequence[int]],
    rows: int,
    *,
    max_share: float = MAX_GROUP_SHARE,
) -> Groups:
    """Groups by links and by equal bytes; larger ones than `max_share` of `rows` lose weak links.

    Rows with equal bytes always stay in one group.
    """
    limit = max(max_share * rows, SMALL_GROUP)
    strong = list(links)
    for score in _MIN_SCORES:
        large = {row for group in _join(strong, copies) if len(group) > limit for row in group}
        if not large:
            break
        strong = [link for link in strong if link.first not in large or link.score >= score]
    return Groups(tuple(_join(strong, copies)), tuple(strong), len(links) - len(strong))


def _join(links: Iterable[Link], copies: Iterable[Sequence[int]]) -> list[tuple[int, ...]]:
    union = DisjointSets()
    for group in copies:
        union.join_items(group)
    for link in links:
        union.join_items((link.first, link.second))
    return [group for group in union.list_sets() if len(group) > 1]
