"""How each verb's result looks on a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from skipstone.cli.terminal import Terminal
from skipstone.report.measures import Figure
from skipstone.report.words import duration, figure, percent, size
from skipstone.verbs.receipts import figures_table, receipt_table


def metric_rows(metrics: Mapping[str, Any], measures: Sequence[Any]) -> list[list[str]]:
    """One row a metric: its value, its 95 % interval, and over how many samples; in the units that
    reports and receipts have.

    Args:
        metrics: an estimate each, by name.
        measures: what they are, in order.
    """
    rows = []
    for measure in measures:
        if (found := metrics.get(measure.name)) is None:
            continue
        spread = found.value, found.low, found.high
        told = Figure(measure.title, *spread, found.n, measure.higher_is_better)
        value, low, high = (figure(number, as_percent=told.is_share) for number in spread)
        rows.append([measure.title, value, f"{low} – {high}", f"{found.n:,}"])
    return rows


_METRIC_COLUMNS = ("metric", "value", "95 % interval", "samples")


def audit(result: Any, terminal: Terminal) -> None:
    from skipstone.prepare.findings import KINDS

    for sentence in result.notes:
        terminal.line(sentence)
    found = result.audit
    terminal.line()
    hidden = {"findings", *(name for name in _RARE if not found.counts.get(name))}
    for text in describe_counts({k: v for k, v in found.counts.items() if k not in hidden}):
        terminal.line(text)
    terminal.line()
    if not found.findings:
        terminal.line("Nothing wrong was found.", "green")
    for kind in KINDS.values():
        same = [finding for finding in found.findings if finding.kind == kind.name]
        if same:
            _findings(kind, same, found.nouns, terminal)
    data = shlex.quote(str(result.data))
    if result.files:
        terminal.line(f"Written: {', '.join(str(path) for path in result.files.values())}")
        listed = shlex.quote(str(result.files["exclude"]))
        terminal.line(f"Next:    skipstone train {data} --exclude {listed}", "bold")
    elif found.findings:
        terminal.line(f"See it:  skipstone audit {data} --out audit", "bold")


_SHOWN = 3
#: Counts that say nothing where they are 0.
_RARE = ("groups", "links_cut", "turned_by_exif")


def _findings(kind: Any, findings: Sequence[Any], nouns: Any, terminal: Terminal) -> None:
    """A kind's title, its first few findings, and what to do about it."""
    files = len({path for finding in findings for path in finding.paths})
    many = f": {files:,} {nouns.unit}{'' if files == 1 else 's'}" if files else ""
    groups = f" in {len(findings):,} groups" if files and len(findings) > 1 else ""
    title = nouns.title(kind)
    title = title[0].upper() + title[1:]
    terminal.line(f"{title}{many}{groups}", "bold yellow")
    for finding in findings[:_SHOWN]:
        terminal.line(f"    {finding.message}")
    if len(findings) > _SHOWN:
        terminal.line(f"    and {len(findings) - _SHOWN:,} more")
    if len(findings) == 1 and len(findings[0].paths) > _SHOWN:
        for path in findings[0].paths[: 2 * _SHOWN]:
            terminal.line(f"        {path}")
        if len(findings[0].paths) > 2 * _SHOWN:
            terminal.line(f"        and {len(findings[0].paths) - 2 * _SHOWN:,} more")
    if kind.advice:
        terminal.line(f"    {nouns.advice(kind)}", "dim")


#: Classes that are counted one by one; --json has all of them.
_NAMES = 30


def describe_counts(counts: Mapping[str, Any]) -> list[str]:
    """The audit's counts, one line a key."""
    lines = []
    for name, value in counts.items():
        if isinstance(value, Mapping):
            shown = ", ".join(f"{key or '(none)'} {_short(item)}" for key, item in value.items())
        else:
            shown = _short(value)
        if shown:
            lines.append(f"{name.replace('_', ' ')}: {shown}")
    return lines


def _short(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping):
        few = [f"{key} {_short(item)}" for key, item in list(value.items())[:_NAMES]]
        more = f" and {len(value) - _NAMES:,} more" if len(value) > _NAMES else ""
        return f"({', '.join(few)}{more})"
    if isinstance(value, (list, tuple)):
        return " × ".join(_short(item) for item in value)
    return str(value)


def train(result: Any, terminal: Terminal) -> None:
    if hasattr(result, "file"):
        terminal.line(f"What training sees: {result.file}")
        return
    rows = metric_rows(result.metrics, result.measures)
    terminal.table(_METRIC_COLUMNS, rows, title=f"On {result.split}")
    _baseline(result.baseline, terminal)
    terminal.line()
    if result.calibration is not None:
        terminal.line(f"Temperature scaling: {result.calibration.reason}")
    _finished(result, terminal)


def _finished(result: Any, terminal: Terminal) -> None:
    """Whether a run is proven, where it is, and what to do next."""
    _verified(result.verification, terminal)
    terminal.line(f"Model:   {result.bundle}  ({size(result.bytes)} of weights)")
    terminal.line(f"Report:  {result.report}")
    terminal.line(f"Took:    {duration(result.seconds)}")
    terminal.line()
    terminal.line(f"Next:    skipstone shrink {shlex.quote(str(result.run))}", "bold")


def ensemble(result: Any, terminal: Terminal) -> None:
    rows = metric_rows(result.metrics, result.measures)
    terminal.table(_METRIC_COLUMNS, rows, title=f"On {result.split}")
    told = [[row.model, row.name, percent(row.select), *_alone(row)] for row in result.members]
    columns = ("member", "network", "on select", "here", "together - alone, points")
    terminal.table(columns, told, title="Beside its members")
    terminal.line(result.verdict, "" if result.better else "yellow")
    terminal.line()
    _finished(result, terminal)


def _alone(row: Any) -> tuple[str, str]:
    gap = row.difference
    low, high = 100 * gap.low, 100 * gap.high
    return percent(row.value.value), f"{100 * gap.value:+.1f} ({low:+.1f} to {high:+.1f})"


def _baseline(baseline: Any, terminal: Terminal) -> None:
    """Whether the model is better than the input's baseline, where it has one."""
    if baseline is not None:
        terminal.line(baseline.verdict, "" if baseline.difference.low > 0 else "yellow")


def _verified(verification: Any, terminal: Terminal) -> None:
    names = [row["name"] for row in verification.rows if "max_difference" in row]
    shares = [row["share"] for row in verification.rows if "share" in row]
    pixels = f", at most {percent(max(shares))} of the pixels" if shares else ""
    if verification.ok:
        terminal.line(
            f"Verified from raw bytes in a fresh process: {', '.join(names)} "
            f"(greatest difference in probability {verification.max_difference:.1e}, "
            f"{verification.flips} answers changed{pixels})",
            "green",
        )
    else:
        for problem in verification.problems:
            terminal.line(f"NOT VERIFIED: {problem}", "bold red")


def evaluate(result: Any, terminal: Terminal) -> None:
    title = f"{result.scores.split} ({result.runtime})"
    terminal.table(_METRIC_COLUMNS, metric_rows(result.metrics, result.measures), title=title)
    for bad in result.scores.evaluation.failures:
        terminal.line(f"unreadable: {bad.name}: {bad.error}", "yellow")


def predict(result: Any, terminal: Terminal) -> None:
    rows = []
    for row in result.to_json()["predictions"]:
        if "error" in row:
            rows.append([row["path"], "error", row["error"]])
        else:
            label, probability = row.get("label", ""), row.get("probability", "")
            if "share" in row:  # of an answer with parts, how much each label covers counts most
                probability = row["share"]
            several = isinstance(label, list)
            rows.append(
                [
                    row["path"],
                    ", ".join(map(str, label)) if several else label,
                    ", ".join(map(percent, probability)) if several else percent(probability),
                ]
            )
    shares = any("share" in row for row in result.to_json()["predictions"])
    terminal.table(("path", "label", "share" if shares else "probability"), rows)
    if result.out is not None:
        terminal.line(f"Written: {result.out}")


def shrink(result: Any, terminal: Terminal) -> None:
    from skipstone.shrink.receipt import verdict

    columns, rows, title = receipt_table(result.receipt)
    terminal.table(columns, rows, title=title)
    terminal.line()
    if result.accepted:
        columns, rows, title = figures_table(result.receipt)
        terminal.table(columns, rows, title=title)
        terminal.line()
    terminal.line(verdict(result.receipt), "green" if result.accepted else "bold red")
    if result.accepted:
        _verified(result.verification, terminal)
        terminal.line(f"Model:   {result.bundle}")
        terminal.line(f"Next:    skipstone verify {shlex.quote(str(result.bundle))}", "bold")


def export(result: Any, terminal: Terminal) -> None:
    rows = [[name, size(count)] for name, count in result.files.items()]
    terminal.table(("file", "size"), rows, title=f"{result.folder}")
    if result.next_command:
        terminal.line(f"Next:    {result.next_command}", "bold")


def verify(result: Any, terminal: Terminal) -> None:
    found = result.verification.rows
    parts = any("share" in row for row in found)  # answers that have a class for each pixel
    rows = []
    for row in found:
        measured = "max_difference" in row
        rows.append(
            [
                row["name"],
                "ok" if row["ok"] else "FAILED",
                f"{row['max_difference']:.1e}" if measured else "",
                f"{row['flips']} of {row['n']}" if measured else "",
                *([percent(row["share"]) if "share" in row else ""] if parts else []),
                row.get("problem") or "",
            ]
        )
    columns = ("check", "result", "max difference", "flips")
    terminal.table((*columns, *(["pixels changed"] if parts else []), "problem"), rows)
    for row in found:
        if "own" in row:
            terminal.line(f"{row['name']} is {row['own']['told']}.")
    terminal.line(
        "Every runtime answers as trained." if result.verification.ok else "Do not ship this.",
        "green" if result.verification.ok else "bold red",
    )


def compare(result: Any, terminal: Terminal) -> None:
    rows = []
    for row in result.rows:
        value, gap = row.accuracy, row.difference
        rows.append(
            [
                row.name,
                "" if value is None else f"{_interval(value, percent)} (n = {value.n:,})",
                "" if gap is None else f"{_interval(gap, _points)} points",
                row.runtime,
                "{median_ms:.2f} ms [{p10_ms:.2f}, {p90_ms:.2f}]".format(**row.latency),
                size(row.bytes),
                f"{row.parameters / 1e6:.2f} M",
                f"{row.macs / 1e6:,.0f} M",
                size(row.activation_bytes),
            ]
        )
    metrics = {row.metric for row in result.rows if row.metric}
    score = metrics.pop() if len(metrics) == 1 else "score"
    costs = ("files", "parameters", "MACs", "activations")
    columns = ("model", score, "to the first", "runtime", "latency", *costs)
    title = f"Batch 1, {result.threads} threads, interleaved; median [10th, 90th percentile]"
    terminal.table(columns, rows, title=title)
    scored = {f"{row.name}: {row.scored_on}" for row in result.rows if row.scored_on}
    for sentence in sorted(scored):
        terminal.line(sentence)


def _interval(estimate: Any, shown: Callable[[float], str]) -> str:
    return f"{shown(estimate.value)} [{shown(estimate.low)}, {shown(estimate.high)}]"


def _points(value: float) -> str:
    return f"{value:+.2f}"


def models(result: Any, terminal: Terminal) -> None:
    alone = len(result.rows) == 1  # then there is room for the whole source
    rows = [
        [
            row["name"],
            f"{row['parameters'] / 1e6:.2f} M" if row.get("parameters") else "",
            f"{row['macs'] / 1e6:,.0f} M" if row.get("macs") else "",
            row.get("input", ""),
            row.get("pretrained") or "",
            row["source"] if alone else row["source"].partition(",")[0],
        ]
        for row in result.rows
    ]
    terminal.table(("name", "parameters", "MACs", "input", "weights", "source"), rows)


def demo(result: Any, terminal: Terminal) -> None:
    for columns, rows, title in result.tables():
        terminal.table(columns, rows, title=title)
        terminal.line()
    _baseline(result.trained.baseline, terminal)
    terminal.line(f"Report:  {result.report}")
    terminal.line(f"Next:    {result.shown.next}", "bold")
