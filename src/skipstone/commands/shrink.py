"""skipstone shrink: a smaller, faster model within an accuracy budget."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from skipstone.commands.base import (
    Argument,
    Command,
    ModelPath,
    MovedData,
    Output,
    Seed,
    command_function,
    to_path,
)
from skipstone.commands.rendering import make_metrics_table, make_receipt_table, print_verification
from skipstone.core.registry import STEPS
from skipstone.report.text_format import format_bytes

if TYPE_CHECKING:
    from skipstone.compression.apply_plan import ShrinkResult

_PLAN_HELP = (
    f"steps in order, of {', '.join(STEPS.entry_names())}, such as "
    '"resolution(size=160), prune(macs=0.7), int8"'
)


@command_function
def shrink(
    model: ModelPath,
    *,
    max_drop: Annotated[
        float, Argument("points of the main metric that may be lost", metavar="POINTS")
    ] = 1.0,
    plan: Annotated[
        str,
        Argument(_PLAN_HELP, metavar="STEPS"),
    ] = "int8",
    data: MovedData = None,
    exclude: Annotated[
        Path | str | None,
        Argument(
            "for a bundle outside its run: the list of rows that training left out",
            metavar="FILE",
        ),
    ] = None,
    out: Annotated[
        Path | str | None,
        Argument("folder of the new bundle (default: next to the model)", metavar="DIR"),
    ] = None,
    seed: Seed = 0,
) -> ShrinkResult:
    """Make a model smaller and faster within an accuracy budget.

    The model itself is only read. Where every attempt loses more than `max_drop` points, the
    result says so.
    """
    from skipstone.workflows.shrink_model import shrink as shrink_model

    return shrink_model(
        to_path(model),
        max_drop=max_drop,
        plan=plan,
        data=to_path(data),
        exclude=to_path(exclude),
        out=to_path(out),
        seed=seed,
    )


def print_result(result: ShrinkResult, output: Output) -> None:
    from skipstone.compression.receipt import describe_verdict

    columns, rows, title = make_receipt_table(result.receipt)
    output.print_table(columns, rows, title=title)
    output.print_line()
    if result.accepted:
        columns, rows, title = make_metrics_table(result.receipt)
        output.print_table(columns, rows, title=title)
        output.print_line()
    output.print_line(describe_verdict(result.receipt), "green" if result.accepted else "bold red")
    if result.verification is not None:
        print_verification(result.verification, output)
        output.print_line(f"Model:   {result.bundle}")
        output.print_line(f"Holds:   {_describe_sizes(result)}")
        output.print_line(f"Next:    skipstone verify {shlex.quote(str(result.bundle))}", "bold")


def _describe_sizes(result: ShrinkResult) -> str:
    """What of the folder ships, and what remains in it for later steps."""
    ships, default = (result.receipt["sizes"][name] for name in ("ships", "default"))
    ships_text = f"{format_bytes(ships)} ship"
    if default == "torch-f32":
        return ships_text
    from skipstone.bundle.format import WEIGHTS_FILE

    weights = (Path(result.bundle) / WEIGHTS_FILE).stat().st_size
    return (
        f"{ships_text}, as `skipstone export` writes them; the folder also keeps "
        f"{format_bytes(weights)} of float weights, for `shrink` and `train --from`"
    )


COMMAND = Command(
    name="shrink",
    order=70,
    function=shrink,
    print_result=print_result,
    examples=(
        "skipstone shrink runs/001 --max-drop 1",
        'skipstone shrink runs/001 --plan "prune(macs=0.7), int8"',
    ),
)
