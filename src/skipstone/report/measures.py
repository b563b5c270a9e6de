"""Blocks of measured values: metrics with intervals, and what a change cost and gained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


def finite_or_none(value: Any) -> float | None:
    """None for what is undefined: JSON has no NaN."""
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
        """Whether it reads best in percent: every figure that should be high is one of 0..1."""
        numbers = [v for v in (self.value, self.low, self.high) if v is not None]
        return self.higher_is_better and all(0 <= v <= 1 for v in numbers)


@dataclass(frozen=True, slots=True)
class Hero:
    """The headline.

    Args:
        split: the data behind it, in words.
        verdict: one sentence on what the figure can be trusted for.
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
    """All metrics beside each other."""

    title: str
    items: tuple[Figure, ...]
    note: str = ""

    @staticmethod
    def from_json(value: Json) -> Figures:
        items = tuple(map(Figure.of, value["items"]))
        return Figures(str(value["title"]), items, str(value.get("note", "")))


@dataclass(frozen=True, slots=True)
class Amount:
    """A measured value with its spread (low and high None where it is exact)."""

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
        unit: "percent" (shares), "bytes", "ms" or "number".
        words: the difference, said: "−0.4 points (−1.1 to 0.3)".
        good: whether the change is for the better; None where it is neither.
    """

    name: str
    unit: str
    before: Amount | None
    after: Amount | None
    words: str = ""
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a change to the model cost and gained: before and after, with intervals."""

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
