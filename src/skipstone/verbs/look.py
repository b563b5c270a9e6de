"""audit and models: looking without changing anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone import storage
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.prepare.audit import Audit
from skipstone.prepare.audit import audit as audit_manifest
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
    """Name, parameters, MACs, input and source of every built-in model, or of one."""
    from skipstone.models.profile import describe_models

    return ModelsResult(describe_models(None if name is None else [name]))
