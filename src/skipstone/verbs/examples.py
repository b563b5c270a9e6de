"""A few training rows that stand for all, to be shown to people."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

from skipstone.errors import DataError

#: Rows that are shown.
ROWS = 12

T = TypeVar("T")


def examples(count: int, make: Callable[[int], T]) -> list[T]:
    """What `make` gives for ROWS of `count` rows (positions), spread over all of them.

    Where one cannot be read (a DataError) another takes its place: training lists and leaves out
    what is unreadable.
    """
    wanted, step = min(ROWS, count), max(1, count // ROWS)
    found: list[T] = []
    for row in dict.fromkeys((*range(0, count, step), *range(count))):
        if len(found) == wanted:
            break
        with contextlib.suppress(DataError):
            found.append(make(row))
    return found
