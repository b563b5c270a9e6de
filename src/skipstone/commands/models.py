"""skipstone models: the models that can be trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from skipstone.commands.base import Argument, Command, Output, command_function
from skipstone.core.registry import BACKBONES
from skipstone.core.results import TableResult
from skipstone.core.specs import BackboneSpec, resolve_target


@dataclass(frozen=True)
class ModelsResult(TableResult):
    """The result of `models`: one row per model."""

    rows: list[dict[str, Any]]
    exit_code: int = 0

    def __repr__(self) -> str:
        from skipstone.workflows.run_result import format_result

        return format_result(
            self, {row["name"]: row["summary"] or row["source"] for row in self.rows}
        )

    def table_rows(self) -> list[dict[str, Any]]:
        return self.rows

    def to_json(self) -> dict[str, Any]:
        return {"models": self.rows}


@command_function
def list_models(
    name: Annotated[str | None, Argument("show this model in detail")] = None,
) -> ModelsResult:
    """List the models that can be trained, with parameters, MACs, input, weights and source.

    MACs are the multiply-accumulates for one input of the model's own size.

    Raises:
        UsageError: unknown model; the message names similar ones.
    """
    if name is None:
        return ModelsResult([_describe_model(entry.name, entry) for entry in BACKBONES])
    return ModelsResult([_describe_model(name, BACKBONES[name])])


def _describe_model(name: str, entry: BackboneSpec) -> dict[str, Any]:
    if entry.count_costs is not None and name != entry.name:  # one of a family, as timm/<name>
        entry = replace(entry, **resolve_target(entry.count_costs)(name))
    kinds, size = ", ".join(entry.accepts), entry.input_size
    return {
        "name": name,
        "parameters": entry.parameters,
        "macs": entry.macs,
        "input": f"{kinds} {size}" if size else kinds,
        "pretrained": entry.pretrained,
        "source": entry.source,
        "summary": entry.summary,
        "plugin": entry.distribution,
    }


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
