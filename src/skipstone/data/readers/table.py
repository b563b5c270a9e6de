"""Tables: CSV, TSV, JSON Lines or Parquet with a path column and one label, or several.

path,label              path,tags              path,cat,dog,split
a.jpg,cat               a.jpg,cat|dog          a.jpg,1,0,train
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from skipstone.data.file_types import RAW, is_camera_raw
from skipstone.data.manifest import Manifest, table_of
from skipstone.data.options import ReadOptions
from skipstone.data.readers.columns import Columns, read_columns, sniff_table
from skipstone.data.readers.table_columns import (
    Roles,
    choose_columns,
    path_folder,
    sample_cells,
)
from skipstone.data.readers.table_files import Files
from skipstone.data.readers.table_labels import (
    LOST,
    NO_LABEL,
    check_classes,
    classes_of,
    label_source,
    split_notes,
    split_of,
    target_of,
    unused_notes,
)
from skipstone.data.readers.text_columns import text_column
from skipstone.data.readers.text_table import read_texts
from skipstone.errors import DataError, UsageError
from skipstone.words import counted, listed

MISSING = "rows whose file does not exist"
REPEATED = "repeated rows"


class Table:
    """A table and the files that it names, relative to its folder or absolute."""

    def sniff(self, path: Path) -> str | None:
        return sniff_table(path)

    def read(self, path: Path, options: ReadOptions) -> Manifest:
        if not self.sniff(path):
            raise UsageError(
                f"{path} is no table.", hint="A .csv, .tsv, .jsonl or .parquet file is."
            )
        columns = read_columns(path, options)
        root = path.parent
        texts = text_column(columns, root, options)
        if texts is not None:
            return read_texts(columns, texts, options)
        roles = choose_columns(columns, root, options)
        files = Files(root, path_folder(options), search=roles.search)
        files.settle(sample_cells(columns, roles.path))
        rows, ignored = _rows(columns, files, roles)
        classes = classes_of(rows["target"], roles)
        check_classes(path, classes, rows, ignored, roles)
        return Manifest(
            table_of(rows, pa.list_(pa.string()) if roles.many else pa.string()),
            root=root,
            reader="table",
            input="image",
            task=roles.task,
            schema={"classes": classes},
            notes=(
                *_notes(path, columns, roles, rows, classes, ignored),
                *_made_up(files),
                *_lost(columns, options),
            ),
            ignored=dict(ignored),
        )


def _rows(
    columns: Columns, files: Files, roles: Roles
) -> tuple[dict[str, list[Any]], Counter[str]]:
    """Column lists for the manifest; one row a file."""
    ignored: Counter[str] = Counter()
    paths = columns.text(roles.path)
    splits = columns.text(roles.split) if roles.split else None
    groups = columns.text(roles.group) if roles.group else None
    rows: dict[str, list[Any]] = {"path": [], "split": [], "group": [], "target": []}
    first: dict[str, tuple[int, int]] = {}  # path -> (number in rows, row of the table)
    missing: list[int] = []
    for row, cell in enumerate(paths):
        path = _find(columns, files, row, cell)
        if path is None:
            missing.append(row)
            continue
        if is_camera_raw(path):
            ignored[RAW] += 1
            continue
        target = target_of(columns, roles, row)
        if target is None:
            ignored[NO_LABEL] += 1
            continue
        split = split_of(columns, roles, row, splits[row]) if splits else ""
        group = (groups[row] or None) if groups else None
        if path in first:
            number, earlier = first[path]
            ignored[REPEATED] += 1
            _merge(columns, roles, rows, number, (earlier, row), target, split, group)
            continue
        first[path] = (len(rows["path"]), row)
        for name, value in zip(rows, (path, split, group, target), strict=True):
            rows[name].append(value)
    if missing:
        ignored[MISSING] = len(missing)
        _check_missing(columns, files.folder, paths, missing)
    return rows, ignored


def _find(columns: Columns, files: Files, row: int, cell: str) -> str | None:
    try:
        return files.find(cell)
    except DataError as error:
        raise DataError(f"{columns.where(row)}: {error.message}", hint=error.hint) from error


def _lost(columns: Columns, options: ReadOptions) -> list[str]:
    """What an audit reads all the same, and training would refuse."""
    if options.bad_bytes != "replace":
        return []
    if not any(
        LOST in name or any(LOST in str(cell) for cell in cells)
        for name, cells in columns.values.items()
    ):
        return []
    return [
        f"Bytes that are no letters stand as {LOST}; training refuses them. Save the table as "
        "'CSV UTF-8', or say how it is stored, such as --encoding cp1252."
    ]


def _made_up(files: Files) -> list[str]:
    """What cells lacked to be paths."""
    count = sum(files.made_up.values())
    if not count:
        return []
    return [
        f"{counted(count, 'file')} {'was' if count == 1 else 'were'} found "
        f"{' and '.join(files.made_up)} (such as: {files.example})."
    ]


def _merge(
    columns: Columns,
    roles: Roles,
    rows: dict[str, list[Any]],
    number: int,
    places: tuple[int, int],
    target: str | list[str],
    split: str,
    group: str | None,
) -> None:
    """A file that is named twice: tags are united; anything else must agree."""
    earlier, later = places
    held = (rows["target"][number], rows["split"][number], rows["group"][number])
    both = f"{rows['path'][number]} ({columns.where(earlier)} and {columns.lines[later]})"
    if (split, group) != held[1:]:
        raise DataError(f"{both} lies in two splits or groups.", hint="Keep one of the two rows.")
    if roles.many:
        rows["target"][number] = list(dict.fromkeys([*held[0], *target]))
    elif target != held[0]:
        raise DataError(
            f"{both} has two labels, {held[0]} and {target}.",
            hint="Keep one of the rows; if a picture may have several labels: --task tag",
        )


def _check_missing(columns: Columns, root: Path, paths: list[str], missing: list[int]) -> None:
    if 2 * len(missing) < len(paths):
        return
    cell = paths[missing[0]]
    raise DataError(
        f"{columns.path}: {len(missing):,} of {len(paths):,} rows name a file that does not exist, "
        f"first {columns.unit} {columns.lines[missing[0]]}: {cell} (looked at {root / cell}).",
        hint="Paths count from the folder of the table, or are absolute.",
    )


def _notes(
    path: Path,
    columns: Columns,
    roles: Roles,
    rows: dict[str, list[Any]],
    classes: list[str],
    ignored: Counter[str],
) -> list[str]:
    count = counted(len(rows["path"]), "picture")
    how = label_source(roles)
    notes = [
        f"Read as a table: {count} from column {roles.path}, task {roles.task} with labels from "
        f"{how}: {counted(len(classes), 'label')} ({listed(classes, 10)})."
    ]
    notes += split_notes(roles, rows)
    if roles.many:
        bare = sum(not names for names in rows["target"])
        if bare:
            notes.append(f"{counted(bare, 'picture')} without any tag count as having none.")
    if columns.short:
        notes.append(
            f"{counted(len(columns.short), 'line')} without their last cells (first line "
            f"{columns.short[0]}): those count as empty."
        )
    for reason in (MISSING, RAW, NO_LABEL):
        if ignored[reason]:
            notes.append(f"Passed over: {reason} ({ignored[reason]:,}).")
    if ignored[REPEATED]:
        what = "united" if roles.many else "kept once"
        notes.append(f"{ignored[REPEATED]:,} {REPEATED} of the same file are {what}.")
    return notes + unused_notes(columns, roles)
