"""The report of a training run: its story as data, put into sections."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from skipstone.report.blocks import Report, Section, from_json
from skipstone.report.receipts import receipt_block
from skipstone.report.words import count, duration, percent, size
from skipstone.shrink.words import ends

Json = Mapping[str, Any]

#: An interval wider than this (in shares) is called rough.
WIDE = 0.1
_ROLES = {
    "fit": "trains the network",
    "select": "decides: calibration, thresholds, and the epoch unless the last is kept",
    "claim": "scored once, afterwards: the figures above",
}


@dataclass(frozen=True, kw_only=True)
class TrainingStory:
    """All that a report of a run says, JSON-able, so that it can be told again with more.

    Args:
        headline: the name of the metric shown first.
        metrics: {"name", "title", "value", "low", "high", "n", "higher_is_better"} each.
        split: the data behind the metrics, in words; `role` is "claim" or "select".
        trained: names and values of what was trained, in order.
        roles: rows by role: {"fit": 800, "select": 100, "claim": 100}.
        classes: {"name", "fit", "select", "claim"} a class, rows of each role.
        parts: of rows that hold several: {"unit": "pixels", "most": rows of each role that were
            counted, "rows": as `classes`}, or None.
        notes: what was inferred about the data.
        unscored: {"name", "error"} of rows that could not be scored.
        history: a row an epoch, as `train.fit` gives them.
        best: the epoch whose weights were kept, or None where there are no epochs.
        sections: the task's blocks in their JSON form, with pictures.
        verification: {"ok", "max_difference", "flips", "rows"}.
        programs: {"name", "runtime", "precision", "bytes", "default"} each.
        receipts: of shrink, as it wrote them.
        members: of an ensemble: {"title", "rows", "verdict"}, a row a member: {"model", "name",
            "select", "value", "difference"} on the same samples, or None.
        baseline: {"model", "title", "value", "difference", "seconds", "verdict"} of a simple model
            on the same samples, or None.
    """

    title: str
    subtitle: str
    command: str
    headline: str
    metrics: list[dict[str, Any]]
    role: str
    split: str
    seed: int
    trained: list[list[Any]]
    roles: dict[str, int]
    classes: list[dict[str, Any]]
    notes: list[str]
    unscored: list[dict[str, Any]]
    history: list[dict[str, Any]]
    best: int | None
    sections: list[dict[str, Any]]
    verification: dict[str, Any]
    programs: list[dict[str, Any]]
    versions: dict[str, str]
    receipts: list[dict[str, Any]] = field(default_factory=list)
    baseline: dict[str, Any] | None = None
    parts: dict[str, Any] | None = None
    members: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = storable(asdict(self))
        return found

    @staticmethod
    def from_json(value: Json) -> TrainingStory:
        """TypeError for what is no story."""
        return TrainingStory(**value)


def storable(value: Any) -> Any:
    """The same data with None for NaN and infinity, which JSON does not have, and lone surrogates
    (of names that are no UTF-8) written as escapes, which UTF-8 does not have."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {str(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def training_report(story: TrainingStory) -> Report:
    """The sections in the order of a reader's questions: how good, how small, where wrong, why."""
    parts: list[tuple[str, list[Json]]] = [
        ("Result", _result(story)),
        ("Smaller and faster", list(map(receipt_block, story.receipts))),
        ("Where it is right and wrong", list(story.sections)),
        ("Data", _data(story)),
        ("Training", _training(story)),
        ("What ships", _ships(story)),
    ]
    sections = tuple(
        Section(title, tuple(map(from_json, blocks))) for title, blocks in parts if blocks
    )
    return Report(story.title, story.subtitle, story.command, sections, story.versions)


def _result(story: TrainingStory) -> list[Json]:
    by_name = {row["name"]: row for row in story.metrics}
    once = story.role == "claim"
    verdict = (
        "Scored once, on data that took no part in training or in any decision."
        if once
        else "Too little data to keep a part aside: these rows also chose the weights and the "
        "calibration, so the figure is somewhat too good."
    )
    headline = by_name[story.headline]
    if headline["high"] is not None and headline["high"] - headline["low"] > WIDE:
        verdict += f" With {headline['n']:,} samples it is a rough figure: mind the interval."
    blocks: list[Json] = [
        {
            "kind": "hero",
            "figure": headline,
            "split": story.split,
            "seed": story.seed,
            "verdict": verdict,
        },
        {
            "kind": "figures",
            "title": "All figures",
            "items": story.metrics,
            "note": "An interval says how far a figure could be off because other samples might "
            "have been drawn: proportions by Wilson's score interval, calibration errors by an "
            "inverted test, the others by BCa bootstrap over samples (over groups, where the data "
            "has groups). It does not cover another seed, nor data of another kind.",
        },
    ]
    if story.baseline is not None:
        blocks.append(_beside(story.baseline, headline))
    if story.members is not None:
        blocks.append(_members(story.members, headline))
    if story.unscored:
        blocks.append(
            _table(
                f"Not scored: {len(story.unscored):,}",
                [("file or label", "text"), ("why", "text")],
                [[row["name"], row["error"]] for row in story.unscored[:50]],
                "These rows are not in any figure." + _more(len(story.unscored), 50),
            )
        )
    return blocks


def _beside(baseline: Json, headline: Json) -> Json:
    """The model's headline metric and a simple model's, on the same samples."""
    rows = [
        ["this model", _span(headline), None],
        [baseline["model"], _span(baseline["value"]), f"{baseline['seconds']:.1f} s"],
        ["difference, paired", _span(baseline["difference"], signed=True), None],
    ]
    columns = [("model", "text"), (f"{baseline['title']}, %", "text"), ("found in", "text")]
    return _table("Beside the baseline", columns, rows, baseline["verdict"])


def _members(members: Json, headline: Json) -> Json:
    """An ensemble's headline metric beside those of its members, on the same samples."""
    rows = [["all together", "", None, _span(headline), ""]]
    for row in members["rows"]:
        gap = _span(row["difference"], signed=True)
        rows.append([row["model"], row["name"], row["select"], _span(row["value"]), gap])
    title = members["title"]
    columns = [("model", "text"), ("network", "text"), (f"{title} on select", "percent")]
    columns += [(f"{title} here, %", "text"), ("together - alone, points", "text")]
    return _table("Beside its members", columns, rows, members["verdict"])


def _span(estimate: Json, *, signed: bool = False) -> str:
    """ "87.5 (86.6 to 88.4)", of a share."""
    form = "{:+.1f}" if signed else "{:.1f}"
    value, low, high = (form.format(100 * v) for v in (estimate["value"], *ends(estimate)))
    return f"{value} ({low} to {high})"


def _data(story: TrainingStory) -> list[Json]:
    total = sum(story.roles.values())
    order = [role for role in _ROLES if role in story.roles]  # a stored story's is by name
    shares = [
        [role, _ROLES[role], story.roles[role], story.roles[role] / total if total else None]
        for role in order
    ]
    seen = [role for role in order if story.roles[role]]
    blocks: list[Json] = [
        _table(
            "Who saw what",
            [("role", "text"), ("what it does", "text"), ("rows", "number"), ("share", "percent")],
            shares,
        )
    ]
    if story.notes:
        blocks.append({"kind": "text", "title": "Noticed", "text": "\n\n".join(story.notes)})
    if story.classes:
        columns = [("class", "text")] + [
            (role, "bar" if role == "fit" else "number") for role in seen
        ]
        rows = [[item["name"], *(item.get(role, 0) for role in seen)] for item in story.classes]
        blocks.append(_table("Rows by class", columns, rows))
    if story.parts:
        blocks.append(_parts(story.parts, seen))
    return blocks


def _parts(parts: Json, roles: Sequence[str]) -> Json:
    """The classes' shares of each role's parts."""
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
    note = f"Shares of the labelled {unit}, over at most {parts['most']} rows of each role."
    return _table(f"{unit.capitalize()} by class", columns, shares, note)


def _training(story: TrainingStory) -> list[Json]:
    facts: Json = {"kind": "facts", "title": "", "items": story.trained}
    return [facts, *_curves(story)]


def _curves(story: TrainingStory) -> list[Json]:
    """Loss, the headline metric on select with the kept epoch marked, learning rate."""
    if not story.history:
        return []
    best = next((row for row in story.history if row["epoch"] == story.best), None)
    title = next((m["title"] for m in story.metrics if m["name"] == story.headline), story.headline)
    score = _line(story.history, title, lambda row: row["metrics"].get(story.headline))
    mark = None
    if best is not None and best["metrics"].get(story.headline) is not None:
        at = best["metrics"][story.headline]
        mark = {"x": best["epoch"], "y": at, "name": f"kept: epoch {best['epoch']}"}
    return [
        _chart("Loss while training", [_line(story.history, "loss", lambda row: row["loss"])]),
        {**_chart(f"{title} on select", [score]), "mark": mark},
        _chart("Learning rate", [_line(story.history, "rate", lambda row: row["lr"])]),
        *_gradients(story.history),
    ]


def _gradients(history: Sequence[Json]) -> list[Json]:
    """Norms of the gradients by depth, early and late: whether they vanish on the way down."""
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
        {**chart, "x": "stage that learns", "log": True},
        {"kind": "text", "title": "", "text": f"Stages: {names}."},
    ]


def _chart(title: str, series: Sequence[Json]) -> dict[str, Any]:
    return {"kind": "curves", "title": title, "x": "epoch", "series": series, "log": False}


def _line(history: Sequence[Json], name: str, value: Any) -> Json:
    points = [(row["epoch"], value(row)) for row in history]
    return {"name": name, "points": [[x, y] for x, y in points if y is not None]}


def _ships(story: TrainingStory) -> list[Json]:
    blocks: list[Json] = []
    if story.programs:
        rows = [
            [
                row["name"] + (" (default)" if row.get("default") else ""),
                row["runtime"],
                row["precision"],
                size(row["bytes"]),
            ]
            for row in story.programs
        ]
        names = ("program", "runtime", "precision", "size")
        blocks.append(_table("Programs", [(name, "text") for name in names], rows))
    blocks.append(_checks(story.verification))
    return blocks


def _checks(found: Json) -> Json:
    """A row a check of `verify`; of answers that have a class for each pixel also how many of these
    changed."""
    parts = any("share" in row for row in found.get("rows", ()))
    rows = []
    for row in found.get("rows", ()):
        limits = row.get("tolerance") or {}
        pixels = _allowed(row.get("share"), limits.get("share"), percent) if parts else None
        rows.append(
            [
                row["name"],
                "ok" if row["ok"] else f"DIFFERS: {row['problem']}",
                _allowed(row.get("max_difference"), limits.get("probability")),
                _allowed(row.get("flips"), limits.get("flips")),
                *([pixels] if parts else []),
                row.get("n"),
            ]
        )
    names = ["check", "result", "greatest difference (allowed)", "changed answers (allowed)"]
    names += ["changed pixels (allowed)"] if parts else []
    return _table(
        "Does it answer as it was trained?",
        [*((name, "text") for name in names), ("inputs", "number")],
        rows,
        "Asked again in a fresh process from the files' raw bytes; differences are of "
        "probabilities. " + ("Everything agrees." if found.get("ok") else "NOT everything agrees."),
    )


def _allowed(value: Any, limit: Any, form: Callable[[Any], str] | None = None) -> str | None:
    """`value (limit)`; the value alone where it has no limit."""
    if value is None:
        return None
    form = form or _short
    return form(value) if limit is None else f"{form(value)} ({form(limit)})"


def _short(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else f"{value:,}"


def model_facts(
    name: str, parameters: int, macs: int | None, recipe: str, seconds: float
) -> list[list[Any]]:
    """The first lines of what was trained."""
    facts: list[list[Any]] = [["Model", name], ["Parameters", count(parameters)]]
    if macs is not None:
        facts.append(["Multiply-accumulates a sample", count(macs)])
    return [*facts, ["Recipe", recipe], ["Took", duration(seconds)]]


def _table(
    title: str, columns: Sequence[tuple[str, str]], rows: list[Any], note: str = ""
) -> dict[str, Any]:
    named = [{"name": name, "format": form} for name, form in columns]
    return {"kind": "table", "title": title, "columns": named, "rows": rows, "note": note}


def _more(total: int, shown: int) -> str:
    return f" {total - shown:,} more are not listed." if total > shown else ""
