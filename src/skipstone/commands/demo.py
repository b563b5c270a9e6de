"""skipstone demo: every step on a small real data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from skipstone.commands.base import Argument, Command, Output, Seed, command_function, to_path
from skipstone.commands.rendering import (
    make_receipt_table,
    print_baseline,
    print_metrics,
    print_verification,
)
from skipstone.core.formatting import format_duration

if TYPE_CHECKING:
    from skipstone.workflows.run_demo import DemoResult


@command_function
def demo(
    *,
    task: Annotated[
        str,
        Argument(
            "classify (digits), segment (digits and their masks), detect (digits and their "
            "boxes), text (docstrings) or audio (synthesised sounds)"
        ),
    ] = "classify",
    out: Annotated[
        Path | str | None,
        Argument("folder for the demo's data and run (default: demo)", metavar="DIR"),
    ] = None,
    seed: Seed = 0,
) -> DemoResult:
    """Run every step on a small data set, in about two minutes.

    Raises:
        UsageError: the task is unknown, or has no demo.
    """
    from skipstone.workflows.run_demo import demo as run_demo

    return run_demo(out=to_path(out), seed=seed, task=task)


def print_result(result: DemoResult, output: Output) -> None:
    unit = result.audited.audit.nouns.unit
    rows = [
        [row["path"], _format_field(row["label"]), _format_field(row["probability"])]
        for row in result.predicted.to_json()["predictions"]
        if "error" not in row
    ]
    output.print_table((unit, "prediction", "probability"), rows, title="A few predictions")
    output.print_line()
    columns, rows, title = make_receipt_table(result.shrunk.receipt)
    output.print_table(columns, rows, title=title)
    output.print_line()
    trained = result.trained
    title = f"{result.demonstration.title}, on {trained.split}"
    print_metrics(trained.scores, trained.metric_definitions, title, output)
    print_baseline(trained.baseline, output)
    print_verification(result.verified.verification, output)
    output.print_line(f"Took:    {format_duration(result.seconds)}")
    output.print_line(f"Report:  {result.report}")
    output.print_line(f"Next:    {result.demonstration.next_command}", "bold")


def _format_field(value: Any) -> str:
    """A label or a probability, or several of them."""
    if isinstance(value, list):
        return ", ".join(map(_format_field, value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)


COMMAND = Command(
    name="demo",
    order=10,
    function=demo,
    print_result=print_result,
    examples=("skipstone demo --task text",),
)
