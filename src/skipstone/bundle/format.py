"""Bundle: the artefact, a folder that holds a model and everything needed to predict with it.

    bundle.json           arch, input, task, post-processing, lineage, metrics, files, plugins
    weights.safetensors   the network's tensors, plain or compact (`bundle.compact`)
    input.safetensors     the input's arrays, if it has any
    exports/, golden/     added by `runtime.programs` and `runtime.goldens`

It names components by their registry names, never by import paths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from skipstone.bundle.architecture import Arch, EnsembleArch, parse_arch
from skipstone.bundle.compact import decode_tensors, encode_tensors, is_compact
from skipstone.bundle.files import (
    BUNDLE_FORMAT,
    BUNDLE_JSON,
    describe_file,
    read_bundle_json,
    read_file,
    write_bundle_json,
)
from skipstone.core import storage
from skipstone.core.errors import DamagedError, UsageError
from skipstone.core.registry import BACKBONES, HEADS, INPUTS, TASKS, Registry

WEIGHTS_FILE = "weights.safetensors"
INPUT_ARRAYS_FILE = "input.safetensors"
_SECTIONS = ("arch", "input", "task", "post", "lineage", "metrics")


@dataclass
class Bundle:
    """A model as data.

    Args:
        arch: the network as names, arguments and edits, or an ensemble of networks.
        input: {"name", "options", "state"}, all JSON-able; "others" lists further inputs of that
            name for members of an ensemble.
        task: {"name", "options", "schema"}, all JSON-able.
        post: post-processing chosen on the validation rows (temperature, thresholds).
        lineage: how it was made: command, seed, data fingerprint, versions.
        metrics: metrics with their split and interval.
        tensors: the network's state dict.
        input_arrays: arrays that the input was fitted with, beyond its JSON state; arrays of
            "others" are named "1/<name>" and so on.
        compact: whether the tensors are stored with codebooks and gaps. They decode to exactly the
            same tensors, so it decides nothing but the size of the file.
    """

    arch: Arch | EnsembleArch
    input: dict[str, Any]
    task: dict[str, Any]
    post: dict[str, Any] = field(default_factory=dict)
    lineage: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    input_arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    compact: bool = False

    def save(self, folder: Path | str) -> Path:
        """Write the bundle to `folder` atomically, replacing what was there.

        Programs and goldens of an older bundle are removed: they belong to other weights.
        """
        with storage.write_folder(folder) as new:
            tensors = encode_tensors(self.tensors) if self.compact else self.tensors
            storage.write_tensors(new / WEIGHTS_FILE, tensors)
            if self.input_arrays:
                storage.write_tensors(new / INPUT_ARRAYS_FILE, self.input_arrays)
            record: dict[str, Any] = {name: getattr(self, name) for name in _SECTIONS}
            record["arch"] = self.arch.to_json()
            record["format"] = BUNDLE_FORMAT
            record["plugins"] = dict(self._plugins())
            record["files"] = {
                path.name: describe_file(storage.read_bytes(path)) for path in sorted(new.iterdir())
            }
            write_bundle_json(new, record)
        return Path(folder)

    @staticmethod
    def load(folder: Path | str) -> Bundle:
        """Read a bundle and check every file against its hash.

        Raises:
            DamagedError: a file is missing, truncated, changed or foreign; names the place.
            UsageError: a newer format, or a plugin that is not installed (names the package).
        """
        folder = Path(folder)
        record = read_bundle_json(folder)
        sections = _sections(folder, record)
        arch = sections.pop("arch")
        _require_plugins(
            _entries(sections["input"]["name"], sections["task"]["name"], arch), record, folder
        )
        arrays = (
            read_arrays(folder, INPUT_ARRAYS_FILE, record)
            if INPUT_ARRAYS_FILE in record["files"]
            else {}
        )
        tensors = read_arrays(folder, WEIGHTS_FILE, record)
        compact = is_compact(tensors)
        return Bundle(
            arch=arch,
            tensors=decode_tensors(tensors, folder / WEIGHTS_FILE) if compact else tensors,
            input_arrays=arrays,
            compact=compact,
            **sections,
        )

    def _plugins(self) -> Iterator[tuple[str, str]]:
        for registry, name in _entries(self.input["name"], self.task["name"], self.arch):
            distribution = registry[name].distribution
            if distribution is not None:
                yield name, distribution


def _entries(input: str, task: str, arch: Arch | EnsembleArch) -> list[tuple[Registry[Any], str]]:
    """Every registry name in a bundle."""
    networks = [
        pair
        for network in arch.networks
        for pair in ((BACKBONES, network.backbone.name), (HEADS, network.head.name))
    ]
    return list(dict.fromkeys([(INPUTS, input), (TASKS, task), *networks]))


#: The required keys of sections, and their types.
_REQUIRED_KEYS = {
    "input": {"name": str, "options": dict, "state": dict},
    "task": {"name": str, "options": dict, "schema": dict},
}


def _sections(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record's sections, `arch` as an Arch. DamagedError if one is missing or malformed."""
    for name in _SECTIONS:
        if not isinstance(record.get(name), dict):
            raise DamagedError(f"{folder / BUNDLE_JSON} lacks the section {name!r}.")
        for key, kind in _REQUIRED_KEYS.get(name, {}).items():
            if not isinstance(record[name].get(key), kind):
                raise DamagedError(f"{folder / BUNDLE_JSON} lacks the {key!r} of its {name}.")
    try:
        arch = parse_arch(record["arch"])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{folder / BUNDLE_JSON} holds an invalid 'arch' ({error}).") from None
    return {**{name: dict(record[name]) for name in _SECTIONS}, "arch": arch}


def _require_plugins(
    entries: list[tuple[Registry[Any], str]], record: Mapping[str, Any], folder: Path
) -> None:
    for registry, name in entries:
        try:
            registry[name]
        except UsageError as error:
            owner = dict(record.get("plugins", {})).get(name)
            if owner is None:
                raise UsageError(f"{folder} needs the {registry.kind} {name!r}: {error}") from None
            raise UsageError(
                f"{folder} needs the {registry.kind} {name!r} of the package {owner}.",
                hint=f"Install it: pip install {owner}",
            ) from None


def read_arrays(folder: Path, name: str, record: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a listed safetensors file. DamagedError if it is damaged or invalid."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = read_file(folder, name, record)
    try:
        tensors: dict[str, np.ndarray] = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{folder / name} is not a valid safetensors file ({error}).") from None
    except (OverflowError, MemoryError) as error:
        raise DamagedError(f"{folder / name} states invalid sizes ({error}).") from None
    return tensors
