"""Tables: CSV, TSV, JSON Lines or Parquet with a path column and one or more labels.

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
    """A table of texts, or of paths relative to its folder or absolute."""

    def sniff(self, path: Path) -> str | None:
        return sniff_table(path)

    def read(self, path: Path, options: ReadOptions) -> Manifest:
        if not self.sniff(path):
            raise UsageError(
                f"{path} is not a table.", hint="Give a .csv, .tsv, .jsonl or .parquet file."
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
                *_path_notes(files),
                *_lost_bytes_note(columns, options),
            ),
            ignored=dict(ignored),
        )


def _rows(
    columns: Columns, files: Files, roles: Roles
) -> tuple[dict[str, list[Any]], Counter[str]]:
    """Column lists for the manifest, with one row per file, and skipped rows by reason."""
    ignored: Counter[str] = Counter()
    paths = columns.text(roles.path)
    splits = columns.text(roles.split) if roles.split else None
    groups = columns.text(roles.group) if roles.group else None
    rows: dict[str, list[Any]] = {"path": [], "split": [], "group": [], "target": []}
    first: dict[str, tuple[int, int]] = {}  # path -> (number in rows, row of the table)
    missing: list[int] = []
    for row, cell in enumerate(paths):
        path = _find_file(columns, files, row, cell)
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


def _find_file(columns: Columns, files: Files, row: int, cell: str) -> str | None:
    try:
        return files.find(cell)
    except DataError as error:
        raise DataError(f"{columns.where(row)}: {error.message}", hint=error.hint) from error


def _lost_bytes_note(columns: Columns, options: ReadOptions) -> list[str]:
    """A note on invalid bytes, which an audit replaces and training rejects."""
    if options.bad_bytes != "replace":
        return []
    if not any(
        LOST in name or any(LOST in str(cell) for cell in cells)
        for name, cells in columns.values.items()
    ):
        return []
    return [
        f"Invalid bytes are shown as {LOST}; training refuses them. Save the table as 'CSV UTF-8', "
        "or name its encoding, such as --encoding cp1252."
    ]


def _path_notes(files: Files) -> list[str]:
    """A note on cells that were not exact paths, and how their files were found."""
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
    """Merge a row that repeats a file: tags are united, everything else must be equal."""
    earlier, later = places
    merged = (rows["target"][number], rows["split"][number], rows["group"][number])
    subject = f"{rows['path'][number]} ({columns.where(earlier)} and {columns.lines[later]})"
    if (split, group) != merged[1:]:
        raise DataError(f"{subject} is in two splits or groups.", hint="Keep one of the two rows.")
    if roles.many:
        rows["target"][number] = list(dict.fromkeys([*merged[0], *target]))
    elif target != merged[0]:
        raise DataError(
            f"{subject} has two labels, {merged[0]} and {target}.",
            hint="Keep one of the rows, or allow several labels per picture: --task tag",
        )


def _check_missing(columns: Columns, root: Path, paths: list[str], missing: list[int]) -> None:
    if 2 * len(missing) < len(paths):
        return
    cell = paths[missing[0]]
    raise DataError(
        f"{columns.path}: {len(missing):,} of {len(paths):,} rows name a file that does not exist, "
        f"first {columns.unit} {columns.lines[missing[0]]}: {cell} (looked at {root / cell}).",
        hint="Paths must be absolute, or relative to the folder of the table.",
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
    labels_from = label_source(roles)
    notes = [
        f"Read as a table: {count} from column {roles.path}, task {roles.task} with labels from "
        f"{labels_from}: {counted(len(classes), 'label')} ({listed(classes, 10)})."
    ]
    notes += split_notes(roles, rows)
    if roles.many:
        untagged = sum(not names for names in rows["target"])
        if untagged:
            notes.append(f"{counted(untagged, 'picture')} without any tag are read as untagged.")
    if columns.short:
        notes.append(
            f"{counted(len(columns.short), 'line')} without their last cells (first line "
            f"{columns.short[0]}): these are read as empty."
        )
    for reason in (MISSING, RAW, NO_LABEL):
        if ignored[reason]:
            notes.append(f"Skipped: {reason} ({ignored[reason]:,}).")
    if ignored[REPEATED]:
        action = "united" if roles.many else "kept once"
        notes.append(f"{ignored[REPEATED]:,} {REPEATED} of the same file are {action}.")
    return notes + unused_notes(columns, roles)
