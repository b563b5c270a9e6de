"""Tables: CSV, TSV, JSON Lines or Parquet with a column of paths or texts, and one or more labels.

path,label              path,tags              path,cat,dog,split
a.jpg,cat               a.jpg,cat|dog          a.jpg,1,0,train

text,label                  {"text": "how far is it ?", "label": "number"}
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from skipstone.core.errors import DataError, UsageError
from skipstone.core.formatting import join_limited, natural_sorted, pluralize
from skipstone.core.registry import INPUTS
from skipstone.core.specs import InputSpec
from skipstone.data.findings import Finding
from skipstone.data.input_files import (
    choose_input,
    list_file_inputs,
    load_conversions,
    make_skip_check,
    read_head,
)
from skipstone.data.lfs_pointers import is_lfs_pointer, lfs_pointer_error
from skipstone.data.manifest import Manifest, build_table
from skipstone.data.options import ColumnRef, ReadOptions
from skipstone.data.readers.base import SPLIT_NAMES
from skipstone.data.readers.box_table import find_box_columns
from skipstone.data.readers.columns import (
    Columns,
    describe_long_lines,
    detect_table,
    read_column,
    read_columns,
    read_names,
)
from skipstone.data.readers.label_cells import split_labels
from skipstone.data.readers.table_columns import (
    ColumnRoles,
    choose_column_roles,
    choose_text_column,
    is_number,
    is_set_bit,
    read_spans,
    reject_missing_header,
    resolve_path_folder,
    sample_cells,
)
from skipstone.data.readers.table_files import FileLookup

MISSING_FILE = "rows whose file does not exist"
REPEATED_ROW = "repeated rows"
NO_TEXT = "rows without a text"
NO_LABEL = "rows without a label"
#: The number of files to open to find their input, if their suffixes do not say it.
_FILES_TO_OPEN = 20
#: The replacement character for invalid bytes in an audit.
REPLACEMENT_CHARACTER = "\ufffd"
#: With at least this many rows, labels of which nine in ten are distinct are ids or measurements.
_MIN_ROWS_TO_JUDGE = 20


class TableReader:
    """A table of texts, or of paths relative to its folder or absolute."""

    def detect_layout(self, path: Path) -> str | None:
        kind = detect_table(path)
        if kind is None or find_box_columns(read_names(path)) is not None:
            return None  # box-table reads it
        return kind

    def read_manifest(self, path: Path, options: ReadOptions) -> Manifest:
        if not detect_table(path):
            raise UsageError(
                f"{path} is not a table.", hint="Give a .csv, .tsv, .jsonl or .parquet file."
            )
        columns = read_columns(path, options)
        try:
            return self._read_rows(path, columns, options)
        except UsageError:
            if _lost_bytes_note(columns, options):
                # Where letters are lost, names of files and labels do not match: say that.
                read_columns(path, replace(options, bad_bytes="strict"))
            raise

    def _read_rows(self, path: Path, columns: Columns, options: ReadOptions) -> Manifest:
        reject_missing_header(columns, options)
        root = path.parent
        input, cells, notes = _cell_input(options), None, []
        text = None if input is None else choose_text_column(columns, root, options)
        roles = choose_column_roles(columns, root, options, source=text)
        if input is not None and text is not None:
            rows, skipped = _text_rows(columns, roles)
            cells = ColumnRef(text, options.delimiter, options.encoding, options.quoting)
        else:
            files = FileLookup(root, resolve_path_folder(options), search=roles.search_subfolders)
            files.infer_path_prefix(sample_cells(columns, roles.path))
            paths = [
                _find_file(columns, files, row, cell)
                for row, cell in enumerate(columns.text_cells(roles.path))
            ]
            existing = [path for path in paths if path]
            for name in existing[:_FILES_TO_OPEN]:
                if is_lfs_pointer(read_head(root / name)):
                    raise lfs_pointer_error(root / name, root)
            input = _choose_file_input(path, existing, options)
            rows, skipped = _file_rows(columns, files, roles, paths, input)
            notes = [*_path_notes(files), *_lost_bytes_note(columns, options)]
        classes = list_classes(rows["target"], roles)
        check_learnable_classes(path, classes, rows, skipped, roles)
        return Manifest(
            build_table(rows, pa.list_(pa.string()) if roles.is_multi_label else pa.string()),
            root=root,
            reader="table",
            input=input.name,
            task=roles.task,
            schema={"classes": classes},
            notes=(*_notes(columns, roles, rows, classes, skipped, input.noun), *notes),
            skipped_counts=dict(skipped),
            cells=cells,
        )


def _cell_input(options: ReadOptions) -> InputSpec | None:
    """The input whose sources are cells; None if the user names another one."""
    spec = next(spec for spec in INPUTS if spec.row_content == "cells")
    if options.input is None or INPUTS[options.input] == spec:
        return spec
    if options.text_column is not None:
        raise UsageError(
            f"--text-column holds {spec.noun}s, which is not --input {options.input}.",
            hint="Give one of the two.",
        )
    return None


def _choose_file_input(table: Path, paths: list[str], options: ReadOptions) -> InputSpec:
    """The input that reads these files: by their suffixes, or else by their first bytes."""
    inputs = list_file_inputs(options.input)
    if len(inputs) == 1:
        return inputs[0]
    counts: Counter[tuple[str, ...]] = Counter()
    for path in paths:
        name = path.lower()
        counts[tuple(spec.name for spec in inputs if name.endswith(spec.suffixes))] += 1
    del counts[()]
    if not counts:
        checks = {spec.name: make_skip_check(spec) for spec in inputs}
        for path in paths[:_FILES_TO_OPEN]:
            head = read_head(table.parent / path)
            counts[tuple(name for name, check in checks.items() if not check(path, head))] += 1
        del counts[()]
    return choose_input(table, counts) or inputs[0]


def _file_rows(
    columns: Columns,
    files: FileLookup,
    roles: ColumnRoles,
    paths: list[str | None],
    input: InputSpec,
) -> tuple[dict[str, list[Any]], Counter[str]]:
    """Column lists for the manifest, with one row per file, and skipped rows by reason.

    Args:
        paths: the file of each row, or None.
    """
    skipped: Counter[str] = Counter()
    skip_reason, conversions = make_skip_check(input), load_conversions([input])
    labels = _RowLabels(columns, roles)
    rows: dict[str, list[Any]] = {"path": [], "split": [], "group": [], "target": []}
    spans = read_spans(columns) if input.has_spans else None
    if spans is not None:
        rows |= {"begin": [], "end": []}
    first: dict[Any, tuple[int, int]] = {}  # path and span -> (number in rows, row of the table)
    missing: list[int] = []
    for row, path in enumerate(paths):
        if path is None:
            missing.append(row)
            continue
        if (reason := skip_reason(path, b"")) in conversions:
            skipped[reason] += 1
            continue
        fields = labels.read_row(row)
        span = None if spans is None else spans[row]
        if fields is None:
            skipped[NO_LABEL] += 1
            continue
        split, group, target = fields
        if span is not None:  # parts of one recording belong together
            group = group or path
        if (path, span) in first:
            number, earlier = first[path, span]
            skipped[REPEATED_ROW] += 1
            _merge(columns, roles, rows, number, (earlier, row), split, group, target)
        else:
            first[path, span] = (len(rows["path"]), row)
            for name, value in zip(rows, (path, split, group, target, *(span or ())), strict=True):
                rows[name].append(value)
    if missing:
        skipped[MISSING_FILE] = len(missing)
        _check_missing(columns, files.folder, columns.text_cells(roles.path), missing)
    return rows, skipped


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
    split: str,
    group: str | None,
    target: str | list[str],
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
            hint="Keep one of the rows, or allow several labels per file: --task tag",
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
    columns: Columns,
    roles: ColumnRoles,
    rows: dict[str, list[Any]],
    classes: list[str],
    skipped: Counter[str],
    noun: str,
) -> list[str]:
    files = pluralize(len(rows["path"]), noun)
    labels_from = describe_label_source(roles)
    notes = [
        f"Read as a table: {files} from column {roles.path}, task {roles.task} with labels from "
        f"{labels_from}: {pluralize(len(classes), 'label')} ({join_limited(classes, 10)})."
    ]
    notes += describe_splits(roles, rows)
    if roles.is_multi_label:
        untagged = sum(not names for names in rows["target"])
        if untagged:
            notes.append(f"{pluralize(untagged, noun)} without any tag are read as untagged.")
    if columns.short_lines:
        notes.append(
            f"{pluralize(len(columns.short_lines), 'line')} without their last cells (first line "
            f"{columns.short_lines[0]}): these are read as empty."
        )
    if columns.long_lines:
        notes.append(describe_long_lines(columns))
    for reason, count in skipped.items():
        if reason != REPEATED_ROW:
            notes.append(f"Skipped: {reason} ({count:,}).")
    if skipped[REPEATED_ROW]:
        action = "united" if roles.is_multi_label else "kept once"
        notes.append(f"{skipped[REPEATED_ROW]:,} {REPEATED_ROW} of the same file are {action}.")
    return notes + describe_unused_columns(columns, roles)


def audit_text_table(manifest: Manifest) -> tuple[list[Finding], dict[str, Any]]:
    """Skipped rows of a table of texts, by number; `audit` of the reader's spec."""
    if manifest.cells is None:
        return [], {}
    name = manifest.column_values("path")[0]
    texts = read_column(manifest.root / name, manifest.cells)
    members = manifest.column_values("member")
    skipped = sorted(set(range(len(texts))) - set(members))
    unlabelled = [row for row in skipped if texts[row]]
    if len(unlabelled) != manifest.skipped_counts.get(NO_LABEL, 0):
        unlabelled = []  # an exclude list dropped some of them, and they cannot be told apart
    findings = []
    for kind, numbers, missing in (
        ("empty_text", [row for row in skipped if not texts[row]], "a text"),
        ("row_without_label", unlabelled, "a label"),
    ):
        if numbers:
            paths = tuple(f"{name}#{row}" for row in numbers)
            message = (
                f"{pluralize(len(numbers), 'row')} without {missing}, such as {paths[0]}: skipped."
            )
            findings.append(Finding(kind, paths, message))
    damaged = [
        position
        for position, label in enumerate(manifest.column_values("target"))
        if REPLACEMENT_CHARACTER in str(label)
    ]
    if damaged:
        paths = tuple(f"{name}#{members[position]}" for position in damaged)
        message = f"{pluralize(len(damaged), 'label')} with invalid bytes, such as {paths[0]}."
        findings.append(Finding("bad_bytes", paths, message, tuple(damaged)))
    return findings, {}


def _text_rows(columns: Columns, roles: ColumnRoles) -> tuple[dict[str, list[Any]], Counter[str]]:
    """Column lists for the manifest, with one row per text, and skipped rows by reason."""
    skipped: Counter[str] = Counter()
    labels = _RowLabels(columns, roles)
    rows: dict[str, list[Any]] = {"member": [], "split": [], "group": [], "target": []}
    for row, text in enumerate(columns.text_cells(roles.path)):
        fields = labels.read_row(row) if text else None
        if fields is None:
            skipped[NO_LABEL if text else NO_TEXT] += 1
            continue
        for name, value in zip(rows, (row, *fields), strict=True):
            rows[name].append(value)
    rows["path"] = [Path(columns.path).name] * len(rows["target"])
    return rows, skipped


class _RowLabels:
    """Reads the split, the group and the target of a table's rows."""

    def __init__(self, columns: Columns, roles: ColumnRoles) -> None:
        self.columns, self.roles = columns, roles
        self.splits = columns.text_cells(roles.split) if roles.split else None
        self.groups = columns.text_cells(roles.group) if roles.group else None

    def read_row(self, row: int) -> tuple[str, str | None, str | list[str]] | None:
        """(split, group, target), or None without a label."""
        target = parse_target(self.columns, self.roles, row)
        if target is None:
            return None
        splits, groups = self.splits, self.groups
        split = parse_split(self.columns, self.roles, row, splits[row]) if splits else ""
        return split, (groups[row] or None) if groups else None, target


def parse_target(columns: Columns, roles: ColumnRoles, row: int) -> str | list[str] | None:
    """A label, a list of tags, or None if the row has no label."""
    if roles.has_indicator_columns:
        chosen = [name for name in roles.labels if is_set_bit(columns.values[name][row])]
        if roles.is_multi_label:
            return chosen
        if len(chosen) != 1:
            raise DataError(
                f"{columns.row_location(row)}: {len(chosen)} of {join_limited(roles.labels)} are 1; classify "
                "needs exactly one label per row.",
                hint="For any number of labels: --task tag",
            )
        return chosen[0]
    cell = columns.values[roles.labels[0]][row]
    if not isinstance(cell, list) and roles.separator is not None:
        return split_labels(cell, roles.separator)
    parts = cell if isinstance(cell, list) else [cell]
    names = [unicodedata.normalize("NFC", part.strip()) for part in parts if part.strip()]
    if roles.is_multi_label:
        return list(dict.fromkeys(names))
    return names[0] if names else None


def parse_split(columns: Columns, roles: ColumnRoles, row: int, cell: str) -> str:
    """The split that a cell names; "" for an empty cell. DataError if it is not a split."""
    if not cell:
        return ""
    split = SPLIT_NAMES.get(cell.casefold())
    if split is None:
        raise DataError(
            f"{columns.row_location(row)}: {cell!r} in column {roles.split} is not a split.",
            hint="Allowed: train, validation (or val, valid), test, or empty.",
        )
    return split


def list_classes(targets: list[Any], roles: ColumnRoles) -> list[str]:
    """The labels of all rows, in natural order."""
    if roles.has_indicator_columns:
        return list(roles.labels)  # the user's order; includes labels without rows
    if roles.is_multi_label:
        return natural_sorted({name for names in targets for name in names})
    return natural_sorted(set(targets))


def check_learnable_classes(
    path: Path,
    classes: list[str],
    rows: dict[str, list[Any]],
    skipped: Counter[str],
    roles: ColumnRoles,
) -> None:
    """Check that the labels can be learnt.

    Raises:
        DataError: no row can be used.
        UsageError: all rows have one label, or nearly every row has a different one.
    """
    if not rows["target"]:
        what = ", ".join(f"{count:,} {reason}" for reason, count in skipped.items())
        raise DataError(
            f"{path}: no row can be used ({what}).",
            hint="Another column may hold the labels (--label-column NAME) or name the files "
            "(--path-column NAME).",
        )
    if len(classes) < 2 and (not roles.is_multi_label or not classes):
        raise UsageError(
            f"{path}: column {join_limited(roles.labels)} holds only "
            f"{pluralize(len(classes), 'label')} ({join_limited(classes)}); classification needs at least "
            "two.",
            hint="Another column may hold the labels: --label-column NAME",
        )
    count = len(rows["target"])
    if not roles.is_multi_label and count >= _MIN_ROWS_TO_JUDGE and 10 * len(classes) >= 9 * count:
        hint = "Labels must recur. Another column may hold them: --label-column NAME"
        if all(map(is_number, classes)):
            hint = (
                "Regression is not supported; ranges of numbers, such as 0-10 and 10-20, can be "
                "labels. Another column may hold the labels: --label-column NAME"
            )
        raise UsageError(
            f"{path}: column {join_limited(roles.labels)} holds {len(classes):,} distinct labels in "
            f"{count:,} rows; labels that do not recur cannot be learnt.",
            hint=hint,
        )


def describe_label_source(roles: ColumnRoles) -> str:
    """The source of the labels, for a note."""
    if roles.has_indicator_columns:
        return f"0/1 columns {join_limited(roles.labels)}"
    if roles.separator is not None:
        return f"column {roles.labels[0]}, separated by {roles.separator!r}"
    return f"column {roles.labels[0]}"


def describe_splits(roles: ColumnRoles, rows: dict[str, list[Any]]) -> list[str]:
    """Notes on the split column and the group column."""
    notes = []
    if roles.split:
        sizes = Counter(rows["split"])
        parts = [f"{split or 'none'} {sizes[split]:,}" for split in sorted(sizes)]
        notes.append(f"Splits from column {roles.split}: {', '.join(parts)}.")
    if roles.group:
        groups = {name for name in rows["group"] if name is not None}
        notes.append(f"Rows of one {roles.group} stay together: {pluralize(len(groups), 'group')}.")
    return notes


def describe_unused_columns(columns: Columns, roles: ColumnRoles) -> list[str]:
    """A note on the columns that are not used."""
    used = (roles.path, roles.split, roles.group, *roles.labels)
    unused = [name for name in columns.names if name not in used]
    return (
        [f"Not used: {pluralize(len(unused), 'column')} ({join_limited(unused)})."]
        if unused
        else []
    )
