"""Tables: CSV, TSV, JSON Lines or Parquet with a path column and one label, or several.

path,label              path,tags              path,cat,dog,split
a.jpg,cat               a.jpg,cat|dog          a.jpg,1,0,train
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from skipstone.data.file_types import RAW, is_camera_raw
from skipstone.data.manifest import Manifest, table_of
from skipstone.data.options import ReadOptions
from skipstone.data.readers.base import SPLIT_NAMES
from skipstone.data.readers.columns import Columns, read_columns, sniff_table
from skipstone.data.readers.table_columns import (
    Roles,
    choose_columns,
    is_number,
    is_one,
    path_folder,
    sample_cells,
)
from skipstone.data.readers.table_files import Files
from skipstone.data.readers.text_columns import text_column
from skipstone.errors import DataError, UsageError
from skipstone.words import counted, listed, natural_sorted

MISSING = "rows whose file does not exist"
NO_LABEL = "rows without a label"
REPEATED = "repeated rows"
#: From so many rows on, labels of which nine in ten stand once are ids or measurements.
_ENOUGH = 20


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
            # Here, because rows that are texts are read with what is below.
            from skipstone.data.readers.text_table import read_texts

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


def _made_up(files: Files) -> list[str]:
    """What cells lacked to be paths."""
    count = sum(files.made_up.values())
    if not count:
        return []
    return [
        f"{counted(count, 'file')} {'was' if count == 1 else 'were'} found "
        f"{' and '.join(files.made_up)} (such as: {files.example})."
    ]


def target_of(columns: Columns, roles: Roles, row: int) -> str | list[str] | None:
    """A label, a list of tags, or None where the row is not labelled."""
    if roles.bits:
        chosen = [name for name in roles.labels if is_one(columns.values[name][row])]
        if roles.many:
            return chosen
        if len(chosen) != 1:
            raise DataError(
                f"{columns.where(row)}: {len(chosen)} of {listed(roles.labels)} are 1; one label "
                "each is what classify needs.",
                hint="For any number of labels: --task tag",
            )
        return chosen[0]
    cell = columns.values[roles.labels[0]][row]
    if isinstance(cell, list):
        parts = cell
    elif roles.separator is not None:
        parts = cell.split(roles.separator)
    else:
        parts = [cell]
    names = [unicodedata.normalize("NFC", part.strip()) for part in parts if part.strip()]
    if roles.many:
        return list(dict.fromkeys(names))
    return names[0] if names else None


def split_of(columns: Columns, roles: Roles, row: int, cell: str) -> str:
    if not cell:
        return ""
    split = SPLIT_NAMES.get(cell.casefold())
    if split is None:
        raise DataError(
            f"{columns.where(row)}: {cell!r} in column {roles.split} is no split.",
            hint="Allowed: train, validation (or val, valid), test, or empty.",
        )
    return split


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


def classes_of(targets: list[Any], roles: Roles) -> list[str]:
    if roles.bits:
        return list(roles.labels)  # the user's own order; a label that nobody has is still named
    if roles.many:
        return natural_sorted({name for names in targets for name in names})
    return natural_sorted(set(targets))


def check_classes(
    path: Path,
    classes: list[str],
    rows: dict[str, list[Any]],
    ignored: Counter[str],
    roles: Roles,
) -> None:
    if not rows["target"]:
        what = ", ".join(f"{count:,} {reason}" for reason, count in ignored.items())
        raise DataError(f"{path}: no row can be used ({what}).")
    if len(classes) < 2 and (not roles.many or not classes):
        raise UsageError(
            f"{path}: column {listed(roles.labels)} holds "
            f"{counted(len(classes), 'label')} ({listed(classes)}); telling things apart takes "
            "two.",
            hint="Another column may be the label: --label-column NAME",
        )
    count = len(rows["target"])
    if not roles.many and count >= _ENOUGH and 10 * len(classes) >= 9 * count:
        hint = "A label is a word that rows share. Another column may be it: --label-column NAME"
        if all(map(is_number, classes)):
            hint = (
                "To foretell a number (regression) is no task of skipstone; ranges of it, such as "
            )
            hint += (
                "0-10 and 10-20, are labels. Another column may be the label: --label-column NAME"
            )
        raise UsageError(
            f"{path}: column {listed(roles.labels)} holds {len(classes):,} different labels in "
            f"{count:,} rows: where nothing recurs there is nothing to learn.",
            hint=hint,
        )


def label_source(roles: Roles) -> str:
    """Where labels come from, in words."""
    if roles.bits:
        return f"0/1 columns {listed(roles.labels)}"
    if roles.separator is not None:
        return f"column {roles.labels[0]}, separated by {roles.separator!r}"
    return f"column {roles.labels[0]}"


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


def split_notes(roles: Roles, rows: dict[str, list[Any]]) -> list[str]:
    """What the columns of splits and groups say."""
    notes = []
    if roles.split:
        sizes = Counter(rows["split"])
        parts = [f"{split or 'none'} {sizes[split]:,}" for split in sorted(sizes)]
        notes.append(f"Splits from column {roles.split}: {', '.join(parts)}.")
    if roles.group:
        held = {name for name in rows["group"] if name is not None}
        notes.append(
            f"Rows of one {roles.group} stay together: {counted(len(held), 'group')} from that "
            "column."
        )
    return notes


def unused_notes(columns: Columns, roles: Roles) -> list[str]:
    used = (roles.path, roles.split, roles.group, *roles.labels)
    unused = [name for name in columns.names if name not in used]
    return [f"Not used: {counted(len(unused), 'column')} ({listed(unused)})."] if unused else []
