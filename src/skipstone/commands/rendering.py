"""What the results of several commands show alike: metrics, verification, where a run is."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from skipstone.commands.base import Output
from skipstone.report.measures import MetricValue
from skipstone.report.text_format import (
    format_bytes,
    format_duration,
    format_metric,
    format_percent,
)

if TYPE_CHECKING:
    from skipstone.evaluation.intervals import Estimate
    from skipstone.evaluation.parity import Verification
    from skipstone.tasks.base import Metric
    from skipstone.training.baseline import BaselineComparison
    from skipstone.workflows.run_result import RunResult


def print_metrics(
    metrics: Mapping[str, Estimate], measures: Sequence[Metric], title: str, output: Output
) -> None:
    """A table with a row per metric."""
    columns = ("metric", "value", "95 % interval", "samples")
    output.print_table(columns, metric_rows(metrics, measures), title=title)


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
            f"(largest difference in probability {verification.max_difference:.1e}, "
            f"{verification.flips} predictions changed{pixels})",
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
    output.print_line(f"Next:    skipstone shrink {shlex.quote(str(result.run))}", "bold")
