"""skipstone ensemble: several models of the same data as one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from skipstone.commands.base import (
    Argument,
    Command,
    MovedData,
    Output,
    Seed,
    command_function,
    to_list,
    to_path,
)
from skipstone.commands.rendering import print_metrics, print_run
from skipstone.report.text_format import format_percent

if TYPE_CHECKING:
    from skipstone.workflows.build_ensemble import EnsembleResult


@command_function
def ensemble(
    models: Annotated[
        Path | str | Iterable[Path | str],
        Argument("two or more runs (runs/001) or bundles", metavar="MODEL"),
    ],
    *,
    data: MovedData = None,
    out: Annotated[
        Path | str | None,
        Argument("folder of runs (default: runs, which gives its next number)", metavar="DIR"),
    ] = None,
    seed: Seed = 0,
) -> EnsembleResult:
    """Combine models of the same data into one that averages their probabilities."""
    from skipstone.workflows.build_ensemble import ensemble as combine_models

    paths = to_list(models)
    return combine_models(
        [to_path(path) for path in paths],
        data=to_path(data),
        out=to_path(out),
        seed=seed,
        command=COMMAND.to_words(models=paths, data=data, out=out, seed=seed),
    )


def print_result(result: EnsembleResult, output: Output) -> None:
    print_metrics(result.scores, result.metric_definitions, f"On {result.split}", output)
    rows = []
    for member in result.members:
        gap = member.difference
        interval = f"{100 * gap.low:+.1f} to {100 * gap.high:+.1f}"
        rows.append(
            [
                member.model,
                member.name,
                format_percent(member.val),
                format_percent(member.value.value),
                f"{100 * gap.value:+.1f} ({interval})",
            ]
        )
    columns = ("member", "network", "on val", "here", "ensemble - member, points")
    output.print_table(columns, rows, title="Compared with its members")
    output.print_line(result.verdict, "" if result.better else "yellow")
    output.print_line()
    print_run(result, output)


COMMAND = Command(
    name="ensemble",
    order=60,
    function=ensemble,
    print_result=print_result,
    examples=("skipstone ensemble runs/001 runs/002 runs/003",),
)
