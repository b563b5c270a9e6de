"""The exclude list: an editable text file that names the rows to drop.

    # a comment
    train/disc/cut.jpg
    train/broken/
    digits.idx.gz#12

One path per line, relative to the data. A trailing slash excludes everything below a folder; a
number excludes one member of a container. `skipstone audit --out` writes such a list. A path that
cannot stand as plain text (it begins with "#" or a quotation mark, or has a line break or a space
at either end) is written as a JSON string.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from skipstone.core.disk import read_regular
from skipstone.core.errors import UsageError
from skipstone.core.formatting import pluralize
from skipstone.data.manifest import Manifest


def format_exclude_line(name: str) -> str:
    """The line that excludes the row of this name."""
    plain = name == name.strip() and name[:1] not in ("#", '"') and name.isprintable()
    return name if plain and name else json.dumps(name)


def read_exclude_list(path: Path | str) -> list[str]:
    """The names in the list, in order, without comments and duplicates.

    Raises:
        UsageError: the file is missing, is not UTF-8, or has a line that cannot be parsed.
    """
    path = Path(path)
    try:
        text = read_regular(path).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"--exclude {path} cannot be read: {error.strerror}.",
            hint="It is a text file with one path per line; skipstone audit DATA --out DIR "
            "writes one.",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"--exclude {path} is not UTF-8 text.", hint="Save it as UTF-8, one path per line."
        ) from error
    unique_names: dict[str, None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        unique_names[_parse_line(path, number, line)] = None
    return list(unique_names)


def _parse_line(path: Path, number: int, line: str) -> str:
    if not line.startswith('"'):
        return line
    try:
        name = json.loads(line)
    except ValueError:
        name = None
    if not isinstance(name, str):
        raise UsageError(
            f"line {number} of {path} begins with a quotation mark but is not a JSON string.",
            hint="Write the path without quotation marks.",
        )
    return name


def drop_rows(manifest: Manifest, path: Path | str) -> Manifest:
    """The rows that the list does not name, with a note on how many were excluded.

    A class that loses its last row is removed from the schema, with a note.

    Raises:
        UsageError: the list cannot be read, matches no row, or matches every row.
    """
    listed_names = read_exclude_list(path)
    names = manifest.row_names()
    excluded = dict.fromkeys(_relative_name(name, manifest.root) for name in listed_names)
    is_out = _match_names(names, excluded)
    keep = [row for row, is_excluded in enumerate(is_out) if not is_excluded]
    excluded_count = len(names) - len(keep)
    if listed_names and not excluded_count:
        raise UsageError(
            f"no line of {path} ({len(listed_names):,}) names a row of {manifest.root}; the first "
            f"line is {listed_names[0]!r}.",
            hint=f"Paths are relative to the data, such as {names[0]!r}." if names else None,
        )
    if names and not keep:
        raise UsageError(
            f"{path} names all {len(names):,} rows of {manifest.root}.",
            hint="Put a # before the lines of the files to keep.",
        )
    existing = set(names)
    unknown = [name for name in excluded if name not in existing and not name.endswith("/")]
    return _with_notes(manifest, manifest.take_rows(keep), path, excluded_count, unknown)


def find_excluded(names: Sequence[str], root: Path, path: Path | str) -> list[bool]:
    """Whether the list drops each of these rows."""
    return _match_names(names, {_relative_name(name, root) for name in read_exclude_list(path)})


def _match_names(names: Sequence[str], excluded: Collection[str]) -> list[bool]:
    folders = tuple(sorted(name for name in excluded if name.endswith("/")))
    return [name in excluded or (folders != () and name.startswith(folders)) for name in names]


def _relative_name(name: str, root: Path) -> str:
    """A listed path as a row name: relative to the data, with forward slashes."""
    folder = str(root.absolute()).replace("\\", "/").rstrip("/") + "/"
    name = name.replace("\\", "/")
    return name.removeprefix(folder).removeprefix("./")


def _with_notes(
    before: Manifest, after: Manifest, path: Path | str, excluded_count: int, unknown: list[str]
) -> Manifest:
    notes = [f"Excluded by {path}: {pluralize(excluded_count, 'row')} of {len(before):,}."]
    if unknown:
        notes.append(
            f"{pluralize(len(unknown), 'line')} of {path} "
            f"{'matches' if len(unknown) == 1 else 'match'} no row, such as {unknown[0]!r}."
        )
    schema = dict(before.schema)
    empty_classes = sorted(
        _labels(before.column_values("target")) - _labels(after.column_values("target"))
    )
    empty_classes = [name for name in empty_classes if name in schema.get("classes", ())]
    if empty_classes:
        schema["classes"] = [name for name in schema["classes"] if name not in empty_classes]
        notes.append(f"Classes without any remaining row, removed: {', '.join(empty_classes)}.")
    return replace(after, schema=schema, notes=(*before.notes, *notes))


def _labels(targets: Iterable[Any]) -> set[str]:
    labels: set[str] = set()
    for target in targets:
        target_labels = target if isinstance(target, list) else [target]
        labels.update(label for label in target_labels if isinstance(label, str))
    return labels
