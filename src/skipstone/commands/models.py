"""skipstone models: the models that can be trained."""

from __future__ import annotations

import itertools
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
        "family": entry.family or name,
        "input": f"{kinds} {size}" if size else kinds,
        "size": size,
        "pretrained": entry.pretrained,
        "source": entry.source,
        "summary": entry.summary,
        "plugin": entry.distribution,
    }


def print_result(result: ModelsResult, output: Output) -> None:
    columns = ("parameters", "MACs", "input", "weights", "source")
    if len(result.rows) == 1:  # then the whole source has room
        (row,) = result.rows
        output.print_table(
            ("name", *columns), [[row["name"], *_format_cells([row]), row["source"]]]
        )
        return
    families: dict[str, list[dict[str, Any]]] = {}
    for row in result.rows:
        families.setdefault(row["family"], []).append(row)
    rows = [
        [
            _join_names([row["name"] for row in members]),
            *_format_cells(members),
            members[0]["source"].partition(",")[0],
        ]
        for members in families.values()
    ]
    output.print_table(("name", *columns), rows)


def _format_cells(rows: list[dict[str, Any]]) -> list[str]:
    """Parameters, MACs, input and weights of one model, or their ranges in a family."""
    kinds = [row["input"].rpartition(" ") for row in rows if row["size"]]
    sizes = _format_range([row["size"] or 0 for row in rows], "{:.0f}")
    return [
        _format_range([(row["parameters"] or 0) / 1e6 for row in rows], "{:.2f}", " M"),
        _format_range([(row["macs"] or 0) / 1e6 for row in rows], "{:,.0f}", " M"),
        f"{kinds[0][0]} {sizes}" if kinds else rows[0]["input"],
        ", ".join(dict.fromkeys(row["pretrained"] for row in rows if row["pretrained"])),
    ]


def _format_range(values: list[float], style: str, unit: str = "") -> str:
    """
    >>> _format_range([1, 7, 2], "{:.1f}", " M"), _format_range([3], "{}"), _format_range([0], "{}")
    ('1.0 - 7.0 M', '3', '')
    """
    if not max(values):
        return ""
    ends = dict.fromkeys(style.format(value) for value in (min(values), max(values)))
    return " - ".join(ends) + unit


def _join_names(names: list[str]) -> str:
    """Names of a family as a shell writes them.

    >>> _join_names(["vgg11", "vgg11_bn", "vgg13"]), _join_names(["alexnet"])
    ('vgg{11,11_bn,13}', 'alexnet')
    """
    if len(names) == 1:
        return names[0]
    pairs = zip(min(names), max(names), strict=False)
    common = "".join(a for a, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    stem = common.rstrip("0123456789")
    return f"{stem}{{{','.join(name.removeprefix(stem) for name in names)}}}"


COMMAND = Command(
    name="models",
    order=110,
    function=list_models,
    print_result=print_result,
    examples=("skipstone models", "skipstone models resnet18"),
)
