"""A shrink receipt as tables for the terminal: before, after and change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skipstone.compression.receipt_format import (
    describe_original_size,
    format_ratio_interval,
    interval_bounds,
)
from skipstone.report.text_format import format_bytes, format_metric

#: Columns, rows and title of a table.
TerminalTable = tuple[tuple[str, ...], list[list[str]], str]

_ROLES = {"test": "test rows", "val": "validation rows"}


def make_receipt_table(receipt: Mapping[str, Any]) -> TerminalTable:
    """Accuracy, size and latency; `receipt` is a `ShrinkReceipt.to_json`.

    In it metrics are shares of 1, and drops are in points (of 100).
    """
    rows = [
        _accuracy(receipt["title"], part)
        for part in (receipt["val"], receipt["test"])
        if part is not None
    ]
    sizes = receipt["sizes"]
    rows.append(
        [
            "exported files",
            f"{format_bytes(sizes['before'])} ({describe_original_size(sizes)})",
            f"{format_bytes(sizes['ships'])} ({sizes['default']})",
            _smaller(sizes["smaller"]),
        ]
    )
    latency = receipt["latency"]
    if latency is not None:
        medians = {row["name"]: row["median_ms"] for row in latency["rows"]}
        for ratio in latency["ratios"]:
            rows.append(
                [
                    f"latency, batch {latency['batch']}, {latency['threads']} threads",
                    f"{medians[ratio['slow']]:.2f} ms ({ratio['slow']})",
                    f"{medians[ratio['fast']]:.2f} ms ({ratio['fast']})",
                    f"{ratio['words']} {format_ratio_interval(ratio)}",
                ]
            )
    return ("what", "before", "after", "change [95 %]"), rows, f"Plan: {receipt['plan']}"


def make_metrics_table(receipt: Mapping[str, Any]) -> TerminalTable:
    """Every metric of the model before and after."""
    rows = [
        [
            row["title"],
            *(_estimate(row[when], row["unit"]) for when in ("before", "after")),
        ]
        for row in receipt["figures"]
    ]
    part = _ROLES[receipt["proven_on"]]
    columns = ("metric", "before [95 %]", "after [95 %]")
    return columns, rows, f"All metrics on {part}; after is {receipt['sizes']['default']}"


def _estimate(estimate: Mapping[str, Any], unit: str) -> str:
    value, low, high = (
        format_metric(estimate[name], as_percent=unit == "percent")
        for name in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"


def _accuracy(metric: str, part: Mapping[str, Any]) -> list[str]:
    before, after, drop = part["before"], part["after"], part["drop"]
    low, high = interval_bounds(drop)
    return [
        f"{metric} on {_ROLES.get(part['role'], part['role'])} (n = {drop['n']:,})",
        f"{before['value']:.2%}",
        f"{after['value']:.2%}",
        f"{0 - drop['value']:+.2f} points [{0 - high:+.2f}, {0 - low:+.2f}]",
    ]


def _smaller(ratio: float) -> str:
    return f"{ratio:.2f}× smaller" if ratio >= 1 else f"{1 / ratio:.2f}× larger"
