"""The report of a run: its data (`ReportData`) arranged in sections of blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from skipstone.compression.latency import BUSY_SHARE, NO_DIFFERENCE, NOT_COMPARABLE
from skipstone.compression.receipt import describe_verdict
from skipstone.compression.receipt_format import (
    describe_original_size,
    describe_size_ratio,
    format_ratio,
    interval_bounds,
)
from skipstone.core.formatting import format_difference, format_duration, pluralize
from skipstone.report.blocks import Report, Section, block_from_json
from skipstone.report.report_schema import ReportData
from skipstone.report.text_format import (
    format_bytes,
    format_count,
    format_number,
    format_percent,
)
from skipstone.report.verdict import build_verdict

Json = Mapping[str, Any]

_PARTS = {
    "val": "on the validation rows, which decided",
    "test": "on the test rows, which were used for no decision",
}


def build_receipt_block(receipt: Json) -> dict[str, Any]:
    """The block for a receipt in the form of `shrink.receipt.Receipt.to_json`."""
    budget = receipt["max_drop"]
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
            f"{control['fast']} against itself: {format_ratio(control)}."
        )
        others = latency["used_by_others"]
        if not latency["steady"] or (others is not None and others > BUSY_SHARE):
            # a busy machine slows torch's threads most, which flatters the other programs
            note += " The machine was busy: these latencies are unreliable; measure again."
    return {
        "kind": "receipt",
        "title": f"{receipt['plan']} (budget: {budget:g} point{'' if budget == 1 else 's'})",
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
    return {
        "name": f"size: {describe_original_size(sizes)}, then {sizes['default']}",
        "unit": "bytes",
        "before": {"value": sizes["before"]},
        "after": {"value": sizes["ships"]},
        "words": describe_size_ratio(sizes["smaller"]),
        "good": sizes["smaller"] > 1,
    }


def _ratio(ratio: Json, latency: Json) -> dict[str, Any]:
    rows = {row["name"]: row for row in latency["rows"]}
    differs = ratio["words"] not in (NO_DIFFERENCE, NOT_COMPARABLE)
    return {
        "name": f"latency: {ratio['slow']}, then {ratio['fast']}",
        "unit": "ms",
        "before": _spread(rows[ratio["slow"]]),
        "after": _spread(rows[ratio["fast"]]),
        "words": format_ratio(ratio),
        "good": ratio["value"] > 1 if differs else None,
    }


def _spread(row: Json) -> dict[str, Any]:
    return {"value": row["median_ms"], "low": row["p10_ms"], "high": row["p90_ms"]}


def _signed(points: float) -> str:
    rounded = format_number(round(points, 2) + 0.0)
    return f"+{rounded}" if points > 0 and rounded != "0" else rounded


#: What a score of each role says.
_SCORED = {
    "test": "Scored once, on test data that was used neither for training nor for any decision.",
    "val": "There was too little data for a separate test set. These validation rows also chose "
    "the weights and the calibration, so the result is somewhat too good.",
    "folds": "The score belongs to the models of the cross-validation, of which each predicts rows "
    "that took part neither in its fit nor in a decision about it. The model of this run was fitted "
    "in the same way on all of the rows.",
}
#: A metric whose interval is wider than this (as a share of 1) is called a rough estimate.
ROUGH_INTERVAL = 0.1
_ROLES = {
    "train": "the model learns from these",
    "val": "used to choose the epoch (unless the last is kept), calibration and thresholds",
    "test": "scored once, at the end: the metrics above",
}


def build_training_report(story: ReportData) -> Report:
    """The sections in the order of a reader's questions: how good, how small, which mistakes, on
    what data, trained how, exported as what."""
    sections = [_fill_in_estimates(block, story.metrics) for block in story.sections]
    parts: list[tuple[str, list[Json]]] = [
        ("Result", _result(story)),
        ("Smaller and faster", list(map(build_receipt_block, story.receipts))),
        ("Where it is right and wrong", sections),
        ("Data", _data(story)),
        ("Training", _training(story)),
        ("Exported programs", _exports(story)),
    ]
    built = tuple(_build_section(title, blocks) for title, blocks in parts if blocks)
    return Report(story.title, story.subtitle, story.command, built, story.versions)


def _build_section(title: str, blocks: Sequence[Json]) -> Section:
    """Blocks with a true "folded" are for experts."""
    plain = [block_from_json(block) for block in blocks if not block.get("folded")]
    folded = [block_from_json(block) for block in blocks if block.get("folded")]
    return Section(title, tuple(plain), tuple(folded))


def _fill_in_estimates(block: Json, metrics: Sequence[Json]) -> Json:
    """The cells of a table's "estimate" columns name a metric: put its value and interval there."""
    columns = [
        number
        for number, column in enumerate(block.get("columns", ()))
        if column.get("format") == "estimate"
    ]
    if not columns:
        return block
    estimates = {row["name"]: [row["value"], row["low"], row["high"]] for row in metrics}
    rows = [
        [estimates.get(cell) if number in columns else cell for number, cell in enumerate(row)]
        for row in block["rows"]
    ]
    return {**block, "rows": rows}


def _result(story: ReportData) -> list[Json]:
    by_name = {row["name"]: row for row in story.metrics}
    verdict = _SCORED[story.role]
    headline = by_name[story.headline]
    if headline["high"] is not None and headline["high"] - headline["low"] > ROUGH_INTERVAL:
        verdict += (
            f" {pluralize(headline['n'], 'sample')} give only a rough estimate: see the interval."
        )
    blocks: list[Json] = [
        {
            "kind": "hero",
            "figure": headline,
            "split": story.split,
            "seed": story.seed,
            "verdict": verdict,
            **build_verdict(story),
        },
        {
            "kind": "figures",
            "folded": True,
            "title": "All metrics",
            "items": story.metrics,
            "note": "The 95 % interval shows how far a metric may be off because of which samples "
            "happened to be drawn. It does not cover training with another random seed, or data of "
            "another kind. Method: Wilson score interval for proportions, an inverted test for "
            "calibration errors, BCa bootstrap over samples (over groups, if the data has groups) "
            "for all others.",
        },
    ]
    if story.baseline is not None:
        blocks.append(_baseline(story.baseline, headline))
    if story.members is not None:
        blocks.append(_members(story.members, headline))
    if story.unscored:
        hidden = len(story.unscored) - 50
        blocks.append(
            _table(
                f"Not scored: {len(story.unscored):,}",
                [("file or label", "text"), ("reason", "text")],
                [[row["name"], row["error"]] for row in story.unscored[:50]],
                "No metric includes these rows."
                + (f" {hidden:,} more are not listed." if hidden > 0 else ""),
            )
        )
    return blocks


def _baseline(baseline: Json, headline: Json) -> Json:
    """The headline metric of the model and of a simple model, on the same samples."""
    rows = [
        ["this model", _span(headline), None],
        [baseline["model"], _span(baseline["value"]), f"{baseline['seconds']:.1f} s"],
        ["difference (paired)", _span(baseline["difference"], signed=True), None],
    ]
    columns = [("model", "text"), (f"{baseline['title']}, %", "text"), ("trained in", "text")]
    return _table("Compared with the baseline", columns, rows, baseline["verdict"])


def _members(members: Json, headline: Json) -> Json:
    """The headline metric of an ensemble and of its members, on the same samples."""
    rows = [["ensemble", "", None, _span(headline), ""]]
    for row in members["rows"]:
        gap = _span(row["difference"], signed=True)
        rows.append([row["model"], row["name"], row["val"], _span(row["value"]), gap])
    title = members["title"]
    columns = [("model", "text"), ("network", "text"), (f"{title}, validation rows", "percent")]
    columns += [(f"{title}, %", "text"), ("ensemble minus member, points", "text")]
    return _table("Compared with its members", columns, rows, members["verdict"])


def _span(estimate: Json, *, signed: bool = False) -> str:
    """ "87.5 (86.6 to 88.4)" for an estimate that is a share of 1."""
    pattern = "{:+.1f}" if signed else "{:.1f}"
    value, low, high = (
        pattern.format(100 * v) for v in (estimate["value"], *interval_bounds(estimate))
    )
    return f"{value} ({low} to {high})"


def _data(story: ReportData) -> list[Json]:
    total = sum(story.roles.values())
    order = [role for role in _ROLES if role in story.roles]  # a stored story sorts them by name
    shares = [
        [role, _ROLES[role], story.roles[role], story.roles[role] / total if total else None]
        for role in order
    ]
    used = [role for role in order if story.roles[role]]
    blocks: list[Json] = [
        _table(
            "How the rows were used",
            [("role", "text"), ("use", "text"), ("rows", "number"), ("share", "percent")],
            shares,
        )
    ]
    if story.notes:
        blocks.append({"kind": "text", "title": "Notes", "text": "\n\n".join(story.notes)})
    if story.classes:
        columns = [("class", "text")] + [
            (role, "bar" if role == "train" else "number") for role in used
        ]
        rows = [[item["name"], *(item.get(role, 0) for role in used)] for item in story.classes]
        blocks.append(_table("Rows by class", columns, rows))
    if story.class_counts_within_rows:
        blocks.append(_parts(story.class_counts_within_rows, used))
    return blocks


def _parts(parts: Json, roles: Sequence[str]) -> Json:
    """Each class's share of the pixels (or other parts) of each role."""
    unit, rows = parts["unit"], parts["rows"]
    totals = {role: sum(row.get(role, 0) for row in rows) for role in roles}
    shares = [
        [
            row["name"],
            *(row.get(role, 0) / totals[role] if totals[role] else None for role in roles),
        ]
        for row in rows
    ]
    columns = [("class", "text"), *((role, "percent") for role in roles)]
    note = f"Shares of the labelled {unit}, counted in at most {parts['most']} rows of each role."
    return _table(f"{unit.capitalize()} by class", columns, shares, note)


def _training(story: ReportData) -> list[Json]:
    facts = {"kind": "facts", "title": "Model and recipe", "items": story.trained}
    return [*_curves(story), {**facts, "folded": True}]


def _curves(story: ReportData) -> list[Json]:
    """Loss, the headline metric on the validation rows (with the kept epoch), learning rate."""
    if not story.history:
        return []
    best = next((row for row in story.history if row["epoch"] == story.best), None)
    title = next((m["title"] for m in story.metrics if m["name"] == story.headline), story.headline)
    score = _line(story.history, title, lambda row: row["metrics"].get(story.headline))
    mark = None
    if best is not None and best["metrics"].get(story.headline) is not None:
        value = best["metrics"][story.headline]
        mark = {"x": best["epoch"], "y": value, "name": f"kept: epoch {best['epoch']}"}
    return [
        _chart("Training loss", [_line(story.history, "loss", lambda row: row["loss"])]),
        {**_chart(f"{title} on the validation rows", [score]), "mark": mark},
        {
            **_chart("Learning rate", [_line(story.history, "rate", lambda row: row["lr"])]),
            "folded": True,
        },
        *({**block, "folded": True} for block in _gradients(story.history)),
    ]


def _gradients(history: Sequence[Json]) -> list[Json]:
    """Gradient norms by depth in the first and the last epoch: they show vanishing gradients."""
    measured = [row for row in history if len(row.get("gradients", ())) > 1]
    rows = [measured[0], measured[-1]] if len(measured) > 1 else measured
    series = [
        {
            "name": f"epoch {row['epoch']}",
            "points": [[depth, norm] for depth, norm in enumerate(row["gradients"].values(), 1)],
        }
        for row in rows
    ]
    if not series:
        return []
    names = ", ".join(f"{depth} {name}" for depth, name in enumerate(rows[-1]["gradients"], 1))
    chart = _chart("Gradient norm by depth", series)
    return [
        {**chart, "x": "trained stage", "log": True},
        {"kind": "text", "title": "", "text": f"Stages: {names}."},
    ]


def _chart(title: str, series: Sequence[Json]) -> dict[str, Any]:
    return {"kind": "curves", "title": title, "x": "epoch", "series": series, "log": False}


def _line(history: Sequence[Json], name: str, value: Any) -> Json:
    points = [(row["epoch"], value(row)) for row in history]
    return {"name": name, "points": [[x, y] for x, y in points if y is not None]}


def _exports(story: ReportData) -> list[Json]:
    blocks: list[Json] = []
    if story.programs:
        rows = [
            [
                row["name"] + (" (default)" if row.get("default") else ""),
                row["runtime"],
                row["precision"],
                format_bytes(row["bytes"]),
            ]
            for row in story.programs
        ]
        names = ("program", "runtime", "precision", "size")
        blocks.append(_table("Programs", [(name, "text") for name in names], rows))
    blocks.append(_checks(story.verification))
    return blocks


def _checks(verification: Json) -> Json:
    """One row per check of `verify`; for masks also the share of pixels that changed."""
    checks = verification.get("rows", ())
    per_pixel = any("share" in row for row in checks)
    rows = []
    for row in checks:
        limits = row.get("tolerance") or {}
        pixels = (
            _allowed(row.get("share"), limits.get("share"), format_percent) if per_pixel else None
        )
        rows.append(
            [
                row["name"],
                "ok" if row["ok"] else f"DIFFERS: {row['problem']}",
                _allowed(row.get("max_difference"), limits.get("probability")),
                _allowed(row.get("flips"), limits.get("flips")),
                *([pixels] if per_pixel else []),
                row.get("n"),
            ]
        )
    names = ["check", "result", "largest difference (allowed)", "changed predictions (allowed)"]
    names += ["changed pixels (allowed)"] if per_pixel else []
    result = "All checks passed." if verification.get("ok") else "SOME CHECKS FAILED."
    table = _table(
        "Does it give the same predictions as the trained model?",
        [*((name, "text") for name in names), ("inputs", "number")],
        rows,
        "A new process predicted the test inputs in the bundle again, from their raw bytes. "
        f"Differences are of probabilities. {result}",
    )
    return {**table, "folded": bool(verification.get("ok"))}


def _allowed(value: Any, limit: Any, form: Callable[[Any], str] | None = None) -> str | None:
    """`value (limit)`; the value alone if there is no limit."""
    if value is None:
        return None
    form = form or _short
    return form(value) if limit is None else f"{form(value)} ({form(limit)})"


def _short(value: Any) -> str:
    return format_difference(value) if isinstance(value, float) else f"{value:,}"


def describe_model(
    name: str, parameters: int, macs: int | None, recipe: str, seconds: float
) -> list[list[Any]]:
    """The first lines of `ReportData.trained`."""
    facts: list[list[Any]] = [["Model", name], ["Parameters", format_count(parameters)]]
    if macs is not None:
        facts.append(["Multiply-accumulates per sample", format_count(macs)])
    return [*facts, ["Recipe", recipe], ["Time", format_duration(seconds)]]


def _table(
    title: str, columns: Sequence[tuple[str, str]], rows: list[Any], note: str = ""
) -> dict[str, Any]:
    named = [{"name": name, "format": form} for name, form in columns]
    return {"kind": "table", "title": title, "columns": named, "rows": rows, "note": note}
