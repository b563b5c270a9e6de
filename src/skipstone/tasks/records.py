"""Records as columns, so that a thousand bootstrap resamples of them cost milliseconds each."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar, overload

import numpy as np

from skipstone.tasks.base import Record, Task

T = TypeVar("T")


def compute_finite_metrics(task: Task, records: Sequence[Record]) -> dict[str, float]:
    """Every metric of `task` that is finite on these records."""
    return {
        name: value for name, value in task.compute_metrics(records).items() if math.isfinite(value)
    }


class RecordTable(Sequence[Record]):
    """A sequence of records that is also a set of columns with one weight per row.

    A resample keeps the rows and changes only their weights. A task that computes its metrics from
    `column` and `weight` therefore converts and sorts once. A task that iterates gets each record
    as often as it was drawn: the same result, slower.

    Attributes:
        weight: (rows,) float64, how often each record counts; all ones before a resample.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._rows: Sequence[Record] = records
        self._cache: dict[Hashable, Any] = {}
        self._order: np.ndarray | None = None
        self.weight = np.ones(len(records))

    @staticmethod
    def from_records(records: Sequence[Record]) -> RecordTable:
        return records if isinstance(records, RecordTable) else RecordTable(records)

    def with_weights(self, weight: np.ndarray) -> RecordTable:
        """The same rows, each counted `weight` (whole numbers >= 0) times."""
        assert weight.shape == (len(self._rows),), "one weight per row"
        table = RecordTable.__new__(RecordTable)
        table._rows, table._cache, table._order = self._rows, self._cache, None
        table.weight = weight.astype(np.float64)
        return table

    @property
    def rows(self) -> Sequence[Record]:
        """Every row once, whatever its weight; parallel to `weight` and to columns."""
        return self._rows

    def get_column(self, name: str) -> np.ndarray:
        """float64 (rows,) or (rows, K)."""
        return self.get_cached(
            ("column", name), lambda: np.array([row[name] for row in self._rows], np.float64)
        )

    def encode_column(self, name: str, values: Sequence[str]) -> np.ndarray:
        """int64 (rows,): the index in `values` of each row's `name`."""

        def encode() -> np.ndarray:
            index = {value: code for code, value in enumerate(values)}
            return np.array([index[row[name]] for row in self._rows], np.int64)

        return self.get_cached(("codes", name), encode)

    def get_cached(self, key: Hashable, make: Callable[[], T]) -> T:
        """Compute what depends on rows, not on weights, once for all resamples."""
        if key not in self._cache:
            self._cache[key] = make()
        value: T = self._cache[key]
        return value

    def __len__(self) -> int:
        return int(self.weight.sum())

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if self._order is None:
            self._order = np.repeat(np.arange(len(self._rows)), self.weight.astype(np.int64))
        if isinstance(index, slice):
            return [self._rows[row] for row in self._order[index]]
        return self._rows[int(self._order[index])]
