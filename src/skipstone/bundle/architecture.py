"""Arch: a network as data: names, JSON arguments, and edits by compression.

`models.build.build_network(arch, input)` builds the network; weights are then loaded strictly. An
`EnsembleArch` is several networks whose predictions are averaged (`models.ensemble.build_ensemble`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skipstone.core.errors import Refusal

#: Maximal number of networks in an ensemble; bounds the work of reading an untrusted bundle.
MAX_MEMBERS = 64

#: How logits become probabilities.
ACTIVATIONS = ("softmax", "sigmoid")


@dataclass(frozen=True, slots=True)
class ComponentConfig:
    """A registry name and its JSON-able options."""

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "args": dict(self.args)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ComponentConfig:
        name, args = value["name"], value["args"]
        if not isinstance(name, str) or not isinstance(args, dict):
            raise TypeError("a component is a name and its arguments")
        return ComponentConfig(name, dict(args))


@dataclass(frozen=True, slots=True)
class Arch:
    """Backbone and head by name, and edits (resized layer, folded norm, ...) in order."""

    backbone: ComponentConfig
    head: ComponentConfig
    edits: tuple[Mapping[str, Any], ...] = ()

    @property
    def name(self) -> str:
        return self.backbone.name

    @property
    def networks(self) -> tuple[Arch, ...]:
        return (self,)

    def to_json(self) -> dict[str, Any]:
        return {
            "backbone": self.backbone.to_json(),
            "head": self.head.to_json(),
            "edits": [dict(edit) for edit in self.edits],
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Arch:
        return Arch(
            ComponentConfig.from_json(value["backbone"]),
            ComponentConfig.from_json(value["head"]),
            tuple(dict(edit) for edit in value["edits"]),
        )


@dataclass(frozen=True, slots=True)
class MemberConfig:
    """A network of an ensemble.

    Args:
        arch: its architecture.
        input: index of the bundle's input that it takes, from 0.
        temperature: divides its logits before averaging.
    """

    arch: Arch
    input: int = 0
    temperature: float = 1.0

    def to_json(self) -> dict[str, Any]:
        return {
            "arch": self.arch.to_json(),
            "input": self.input,
            "temperature": self.temperature,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> MemberConfig:
        input, temperature = value["input"], float(value["temperature"])
        if not isinstance(input, int) or not 0 <= input < MAX_MEMBERS:
            raise ValueError(f"invalid input index of a member: {input!r}")
        if not 0 < temperature < float("inf"):
            raise ValueError(f"invalid temperature of a member: {temperature}")
        return MemberConfig(Arch.from_json(value["arch"]), input, temperature)


@dataclass(frozen=True, slots=True)
class EnsembleArch:
    """Several networks whose predicted probabilities are averaged.

    Args:
        activation: how their logits become probabilities: "softmax" or "sigmoid".
    """

    members: tuple[MemberConfig, ...]
    activation: str

    @property
    def name(self) -> str:
        """ "ensemble of textcnn and linear-svm", "ensemble of 3 resnet18"."""
        names = [member.arch.name for member in self.members]
        unique_names = list(dict.fromkeys(names))
        terms = [
            f"{names.count(kind)} {kind}" if names.count(kind) > 1 else kind
            for kind in unique_names
        ]
        return f"ensemble of {' and '.join(terms)}"

    @property
    def networks(self) -> tuple[Arch, ...]:
        return tuple(member.arch for member in self.members)

    def to_json(self) -> dict[str, Any]:
        members = [member.to_json() for member in self.members]
        return {"members": members, "activation": self.activation}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> EnsembleArch:
        members = tuple(MemberConfig.from_json(member) for member in value["members"])
        if not 2 <= len(members) <= MAX_MEMBERS:
            raise ValueError(f"invalid number of ensemble members: {len(members)}")
        if value["activation"] not in ACTIVATIONS:
            raise ValueError(f"invalid activation of an ensemble: {value['activation']!r}")
        return EnsembleArch(members, value["activation"])


def parse_arch(value: Mapping[str, Any]) -> Arch | EnsembleArch:
    """The inverse of `block_to_json` of either. KeyError, TypeError or ValueError if invalid."""
    return EnsembleArch.from_json(value) if "members" in value else Arch.from_json(value)


def require_single_network(arch: Arch | EnsembleArch, operation: str) -> Arch:
    """The arch of a model that is a single network.

    Raises:
        Refusal: the model is an ensemble; `operation` names the operation that does not support it.
    """
    if isinstance(arch, Arch):
        return arch
    raise Refusal(
        f"{operation} needs a single network, and this model is an {arch.name}.",
        hint="Name one of its member models (see `members` in its bundle.json).",
    )
