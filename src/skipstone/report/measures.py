"""Blocks of measured values: metrics with intervals, and receipts (before and after)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

Json = Mapping[str, Any]


def finite_or_none(value: Any) -> float | None:
    """None for NaN and infinity, which JSON lacks."""
    if value is None or not math.isfinite(float(value)):
        return None
    return float(value)


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A metric with its 95 % interval over `n` samples."""

    title: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    higher_is_better: bool = True

    @staticmethod
    def from_json(value: Json) -> MetricValue:
        return MetricValue(
            str(value["title"]),
            finite_or_none(value["value"]),
            finite_or_none(value["low"]),
            finite_or_none(value["high"]),
            int(value["n"]),
            bool(value.get("higher_is_better", True)),
        )

    @property
    def is_share(self) -> bool:
        """Whether to show it in percent: a metric where higher is better, with values in 0..1."""
        numbers = [v for v in (self.value, self.low, self.high) if v is not None]
        return self.higher_is_better and all(0 <= v <= 1 for v in numbers)


@dataclass(frozen=True, slots=True)
class HeadlineMetric:
    """The headline metric.

    Args:
        split: description of the rows behind it.
        verdict: how far the value can be trusted.
    """

    title: ClassVar[str] = ""
    note: ClassVar[str] = ""
    figure: MetricValue
    split: str
    seed: int
    verdict: str = ""

    @staticmethod
    def from_json(value: Json) -> HeadlineMetric:
        return HeadlineMetric(
            MetricValue.from_json(value["figure"]),
            str(value["split"]),
            int(value["seed"]),
            str(value.get("verdict", "")),
        )


@dataclass(frozen=True, slots=True)
class MetricTable:
    """All metrics in one table."""

    title: str
    items: tuple[MetricValue, ...]
    note: str = ""

    @staticmethod
    def from_json(value: Json) -> MetricTable:
        items = tuple(map(MetricValue.from_json, value["items"]))
        return MetricTable(str(value["title"]), items, str(value.get("note", "")))


@dataclass(frozen=True, slots=True)
class MeasuredValue:
    """A measured value with its interval; low and high are None for an exact value."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @staticmethod
    def from_json(value: Json | None) -> MeasuredValue | None:
        if value is None:
            return None
        return MeasuredValue(
            finite_or_none(value["value"]),
            finite_or_none(value.get("low")),
            finite_or_none(value.get("high")),
        )


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """One line of a receipt.

    Args:
        unit: "percent" (of shares), "bytes", "ms" or "number".
        words: the difference as text: "−0.4 points (−1.1 to 0.3)".
        good: True for an improvement, False for a loss, None for neither.
    """

    name: str
    unit: str
    before: MeasuredValue | None
    after: MeasuredValue | None
    words: str = ""
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class ReceiptBlock:
    """The model's accuracy, size and latency before and after a change, with intervals."""

    title: str
    verdict: str
    accepted: bool
    rows: tuple[ReceiptRow, ...]
    note: str = ""

    @staticmethod
    def from_json(value: Json) -> ReceiptBlock:
        rows = tuple(
            ReceiptRow(
                str(row["name"]),
                str(row["unit"]),
                MeasuredValue.from_json(row["before"]),
                MeasuredValue.from_json(row["after"]),
                str(row.get("words", "")),
                row.get("good"),
            )
            for row in value["rows"]
        )
        return ReceiptBlock(
            str(value["title"]),
            str(value["verdict"]),
            bool(value["accepted"]),
            rows,
            str(value.get("note", "")),
        )
