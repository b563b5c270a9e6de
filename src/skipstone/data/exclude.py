"""The exclude list: a text file of rows to leave out, which a person can edit.

    # a comment
    train/disc/cut.jpg
    train/broken/
    digits.idx.gz#12

One path a line, relative to the data; with a slash at the end everything below a folder, with a
number a member of a container. `skipstone audit --out` writes one. A path that a line of plain
text cannot hold (it begins with "#" or a quotation mark, or has a line break or a space at an end)
stands as a JSON string.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from skipstone.data.manifest import Manifest
from skipstone.errors import UsageError
from skipstone.words import counted


def excluded_line(name: str) -> str:
    """How a row's name stands in the list."""
    plain = name == name.strip() and name[:1] not in ("#", '"') and name.isprintable()
    return name if plain and name else json.dumps(name)


def read_exclude(path: Path | str) -> list[str]:
    """The names in the list, in order, without comments and repetitions.

    Raises:
        UsageError: it is not there, is no text, or has a line that cannot be read.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"--exclude {path} cannot be read: {error.strerror}.",
            hint="It is a text file with one path a line; skipstone audit DATA --out DIR "
            "writes one.",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"--exclude {path} is no text in UTF-8.", hint="Save it as UTF-8: one path a line."
        ) from error
    names: dict[str, None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        names[_name(path, number, line)] = None
    return list(names)


def _name(path: Path, number: int, line: str) -> str:
    if not line.startswith('"'):
        return line
    try:
        name = json.loads(line)
    except ValueError:
        name = None
    if not isinstance(name, str):
        raise UsageError(
            f"line {number} of {path} begins with a quotation mark and is no JSON string.",
            hint="Write the path as it is, without quotation marks.",
        )
    return name


def without(manifest: Manifest, path: Path | str) -> Manifest:
    """The rows that the list does not name, with a note on how many it left out.

    Classes that lose their last row are no classes any more, and that is said.

    Raises:
        UsageError: the list cannot be read, names no row at all, or names all of them.
    """
    listed = read_exclude(path)
    names = manifest.names()
    wanted = dict.fromkeys(_as_row(name, manifest.root) for name in listed)
    folders = tuple(sorted(name for name in wanted if name.endswith("/")))
    keep = [
        row
        for row, name in enumerate(names)
        if name not in wanted and not (folders and name.startswith(folders))
    ]
    left_out = len(names) - len(keep)
    if listed and not left_out:
        raise UsageError(
            f"none of the {len(listed):,} lines of {path} names a row of {manifest.root}, such as "
            f"{listed[0]!r}.",
            hint=f"Paths are relative to the data, such as {names[0]!r}." if names else None,
        )
    if names and not keep:
        raise UsageError(
            f"{path} names all {len(names):,} rows of {manifest.root}.",
            hint="Put a # before the lines whose files should stay.",
        )
    known = set(names)
    unknown = [name for name in wanted if name not in known and not name.endswith("/")]
    return _noted(manifest, manifest.take(keep), path, left_out, unknown)


def _as_row(name: str, root: Path) -> str:
    """A line as rows are named: relative to the data, with forward slashes."""
    folder = str(root.absolute()).replace("\\", "/").rstrip("/") + "/"
    name = name.replace("\\", "/")
    return name.removeprefix(folder).removeprefix("./")


def _noted(
    before: Manifest, after: Manifest, path: Path | str, left_out: int, unknown: list[str]
) -> Manifest:
    notes = [f"Left out by {path}: {counted(left_out, 'row')} of {len(before):,}."]
    if unknown:
        notes.append(
            f"{counted(len(unknown), 'line')} of {path} "
            f"{'names' if len(unknown) == 1 else 'name'} no row, such as {unknown[0]!r}."
        )
    schema = dict(before.schema)
    gone = sorted(_labels(before.column("target")) - _labels(after.column("target")))
    gone = [name for name in gone if name in schema.get("classes", ())]
    if gone:
        schema["classes"] = [name for name in schema["classes"] if name not in gone]
        notes.append(f"No row is left of {', '.join(gone)}: no class of this data any more.")
    return replace(after, schema=schema, notes=(*before.notes, *notes))


def _labels(targets: Iterable[Any]) -> set[str]:
    found: set[str] = set()
    for target in targets:
        several = target if isinstance(target, list) else [target]
        found.update(label for label in several if isinstance(label, str))
    return found
