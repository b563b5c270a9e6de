"""Names for what can be added: readers, inputs, backbones, heads, tasks, steps, runtimes.

An `Entry` describes a name and says where its code is, without importing torch. Built-in entries
come from a catalogue module per package, a plugin's from installed entry points that name an
`Entry`. A bundle therefore stores names only, never an import path.

A plugin adds one in its pyproject.toml:

    [project.entry-points."skipstone.backbones"]
    mynet = "my_package.entries:MYNET"
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from skipstone.core.errors import UsageError, did_you_mean
from skipstone.core.options import check_types


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a registry.

    Args:
        name: what users type.
        target: "package.module:attribute", imported on first use.
        options: "package.module:Dataclass" of frozen, JSON-able options in a module free of torch,
            or None without options. Command-line flags are derived from it.
        summary: one line for listings.
        source: the paper or project it comes from.
        facts: JSON-able capabilities that other packages ask for instead of branching on a name,
            such as {"accepts": ["image"]}.
        distribution: the installed package that adds it; None for a built-in entry.
    """

    name: str
    target: str
    options: str | None = None
    summary: str = ""
    source: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    distribution: str | None = None

    def load(self) -> Any:
        """Import and return the object that `target` names."""
        return resolve_target(self.target)

    def options_type(self) -> type[Any] | None:
        """The options dataclass, or None."""
        return None if self.options is None else resolve_target(self.options)

    def make_options(self, values: Mapping[str, Any] | None = None) -> Any:
        """The options with `values`. UsageError for an unknown name or a wrong value."""
        kind = self.options_type()
        values = dict(values or {})
        known = [] if kind is None else list(kind.__dataclass_fields__)
        for key in values:
            if key not in known:
                raise UsageError(
                    f"{self.name!r} has no option {key!r}.", hint=did_you_mean(key, known)
                )
        if kind is None:
            return None
        check_types(self.name, kind, values)
        try:
            return kind(**values)
        except UsageError:
            raise
        except (TypeError, ValueError) as error:
            raise UsageError(f"{self.name!r}: {error}") from error


class Registry:
    """Entries of one kind by name: the built-in catalogue first, then installed plugins."""

    def __init__(self, kind: str, *, catalog: str, group: str, listing: str = "") -> None:
        self.kind = kind
        self._catalog = catalog
        self._group = group
        self._listing = listing
        self._entries: dict[str, Entry] | None = None

    def register(self, entry: Entry) -> None:
        """Register an entry in this process. UsageError if its name exists."""
        entries = self._load()
        if entry.name in entries:
            raise UsageError(f"{self.kind} {entry.name!r} is already registered.")
        entries[entry.name] = entry

    def unregister(self, name: str) -> None:
        """Remove an entry that `add` registered (for tests)."""
        del self._load()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._load()

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._load().values()))

    def entry_names(self) -> list[str]:
        return list(self._load())

    def __getitem__(self, name: str) -> Entry:
        entries = self._load()
        if name in entries:
            return entries[name]
        # A family such as timm/<name> has the one entry "timm/*".
        prefix, slash, _ = name.partition("/")
        if slash and f"{prefix}/*" in entries:
            return entries[f"{prefix}/*"]
        hint = did_you_mean(name, entries)
        raise UsageError(
            f"unknown {self.kind} {name!r}.",
            hint=" ".join(part for part in (hint, self._listing) if part) or None,
        )

    def _load(self) -> dict[str, Entry]:
        if self._entries is None:
            catalog = importlib.import_module(self._catalog)
            self._entries = {entry.name: entry for entry in catalog.ENTRIES}
            for point in find_entry_points(self._group):
                entry = point.load()
                owner = point.dist.name if point.dist is not None else None
                if entry.name in self._entries:
                    raise UsageError(
                        f"the installed package {owner} adds a {self.kind} named {entry.name!r}, "
                        "which already exists; uninstall one of the two."
                    )
                self._entries[entry.name] = Entry(
                    entry.name,
                    entry.target,
                    entry.options,
                    entry.summary,
                    entry.source,
                    entry.facts,
                    owner,
                )
        return self._entries


@functools.cache
def _installed_entry_points() -> Any:  # its type differs between Python 3.11 and 3.12
    return importlib.metadata.entry_points()  # reads every installed package


def find_entry_points(group: str) -> importlib.metadata.EntryPoints:
    """The entry points of a group in the installed packages."""
    points: importlib.metadata.EntryPoints = _installed_entry_points().select(group=group)
    return points


def resolve_target(target: str) -> Any:
    """Import the object that "package.module:attribute" names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


READERS = Registry("reader", catalog="skipstone.data.catalog", group="skipstone.readers")
INPUTS = Registry("input", catalog="skipstone.inputs.catalog", group="skipstone.inputs")
BACKBONES = Registry(
    "model",
    catalog="skipstone.models.catalog",
    group="skipstone.backbones",
    listing="See: skipstone models (any network of timm: timm/NAME)",
)
HEADS = Registry("head", catalog="skipstone.models.heads.catalog", group="skipstone.heads")
TASKS = Registry("task", catalog="skipstone.tasks.catalog", group="skipstone.tasks")
STEPS = Registry("shrink step", catalog="skipstone.compression.catalog", group="skipstone.steps")
RUNTIMES = Registry(
    "runtime", catalog="skipstone.inference.backends.catalog", group="skipstone.runtimes"
)
