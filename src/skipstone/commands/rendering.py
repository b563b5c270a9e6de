"""What the results of several commands show alike: metrics, verification, where a run is."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skipstone.commands.base import Output
from skipstone.compression.receipt_format import (
    describe_original_size,
    describe_size_ratio,
    format_ratio,
    interval_bounds,
)
from skipstone.core.formatting import (
    format_difference,
    format_duration,
    format_seconds,
    pluralize,
)
from skipstone.report.blocks import MetricValue
from skipstone.report.text_format import (
    format_bytes,
    format_metric,
    format_percent,
)

if TYPE_CHECKING:
    from skipstone.evaluation.intervals import Estimate
    from skipstone.evaluation.parity import Verification
    from skipstone.evaluation.scores import Scores
    from skipstone.tasks.base import Metric
    from skipstone.training.baseline import BaselineComparison
    from skipstone.workflows.run_result import RunResult


def print_metrics(scores: Scores, measures: Sequence[Metric], title: str, output: Output) -> None:
    """A table with a row per metric; below the headline what a model without skill would reach."""
    rows = metric_rows(scores.metrics, measures)
    if scores.errors is not None and scores.headline in scores.metrics:
        errors = scores.errors
        chance = format_metric(errors.majority, as_percent=True)
        rows.insert(1, [f"  chance level ({errors.majority_title})", chance, "", ""])
    columns = ("metric", "value", "95 % interval", "samples")
    output.print_table(columns, rows, title=title)
    if scores.skill != "trained":
        reason = "the result is hardly better than the chance level"
        if scores.skill != "not trained":
            reason = "the interval of the result includes the chance level"
        name = str(scores.skill)
        output.print_line(f"{name[0].upper()}{name[1:]}: {reason}.", "bold yellow")


def metric_rows(metrics: Mapping[str, Estimate], measures: Sequence[Metric]) -> list[list[str]]:
    """A row per metric: value, 95 % interval, number of samples; in the units of the report.

    Args:
        metrics: estimates by metric name.
        measures: title and unit of each metric, in order.
    """
    rows = []
    for measure in measures:
        estimate = metrics.get(measure.name)
        if estimate is None:
            continue
        spread = estimate.value, estimate.low, estimate.high
        is_share = MetricValue(
            measure.title, *spread, estimate.n, measure.higher_is_better
        ).is_share
        value, low, high = (format_metric(number, as_percent=is_share) for number in spread)
        rows.append([measure.title, value, f"{low} – {high}", f"{estimate.n:,}"])
    return rows


def print_baseline(baseline: BaselineComparison | None, output: Output) -> None:
    """Whether the model is better than the baseline of its input, where there is one."""
    if baseline is not None:
        output.print_line(baseline.verdict, "" if baseline.difference.low > 0 else "yellow")


def print_verification(verification: Verification, output: Output) -> None:
    names = [row["name"] for row in verification.rows if "max_difference" in row]
    shares = [row["share"] for row in verification.rows if "share" in row]
    pixels = f", at most {format_percent(max(shares))} of the pixels" if shares else ""
    if verification.ok:
        output.print_line(
            f"Verified from raw bytes in a fresh process: {', '.join(names)} "
            f"(largest difference in probability {format_difference(verification.max_difference)}, "
            f"{pluralize(verification.flips, 'prediction')} changed{pixels})",
            "green",
        )
    else:
        for problem in verification.problems:
            output.print_line(f"NOT VERIFIED: {problem}", "bold red")


def print_run(result: RunResult, output: Output) -> None:
    """Whether a run is verified, where its files are, and what to type next."""
    print_verification(result.verification, output)
    output.print_line(f"Model:   {result.bundle}  ({format_bytes(result.bytes)} of weights)")
    output.print_line(f"Report:  {result.report}")
    output.print_line(f"Took:    {format_duration(result.seconds)}")
    output.print_line()
    command = f"skipstone shrink {shlex.quote(str(result.run))}"
    if result.scores.skill != "trained":
        command = f"{result.report} says what to try"
    output.print_line(f"Next:    {command}", "bold")


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
            describe_size_ratio(sizes["smaller"]),
        ]
    )
    latency = receipt["latency"]
    if latency is not None:
        medians = {row["name"]: row["median_ms"] for row in latency["rows"]}
        for ratio in latency["ratios"]:
            rows.append(
                [
                    f"latency, batch {latency['batch']}, {pluralize(latency['threads'], 'thread')}",
                    f"{format_seconds(medians[ratio['slow']] / 1000)} ({ratio['slow']})",
                    f"{format_seconds(medians[ratio['fast']] / 1000)} ({ratio['fast']})",
                    format_ratio(ratio),
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
