"""Tables: CSV, TSV, JSON Lines or Parquet with a path column and one or more labels.

path,label              path,tags              path,cat,dog,split
a.jpg,cat               a.jpg,cat|dog          a.jpg,1,0,train
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from skipstone.core.errors import DataError, UsageError
from skipstone.core.formatting import join_limited, pluralize
from skipstone.data.file_types import RAW, is_camera_raw
from skipstone.data.manifest import Manifest, build_table
from skipstone.data.options import ReadOptions
from skipstone.data.readers.columns import Columns, detect_table, read_columns
from skipstone.data.readers.table_columns import (
    ColumnRoles,
    choose_column_roles,
    resolve_path_folder,
    sample_cells,
)
from skipstone.data.readers.table_files import FileLookup
from skipstone.data.readers.table_labels import (
    NO_LABEL,
    REPLACEMENT_CHARACTER,
    check_learnable_classes,
    describe_label_source,
    describe_splits,
    describe_unused_columns,
    list_classes,
    parse_split,
    parse_target,
)
from skipstone.data.readers.text_columns import choose_text_column
from skipstone.data.readers.text_table import read_text_rows

MISSING_FILE = "rows whose file does not exist"
REPEATED_ROW = "repeated rows"


class TableReader:
    """A table of texts, or of paths relative to its folder or absolute."""

    def detect_layout(self, path: Path) -> str | None:
        return detect_table(path)

    def read_manifest(self, path: Path, options: ReadOptions) -> Manifest:
        if not self.detect_layout(path):
            raise UsageError(
                f"{path} is not a table.", hint="Give a .csv, .tsv, .jsonl or .parquet file."
            )
        columns = read_columns(path, options)
        root = path.parent
        texts = choose_text_column(columns, root, options)
        if texts is not None:
            return read_text_rows(columns, texts, options)
        roles = choose_column_roles(columns, root, options)
        files = FileLookup(root, resolve_path_folder(options), search=roles.search_subfolders)
        files.infer_path_prefix(sample_cells(columns, roles.path))
        rows, ignored = _rows(columns, files, roles)
        classes = list_classes(rows["target"], roles)
        check_learnable_classes(path, classes, rows, ignored, roles)
        return Manifest(
            build_table(rows, pa.list_(pa.string()) if roles.is_multi_label else pa.string()),
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
            skipped_counts=dict(ignored),
        )


def _rows(
    columns: Columns, files: FileLookup, roles: ColumnRoles
) -> tuple[dict[str, list[Any]], Counter[str]]:
    """Column lists for the manifest, with one row per file, and skipped rows by reason."""
    ignored: Counter[str] = Counter()
    paths = columns.text_cells(roles.path)
    splits = columns.text_cells(roles.split) if roles.split else None
    groups = columns.text_cells(roles.group) if roles.group else None
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
        target = parse_target(columns, roles, row)
        if target is None:
            ignored[NO_LABEL] += 1
            continue
        split = parse_split(columns, roles, row, splits[row]) if splits else ""
        group = (groups[row] or None) if groups else None
        if path in first:
            number, earlier = first[path]
            ignored[REPEATED_ROW] += 1
            _merge(columns, roles, rows, number, (earlier, row), target, split, group)
            continue
        first[path] = (len(rows["path"]), row)
        for name, value in zip(rows, (path, split, group, target), strict=True):
            rows[name].append(value)
    if missing:
        ignored[MISSING_FILE] = len(missing)
        _check_missing(columns, files.folder, paths, missing)
    return rows, ignored


def _find_file(columns: Columns, files: FileLookup, row: int, cell: str) -> str | None:
    try:
        return files.find_file(cell)
    except DataError as error:
        raise DataError(f"{columns.row_location(row)}: {error.message}", hint=error.hint) from error


def _lost_bytes_note(columns: Columns, options: ReadOptions) -> list[str]:
    """A note on invalid bytes, which an audit replaces and training rejects."""
    if options.bad_bytes != "replace":
        return []
    if not any(
        REPLACEMENT_CHARACTER in name or any(REPLACEMENT_CHARACTER in str(cell) for cell in cells)
        for name, cells in columns.values.items()
    ):
        return []
    return [
        f"Invalid bytes are shown as {REPLACEMENT_CHARACTER}; training refuses them. Save the table as 'CSV UTF-8', "
        "or name its encoding, such as --encoding cp1252."
    ]


def _path_notes(files: FileLookup) -> list[str]:
    """A note on cells that were not exact paths, and how their files were found."""
    count = sum(files.corrections.values())
    if not count:
        return []
    return [
        f"{pluralize(count, 'file')} {'was' if count == 1 else 'were'} found "
        f"{' and '.join(files.corrections)} (such as: {files.correction_example})."
    ]


def _merge(
    columns: Columns,
    roles: ColumnRoles,
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
    subject = f"{rows['path'][number]} ({columns.row_location(earlier)} and {columns.lines[later]})"
    if (split, group) != merged[1:]:
        raise DataError(f"{subject} is in two splits or groups.", hint="Keep one of the two rows.")
    if roles.is_multi_label:
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
    roles: ColumnRoles,
    rows: dict[str, list[Any]],
    classes: list[str],
    ignored: Counter[str],
) -> list[str]:
    count = pluralize(len(rows["path"]), "picture")
    labels_from = describe_label_source(roles)
    notes = [
        f"Read as a table: {count} from column {roles.path}, task {roles.task} with labels from "
        f"{labels_from}: {pluralize(len(classes), 'label')} ({join_limited(classes, 10)})."
    ]
    notes += describe_splits(roles, rows)
    if roles.is_multi_label:
        untagged = sum(not names for names in rows["target"])
        if untagged:
            notes.append(f"{pluralize(untagged, 'picture')} without any tag are read as untagged.")
    if columns.short_lines:
        notes.append(
            f"{pluralize(len(columns.short_lines), 'line')} without their last cells (first line "
            f"{columns.short_lines[0]}): these are read as empty."
        )
    for reason in (MISSING_FILE, RAW, NO_LABEL):
        if ignored[reason]:
            notes.append(f"Skipped: {reason} ({ignored[reason]:,}).")
    if ignored[REPEATED_ROW]:
        action = "united" if roles.is_multi_label else "kept once"
        notes.append(f"{ignored[REPEATED_ROW]:,} {REPEATED_ROW} of the same file are {action}.")
    return notes + describe_unused_columns(columns, roles)
