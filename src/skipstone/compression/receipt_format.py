"""Text for the numbers of a receipt. Imports no torch: the terminal shows receipts without it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def interval_bounds(estimate: Mapping[str, Any]) -> tuple[float, float]:
    """The ends of the interval of an `Estimate` in JSON; null is an unbounded end."""
    low, high = estimate["low"], estimate["high"]
    return -math.inf if low is None else low, math.inf if high is None else high


def format_ratio(ratio: Mapping[str, Any]) -> str:
    """A speed ratio with its interval, as its words state it: for "2x slower", how many times slower.
    Without a steady control only the words."""
    low, high = ratio["low"], ratio["high"]
    if ratio["value"] is None:
        return f"{ratio['words']}: the control was not steady"
    if ratio["value"] < 1 and not low <= 1 <= high:
        low, high = 1 / high, 1 / low
    return f"{ratio['words']} [{low:.2f}, {high:.2f}]"


def describe_original_size(sizes: Mapping[str, Any]) -> str:
    """What `sizes["before"]` contains."""
    return "float32 weights and vocabulary" if sizes["input"][0] else "float32 weights"


def describe_size_ratio(ratio: float) -> str:
    """`ratio` is the size before, divided by the size after."""
    return f"{ratio:.2f}× smaller" if ratio >= 1 else f"{1 / ratio:.2f}× larger"
