"""Pick a few training rows to show to people."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

from skipstone.errors import DataError

#: Number of rows.
ROWS = 12

T = TypeVar("T")


def examples(count: int, make: Callable[[int], T]) -> list[T]:
    """`make(row)` for ROWS evenly spaced positions among `count` rows.

    An unreadable row (DataError) is replaced by another; training reports and skips those.
    """
    limit, step = min(ROWS, count), max(1, count // ROWS)
    made: list[T] = []
    for row in dict.fromkeys((*range(0, count, step), *range(count))):
        if len(made) == limit:
            break
        with contextlib.suppress(DataError):
            made.append(make(row))
    return made
