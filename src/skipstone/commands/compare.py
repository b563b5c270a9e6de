"""skipstone compare: score, size and latency of several models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from skipstone.commands.base import (
    Argument,
    Command,
    MaxBad,
    Output,
    Seed,
    command_function,
    to_list,
    to_path,
)
from skipstone.core.formatting import format_seconds, pluralize
from skipstone.report.text_format import format_bytes, format_percent

if TYPE_CHECKING:
    from skipstone.evaluation.intervals import Estimate
    from skipstone.workflows.compare_models import CompareResult


@command_function
def compare(
    models: Annotated[
        Path | str | Iterable[Path | str],
        Argument("runs, bundles, or names of untrained models", metavar="MODEL"),
    ],
    *,
    data: Annotated[Path | str | None, Argument("score all of them on this data")] = None,
    seed: Seed = 0,
    latency_seconds: Annotated[
        float, Argument("time to spend on measuring latency", python_only=True)
    ] = 8.0,
    out: Annotated[
        Path | str | None, Argument("write a page, compare.html, into this folder", metavar="DIR")
    ] = None,
    max_bad: MaxBad = None,
    **options: Annotated[Any, Argument("how to read `data`, such as text_column='body'")],
) -> CompareResult:
    """Compare models: score, latency, size, parameters and MACs.

    The seed draws the bootstrap resamples of the intervals.
    """
    from skipstone.workflows.compare_models import compare as compare_models

    return compare_models(
        [str(to_path(model)) for model in to_list(models)],
        data=to_path(data),
        seed=seed,
        latency_seconds=latency_seconds,
        out=to_path(out),
        max_bad=max_bad,
        settings=options,
    )


def print_result(result: CompareResult, output: Output) -> None:
    rows = []
    for row in result.rows:
        score, gap = row.accuracy, row.difference
        rows.append(
            [
                row.name,
                "" if score is None else f"{_interval(score, format_percent)} (n = {score.n:,})",
                "" if gap is None else f"{_interval(gap, '{:+.2f}'.format)} points",
                row.runtime,
                "{} [{}, {}]".format(
                    *(
                        format_seconds(row.latency[name] / 1000)
                        for name in ("median_ms", "p10_ms", "p90_ms")
                    )
                ),
                format_bytes(row.bytes),
                f"{row.parameters / 1e6:.2f} M",
                f"{row.macs / 1e6:,.0f} M",
                format_bytes(row.activation_bytes),
            ]
        )
    metrics = {row.metric for row in result.rows if row.metric}
    metric = metrics.pop() if len(metrics) == 1 else "score"
    costs = ("files", "parameters", "MACs", "activations")
    columns = ("model", metric, "difference to the first", "runtime", "latency", *costs)
    title = f"Batch 1, {pluralize(result.threads, 'thread')}, interleaved; median [10th, 90th percentile]"
    output.print_table(columns, rows, title=title)
    scored_on = {f"{row.name}: {row.scored_on}" for row in result.rows if row.scored_on}
    for sentence in sorted(scored_on):
        output.print_line(sentence)
    if result.page is not None:
        output.print_line(f"Page: {result.page}")


def _interval(estimate: Estimate, to_text: Callable[[float], str]) -> str:
    return f"{to_text(estimate.value)} [{to_text(estimate.low)}, {to_text(estimate.high)}]"


COMMAND = Command(
    name="compare",
    order=100,
    function=compare,
    print_result=print_result,
    examples=("skipstone compare runs/001 runs/002 --data photos/",),
    option_groups=("data",),
    everyday_options=("task", "label_column", "text_column", "exclude"),
)
