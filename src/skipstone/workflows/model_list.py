"""models: list the models that can be trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skipstone.core.registry import BACKBONES, Entry, resolve_target
from skipstone.workflows.result_repr import format_result


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


def _describe(name: str, entry: Entry) -> dict[str, Any]:
    facts: Mapping[str, Any] = entry.facts
    if "counted" in facts and name != entry.name:  # one model of a family, such as timm/<name>
        facts = {**facts, **resolve_target(facts["counted"])(name)}
    kinds = ", ".join(facts.get("accepts", ()))
    size = facts.get("input_size")
    return {
        "name": name,
        "parameters": facts.get("parameters"),
        "macs": facts.get("macs"),
        "input": f"{kinds} {size}" if size else kinds,
        "pretrained": facts.get("pretrained"),
        "source": entry.source,
        "summary": entry.summary,
        "plugin": entry.distribution,
    }
