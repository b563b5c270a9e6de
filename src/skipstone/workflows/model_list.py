"""models: list the models that can be trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from skipstone.core.registry import BACKBONES
from skipstone.core.specs import BackboneSpec, resolve_target
from skipstone.workflows.run_result import format_result


@dataclass(frozen=True)
class ModelsResult:
    """The result of `models`: one row per model."""

    rows: list[dict[str, Any]]
    exit_code: int = 0

    def __repr__(self) -> str:
        return format_result(
            self, {row["name"]: row["summary"] or row["source"] for row in self.rows}
        )

    def to_json(self) -> dict[str, Any]:
        return {"models": self.rows}


def list_models(name: str | None = None) -> ModelsResult:
    """Name, parameters, MACs, input, weights and source of every model, or of the model `name`.

    MACs are multiply-accumulates for one input of the model's default size.

    Raises:
        UsageError: unknown model; suggests similar names.
    """
    if name is None:
        return ModelsResult([_describe(entry.name, entry) for entry in BACKBONES])
    return ModelsResult([_describe(name, BACKBONES[name])])


def _describe(name: str, entry: BackboneSpec) -> dict[str, Any]:
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
