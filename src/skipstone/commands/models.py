"""skipstone models: the models that can be trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from skipstone.commands.base import Argument, Command, Output, command_function

if TYPE_CHECKING:
    from skipstone.workflows.model_list import ModelsResult


@command_function
def list_models(
    name: Annotated[str | None, Argument("show this model in detail")] = None,
) -> ModelsResult:
    """List the models that can be trained, with parameters, MACs, input, weights and source.

    MACs are the multiply-accumulates for one input of the model's own size.

    Raises:
        UsageError: unknown model; the message names similar ones.
    """
    from skipstone.workflows.model_list import list_models

    return list_models(name)


def print_result(result: ModelsResult, output: Output) -> None:
    is_one = len(result.rows) == 1  # then the whole source has room
    rows = [
        [
            row["name"],
            f"{row['parameters'] / 1e6:.2f} M" if row.get("parameters") else "",
            f"{row['macs'] / 1e6:,.0f} M" if row.get("macs") else "",
            row.get("input", ""),
            row.get("pretrained") or "",
            row["source"] if is_one else row["source"].partition(",")[0],
        ]
        for row in result.rows
    ]
    output.print_table(("name", "parameters", "MACs", "input", "weights", "source"), rows)


COMMAND = Command(
    name="models",
    order=110,
    function=list_models,
    print_result=print_result,
    examples=("skipstone models", "skipstone models resnet18"),
)
