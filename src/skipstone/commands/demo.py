"""skipstone demo: every step on a small real data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from skipstone.commands.base import Argument, Command, Output, Seed, command_function, to_path
from skipstone.commands.rendering import print_baseline

if TYPE_CHECKING:
    from skipstone.verbs.demo import DemoResult


@command_function
def demo(
    *,
    task: Annotated[
        str,
        Argument("classify (digits), segment (digits and their masks) or text (docstrings)"),
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
    from skipstone.verbs.demo import demo as run_demo

    return run_demo(out=to_path(out), seed=seed, task=task)


def print_result(result: DemoResult, output: Output) -> None:
    for columns, rows, title in result.tables():
        output.print_table(columns, rows, title=title)
        output.print_line()
    print_baseline(result.trained.baseline, output)
    output.print_line(f"Report:  {result.report}")
    output.print_line(f"Next:    {result.shown.next}", "bold")


COMMAND = Command(
    name="demo",
    order=10,
    function=demo,
    print_result=print_result,
    examples=("skipstone demo --task text",),
)
