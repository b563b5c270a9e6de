"""audit and models: looking without changing anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone import storage
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.prepare.audit import Audit
from skipstone.prepare.audit import audit as audit_manifest
from skipstone.registry import BACKBONES, Entry
from skipstone.settings import Settings
from skipstone.verbs.places import output_folder


@dataclass(frozen=True)
class AuditResult:
    audit: Audit
    notes: tuple[str, ...]
    file: Path | None
    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        return {**self.audit.to_json(), "notes": list(self.notes)}


def audit(
    data: Path, *, out: str | Path | None = None, settings: dict[str, Any] | None = None
) -> AuditResult:
    """What is in the data and what is wrong with it. The data is not changed."""
    manifest = read_manifest(data, Settings(settings or {}).options(ReadOptions))
    found = audit_manifest(manifest)
    file = None
    if out is not None:
        folder = output_folder(out, default="audit", data=data)
        storage.make_folder(folder)
        file = folder / "audit.json"
        storage.write_json(file, found.to_json())
    return AuditResult(found, manifest.notes, file)


@dataclass(frozen=True)
class ModelsResult:
    rows: list[dict[str, Any]]
    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"models": self.rows}


def models(name: str | None = None) -> ModelsResult:
    """Name, parameters, MACs, input, weights and source of every model, or of one.

    MACs are multiply-accumulates of one input of the model's own size.

    Raises:
        UsageError: no such model; names the near ones.
    """
    if name is None:
        return ModelsResult([_describe(entry.name, entry) for entry in BACKBONES])
    return ModelsResult([_describe(name, BACKBONES[name])])


def _describe(name: str, entry: Entry) -> dict[str, Any]:
    facts: Mapping[str, Any] = entry.facts
    if "parameters" not in facts and name != entry.name:  # one of a family, such as timm/<name>
        facts = {**facts, **_counted(name)}
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


def _counted(name: str) -> dict[str, Any]:
    """What the catalogue cannot know of a family's member; this imports torch."""
    from skipstone.models.profile import profile_backbone
    from skipstone.models.weights import published

    known = published(name)
    cost = profile_backbone(name, size=known.size)
    return {
        "parameters": cost.parameters,
        "macs": cost.macs,
        "input_size": known.size,
        "pretrained": known.source,
    }
