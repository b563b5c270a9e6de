"""Which input reads a file: by the file's name and first bytes, as the inputs' specs say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from skipstone.core.disk import open_regular
from skipstone.core.errors import UsageError
from skipstone.core.formatting import pluralize
from skipstone.core.registry import INPUTS
from skipstone.core.specs import InputSpec, resolve_target

#: Number of leading bytes that a `skip_reason` gets.
HEAD_BYTES = 32
HIDDEN = "hidden files"
SYSTEM = "system files (.DS_Store, ._*, Thumbs.db)"
_SYSTEM_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})

#: (name, first bytes) -> why an input cannot read this file, or None.
SkipCheck = Callable[[str, bytes], str | None]


def hidden_name_reason(name: str) -> str | None:
    """The reason to skip a file or folder by its name alone, or None."""
    if name.startswith("._") or name == ".DS_Store" or name.casefold() in _SYSTEM_NAMES:
        return SYSTEM
    return HIDDEN if name.startswith(".") else None


def read_head(path: str | Path) -> bytes:
    """The first HEAD_BYTES bytes; empty if the file cannot be read (the audit reports why)."""
    try:
        with open_regular(path) as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def list_file_inputs(chosen: str | None = None) -> list[InputSpec]:
    """The inputs whose specs name suffixes of files; only the `chosen` one if there is a choice.

    Raises:
        UsageError: `chosen` is unknown, or is not read from files.
    """
    inputs = [spec for spec in INPUTS if spec.suffixes]
    if chosen is None:
        return inputs
    if INPUTS[chosen] not in inputs:
        raise UsageError(
            f"--input {chosen}: this input has no file suffixes.",
            hint=f"Choose one of: {', '.join(spec.name for spec in inputs)}.",
        )
    return [INPUTS[chosen]]


def list_main_inputs() -> list[InputSpec]:
    """The inputs whose files are not sidecars of others."""
    return [spec for spec in list_file_inputs() if not spec.is_sidecar]


def list_suffixes(inputs: Iterable[InputSpec]) -> tuple[str, ...]:
    """The suffixes of all these inputs, for `str.endswith`."""
    return tuple(suffix for spec in inputs for suffix in spec.suffixes)


def make_skip_check(spec: InputSpec) -> SkipCheck:
    """`skip_reason` of the spec; by default the suffixes decide."""
    if spec.skip_reason is not None:
        check: SkipCheck = resolve_target(spec.skip_reason)
        return check
    reason = f"files other than {', '.join(spec.suffixes)}"
    return lambda name, head: None if name.casefold().endswith(spec.suffixes) else reason


def load_conversions(inputs: Iterable[InputSpec]) -> dict[str, str]:
    """{reason of a `skip_reason`: how to convert such files}."""
    conversions: dict[str, str] = {}
    for spec in inputs:
        conversions |= {} if spec.conversions is None else resolve_target(spec.conversions)
    return conversions


def choose_input(where: Path, counts: Mapping[tuple[str, ...], int]) -> InputSpec | None:
    """The one input that reads all of these files; None without files.

    Args:
        counts: number of files by the names of the inputs that read them.

    Raises:
        UsageError: no input reads all of them, or several do; names the flag.
    """
    names = list(dict.fromkeys(name for owners in counts for name in owners))
    if not names:
        return None
    matches = [name for name in names if all(name in owners for owners in counts)]
    if len(matches) == 1:
        return INPUTS[matches[0]]
    sizes = [
        pluralize(sum(n for owners, n in counts.items() if name in owners), INPUTS[name].noun)
        for name in names
    ]
    raise UsageError(
        f"{where} holds {' and '.join(sizes)}; a data set has one kind of files.",
        hint=f"Choose one: {' or '.join(f'--input {name}' for name in names)}. Other files are then "
        "skipped.",
    )
