"""Names for what can be added: readers, inputs, backbones, heads, tasks, steps, runtimes.

A spec (core/specs.py) describes a name and says where its code is, without importing torch.
Built-in specs come from a catalogue module per package, a plugin's from installed entry points that
name a spec. A bundle therefore stores names only, never an import path.

A plugin adds one in its pyproject.toml:

    [project.entry-points."skipstone.backbones"]
    mynet = "my_package.specs:MYNET"
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Generic, TypeVar

from skipstone.core.errors import UsageError, did_you_mean
from skipstone.core.specs import (
    BackboneSpec,
    HeadSpec,
    InputSpec,
    ReaderSpec,
    RuntimeSpec,
    Spec,
    StepSpec,
    TaskSpec,
)

S = TypeVar("S", bound=Spec)


class Registry(Generic[S]):
    """Specs of one kind by name: the built-in catalogue first, then installed plugins.

    Args:
        spec_type: the class of its specs; a plugin's spec of another class is refused.
        kind: for messages, such as "model".
        catalog: the module whose ENTRIES are the built-in specs.
        group: the entry points of plugins.
        listing: where a message about an unknown name sends people.
    """

    def __init__(
        self, spec_type: type[S], kind: str, *, catalog: str, group: str, listing: str = ""
    ) -> None:
        self.kind = kind
        self._spec_type = spec_type
        self._catalog = catalog
        self._group = group
        self._listing = listing
        self._entries: dict[str, S] | None = None

    def register(self, entry: S) -> None:
        """Register a spec in this process. UsageError if its name exists, or its class is wrong."""
        entries = self._load()
        if not isinstance(entry, self._spec_type):
            raise UsageError(
                f"a {self.kind} is registered with a {self._spec_type.__name__}, not a "
                f"{type(entry).__name__}."
            )
        if entry.name in entries:
            raise UsageError(f"{self.kind} {entry.name!r} is already registered.")
        entries[entry.name] = entry

    def unregister(self, name: str) -> None:
        """Remove a spec that `register` added (for tests)."""
        del self._load()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._load()

    def __iter__(self) -> Iterator[S]:
        return iter(list(self._load().values()))

    def entry_names(self) -> list[str]:
        return list(self._load())

    def __getitem__(self, name: str) -> S:
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

    def _load(self) -> dict[str, S]:
        if self._entries is None:
            catalog = importlib.import_module(self._catalog)
            entries: dict[str, S] = {entry.name: entry for entry in catalog.ENTRIES}
            for point in find_entry_points(self._group):
                entry = point.load()
                owner = point.dist.name if point.dist is not None else None
                if not isinstance(entry, self._spec_type):
                    raise UsageError(
                        f"the installed package {owner} adds the {self.kind} {point.name!r} with a "
                        f"{type(entry).__name__}, not a {self._spec_type.__name__}.",
                        hint=f"Uninstall it, or change its entry point in {self._group!r}.",
                    )
                if entry.name in entries:
                    raise UsageError(
                        f"the installed package {owner} adds a {self.kind} named {entry.name!r}, "
                        "which already exists; uninstall one of the two."
                    )
                entries[entry.name] = replace(entry, distribution=owner)
            self._entries = entries
        return self._entries


@functools.cache
def _installed_entry_points() -> Any:  # its type differs between Python 3.11 and 3.12
    return importlib.metadata.entry_points()  # reads every installed package


def find_entry_points(group: str) -> importlib.metadata.EntryPoints:
    """The entry points of a group in the installed packages."""
    points: importlib.metadata.EntryPoints = _installed_entry_points().select(group=group)
    return points


READERS = Registry(
    ReaderSpec, "reader", catalog="skipstone.data.catalog", group="skipstone.readers"
)
INPUTS = Registry(InputSpec, "input", catalog="skipstone.inputs.catalog", group="skipstone.inputs")
BACKBONES = Registry(
    BackboneSpec,
    "model",
    catalog="skipstone.models.catalog",
    group="skipstone.backbones",
    listing="See: skipstone models (any network of timm: timm/NAME)",
)
HEADS = Registry(
    HeadSpec, "head", catalog="skipstone.models.heads.catalog", group="skipstone.heads"
)
TASKS = Registry(TaskSpec, "task", catalog="skipstone.tasks.catalog", group="skipstone.tasks")
STEPS = Registry(
    StepSpec, "shrink step", catalog="skipstone.compression.catalog", group="skipstone.steps"
)
RUNTIMES = Registry(
    RuntimeSpec,
    "runtime",
    catalog="skipstone.inference.backends.catalog",
    group="skipstone.runtimes",
)
