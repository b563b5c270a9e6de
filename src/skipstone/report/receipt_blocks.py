"""Shrink's receipt as a report block: before and after, with an interval for each change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skipstone.compression.latency import NO_DIFFERENCE
from skipstone.compression.receipt import describe_verdict
from skipstone.compression.receipt_format import (
    describe_original_size,
    format_ratio_interval,
    interval_bounds,
)
from skipstone.report.text_format import format_number

Json = Mapping[str, Any]

_PARTS = {
    "val": "on the validation rows, which decided",
    "test": "on the test rows, which were used for no decision",
}


def build_receipt_block(receipt: Json) -> dict[str, Any]:
    """The block for a receipt in the form of `shrink.receipt.Receipt.to_json`."""
    rows = [_accuracy(receipt, part) for part in ("val", "test") if receipt[part] is not None]
    rows += [
        {"name": f["title"], "unit": f["unit"], "before": f["before"], "after": f["after"]}
        for f in receipt.get("figures", ())
        if f["name"] != receipt["metric"]
    ]
    rows.append(_size(receipt["sizes"]))
    note = "Accuracy: 95 % intervals. Changes are paired: both models on the same samples."
    latency = receipt["latency"]
    if latency is not None:
        rows += [_ratio(ratio, latency) for ratio in latency["ratios"]]
        control = latency["control"]
        note += (
            f" Latency: median of one prediction with its 10th and 90th percentile (batch "
            f"{latency['batch']}, {latency['threads']} threads, {latency['rounds']} interleaved "
            f"rounds). Ratios are taken within each round and have 95 % intervals. Control, "
            f"{control['fast']} against itself: {control['words']} {format_ratio_interval(control)}."
        )
    return {
        "kind": "receipt",
        "title": f"{receipt['plan']} (budget: {_points(receipt['max_drop'])})",
        "verdict": describe_verdict(receipt),
        "accepted": receipt["accepted"],
        "rows": rows,
        "note": note,
    }


def _accuracy(receipt: Json, part: str) -> dict[str, Any]:
    scores, budget = receipt[part], receipt["max_drop"]
    drop = scores["drop"]
    low, high = interval_bounds(drop)
    words = f"{_signed(-drop['value'])} points ({_signed(-high)} to {_signed(-low)})"
    return {
        "name": f"{receipt['title']} {_PARTS[part]} (n = {drop['n']:,})",
        "unit": "percent",
        "before": scores["before"],
        "after": scores["after"],
        "words": words,
        # a gain counts only if its whole interval is one; a loss within the budget is neutral
        "good": True if high < 0 else False if drop["value"] > budget else None,
    }


def _size(sizes: Json) -> dict[str, Any]:
    times = sizes["smaller"]
    return {
        "name": f"size: {describe_original_size(sizes)}, then {sizes['default']}",
        "unit": "bytes",
        "before": {"value": sizes["before"]},
        "after": {"value": sizes["ships"]},
        "words": f"{times:.2f}× smaller" if times >= 1 else f"{1 / times:.2f}× larger",
        "good": times > 1,
    }


def _ratio(ratio: Json, latency: Json) -> dict[str, Any]:
    rows = {row["name"]: row for row in latency["rows"]}
    differs = ratio["words"] != NO_DIFFERENCE
    return {
        "name": f"latency: {ratio['slow']}, then {ratio['fast']}",
        "unit": "ms",
        "before": _spread(rows[ratio["slow"]]),
        "after": _spread(rows[ratio["fast"]]),
        "words": f"{ratio['words']} {format_ratio_interval(ratio)}",
        "good": ratio["value"] > 1 if differs else None,
    }


def _spread(row: Json) -> dict[str, Any]:
    return {"value": row["median_ms"], "low": row["p10_ms"], "high": row["p90_ms"]}


def _points(budget: float) -> str:
    return f"{budget:g} point{'' if budget == 1 else 's'}"


def _signed(points: float) -> str:
    rounded = format_number(round(points, 2) + 0.0)
    return f"+{rounded}" if points > 0 and rounded != "0" else rounded
