"""Bundle: the artefact, a folder that holds a model and what is needed to answer with it.

    bundle.json           arch, input, task, post-processing, lineage, metrics, files, plugins
    weights.safetensors   the network's tensors
    input.safetensors     the input's arrays, where it has any
    exports/, golden/     added by `runtime.programs` and `runtime.goldens`

Names in it are registry names, never import paths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from skipstone import storage
from skipstone.bundle.arch import Arch, Ensemble, read_arch
from skipstone.bundle.files import FORMAT, RECORD, describe, read_file, read_record, write_record
from skipstone.errors import DamagedError, UsageError
from skipstone.registry import BACKBONES, HEADS, INPUTS, TASKS, Registry

WEIGHTS = "weights.safetensors"
INPUT_ARRAYS = "input.safetensors"
_SECTIONS = ("arch", "input", "task", "post", "lineage", "metrics")


@dataclass
class Bundle:
    """A model as data.

    Args:
        arch: the network as names, arguments and edits, or several that answer together.
        input: {"name", "options", "state"}, all JSON-able; where members of an ensemble take
            others of that name, "others" lists these.
        task: {"name", "options", "schema"}, all JSON-able.
        post: post-processing chosen on the select split (temperature, thresholds).
        lineage: how it was made: command, seed, data fingerprint, versions.
        metrics: figures with their split and interval.
        tensors: the network's state dict.
        input_arrays: what the input learnt, beyond its JSON state; those of "others" are named
            "1/<name>" and so on.
    """

    arch: Arch | Ensemble
    input: dict[str, Any]
    task: dict[str, Any]
    post: dict[str, Any] = field(default_factory=dict)
    lineage: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    input_arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    def save(self, folder: Path | str) -> Path:
        """Write the bundle as `folder`, whole or not at all; what was there is replaced.

        Programs and goldens of an older bundle go with it: they answered for other weights.
        """
        with storage.write_folder(folder) as new:
            storage.write_tensors(new / WEIGHTS, self.tensors)
            if self.input_arrays:
                storage.write_tensors(new / INPUT_ARRAYS, self.input_arrays)
            record: dict[str, Any] = {name: getattr(self, name) for name in _SECTIONS}
            record["arch"] = self.arch.to_json()
            record["format"] = FORMAT
            record["plugins"] = dict(self._plugins())
            record["files"] = {
                path.name: describe(storage.read_bytes(path)) for path in sorted(new.iterdir())
            }
            write_record(new, record)
        return Path(folder)

    @staticmethod
    def load(folder: Path | str) -> Bundle:
        """Read a bundle, comparing every byte with what was written.

        Raises:
            DamagedError: a file is missing, cut, changed or not ours; names it and the place.
            UsageError: a newer format, or a plugin that is not installed (names the package).
        """
        folder = Path(folder)
        record = read_record(folder)
        sections = _sections(folder, record)
        arch = sections.pop("arch")
        _require_plugins(
            _entries(sections["input"]["name"], sections["task"]["name"], arch), record, folder
        )
        arrays = (
            read_arrays(folder, INPUT_ARRAYS, record) if INPUT_ARRAYS in record["files"] else {}
        )
        return Bundle(
            arch=arch,
            tensors=read_arrays(folder, WEIGHTS, record),
            input_arrays=arrays,
            **sections,
        )

    def _plugins(self) -> Iterator[tuple[str, str]]:
        for registry, name in _entries(self.input["name"], self.task["name"], self.arch):
            distribution = registry[name].distribution
            if distribution is not None:
                yield name, distribution


def _entries(input: str, task: str, arch: Arch | Ensemble) -> list[tuple[Registry, str]]:
    """Every registry name that a bundle speaks of."""
    networks = [
        pair
        for network in arch.networks
        for pair in ((BACKBONES, network.backbone.name), (HEADS, network.head.name))
    ]
    return list(dict.fromkeys([(INPUTS, input), (TASKS, task), *networks]))


#: What the sections hold that have parts of their own.
_PARTS = {
    "input": {"name": str, "options": dict, "state": dict},
    "task": {"name": str, "options": dict, "schema": dict},
}


def _sections(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record's sections, `arch` as an Arch. DamagedError where one is not as we write it."""
    for name in _SECTIONS:
        if not isinstance(record.get(name), dict):
            raise DamagedError(f"{folder / RECORD} lacks a part of a bundle: {name!r}.")
        for part, kind in _PARTS.get(name, {}).items():
            if not isinstance(record[name].get(part), kind):
                raise DamagedError(f"{folder / RECORD} lacks the {part!r} of its {name}.")
    try:
        arch = read_arch(record["arch"])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{folder / RECORD} holds no network in 'arch' ({error}).") from None
    return {**{name: dict(record[name]) for name in _SECTIONS}, "arch": arch}


def _require_plugins(
    entries: list[tuple[Registry, str]], record: Mapping[str, Any], folder: Path
) -> None:
    for registry, name in entries:
        try:
            registry[name]
        except UsageError as error:
            owner = dict(record.get("plugins", {})).get(name)
            if owner is None:
                raise UsageError(f"{folder} needs the {registry.kind} {name!r}: {error}") from None
            raise UsageError(
                f"{folder} needs the {registry.kind} {name!r}, which the package {owner} brings.",
                hint=f"Install it: pip install {owner}",
            ) from None


def read_arrays(folder: Path, name: str, record: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a listed safetensors file, compared with the list. DamagedError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = read_file(folder, name, record)
    try:
        tensors: dict[str, np.ndarray] = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{folder / name} is no readable safetensors file ({error}).") from None
    except (OverflowError, MemoryError) as error:
        raise DamagedError(f"{folder / name} holds impossible sizes ({error}).") from None
    return tensors
