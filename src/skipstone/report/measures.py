"""Blocks of measured values: metrics with intervals, and receipts (before and after)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


def finite_or_none(value: Any) -> float | None:
    """None for NaN and infinity, which JSON lacks."""
    if value is None or not math.isfinite(float(value)):
        return None
    return float(value)


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric with its 95 % interval over `n` samples."""

    title: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    higher_is_better: bool = True

    @staticmethod
    def of(value: Json) -> Figure:
        return Figure(
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
class Hero:
    """The headline metric.

    Args:
        split: description of the rows behind it.
        verdict: how far the value can be trusted.
    """

    figure: Figure
    split: str
    seed: int
    verdict: str = ""

    @staticmethod
    def from_json(value: Json) -> Hero:
        return Hero(
            Figure.of(value["figure"]),
            str(value["split"]),
            int(value["seed"]),
            str(value.get("verdict", "")),
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """All metrics in one table."""

    title: str
    items: tuple[Figure, ...]
    note: str = ""

    @staticmethod
    def from_json(value: Json) -> Figures:
        items = tuple(map(Figure.of, value["items"]))
        return Figures(str(value["title"]), items, str(value.get("note", "")))


@dataclass(frozen=True, slots=True)
class Amount:
    """A measured value with its interval; low and high are None for an exact value."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @staticmethod
    def of(value: Json | None) -> Amount | None:
        if value is None:
            return None
        return Amount(
            finite_or_none(value["value"]),
            finite_or_none(value.get("low")),
            finite_or_none(value.get("high")),
        )


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a receipt.

    Args:
        unit: "percent" (of shares), "bytes", "ms" or "number".
        words: the difference as text: "−0.4 points (−1.1 to 0.3)".
        good: True for an improvement, False for a loss, None for neither.
    """

    name: str
    unit: str
    before: Amount | None
    after: Amount | None
    words: str = ""
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The model's accuracy, size and latency before and after a change, with intervals."""

    title: str
    verdict: str
    accepted: bool
    rows: tuple[Change, ...]
    note: str = ""

    @staticmethod
    def from_json(value: Json) -> Receipt:
        rows = tuple(
            Change(
                str(row["name"]),
                str(row["unit"]),
                Amount.of(row["before"]),
                Amount.of(row["after"]),
                str(row.get("words", "")),
                row.get("good"),
            )
            for row in value["rows"]
        )
        return Receipt(
            str(value["title"]),
            str(value["verdict"]),
            bool(value["accepted"]),
            rows,
            str(value.get("note", "")),
        )
