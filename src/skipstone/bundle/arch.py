"""Arch: a network as data. Names, JSON arguments, and the edits that shrinking made.

`models.build.build_network(arch, input)` gives the network; weights are then loaded strictly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Part:
    """A registry name and its JSON-able options."""

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "args": dict(self.args)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Part:
        name, args = value["name"], value["args"]
        if not isinstance(name, str) or not isinstance(args, dict):
            raise TypeError("a part is a name and its arguments")
        return Part(name, dict(args))


@dataclass(frozen=True, slots=True)
class Arch:
    """Backbone and head by name, and edits (resized layer, folded norm, ...) in order."""

    backbone: Part
    head: Part
    edits: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "backbone": self.backbone.to_json(),
            "head": self.head.to_json(),
            "edits": [dict(edit) for edit in self.edits],
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Arch:
        return Arch(
            Part.from_json(value["backbone"]),
            Part.from_json(value["head"]),
            tuple(dict(edit) for edit in value["edits"]),
        )
