"""The labels, splits and groups of a table's rows."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

from skipstone.data.readers.base import SPLIT_NAMES
from skipstone.data.readers.columns import Columns
from skipstone.data.readers.table_columns import Roles, is_number, is_one
from skipstone.errors import DataError, UsageError
from skipstone.words import counted, listed, natural_sorted

NO_LABEL = "rows without a label"
#: The replacement character for invalid bytes in an audit.
LOST = "\ufffd"
#: With at least this many rows, labels of which nine in ten are distinct are ids or measurements.
_MIN_ROWS_TO_JUDGE = 20


def target_of(columns: Columns, roles: Roles, row: int) -> str | list[str] | None:
    """A label, a list of tags, or None if the row has no label."""
    if roles.bits:
        chosen = [name for name in roles.labels if is_one(columns.values[name][row])]
        if roles.many:
            return chosen
        if len(chosen) != 1:
            raise DataError(
                f"{columns.where(row)}: {len(chosen)} of {listed(roles.labels)} are 1; classify "
                "needs exactly one label per row.",
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
    """The split that a cell names; "" for an empty cell. DataError if it is not a split."""
    if not cell:
        return ""
    split = SPLIT_NAMES.get(cell.casefold())
    if split is None:
        raise DataError(
            f"{columns.where(row)}: {cell!r} in column {roles.split} is not a split.",
            hint="Allowed: train, validation (or val, valid), test, or empty.",
        )
    return split


def classes_of(targets: list[Any], roles: Roles) -> list[str]:
    """The labels of all rows, in natural order."""
    if roles.bits:
        return list(roles.labels)  # the user's order; includes labels without rows
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
    """Check that the labels can be learnt.

    Raises:
        DataError: no row can be used.
        UsageError: all rows have one label, or nearly every row has a different one.
    """
    if not rows["target"]:
        what = ", ".join(f"{count:,} {reason}" for reason, count in ignored.items())
        raise DataError(
            f"{path}: no row can be used ({what}).",
            hint="Another column may hold the labels (--label-column NAME) or name the files "
            "(--path-column NAME).",
        )
    if len(classes) < 2 and (not roles.many or not classes):
        raise UsageError(
            f"{path}: column {listed(roles.labels)} holds only "
            f"{counted(len(classes), 'label')} ({listed(classes)}); classification needs at least "
            "two.",
            hint="Another column may hold the labels: --label-column NAME",
        )
    count = len(rows["target"])
    if not roles.many and count >= _MIN_ROWS_TO_JUDGE and 10 * len(classes) >= 9 * count:
        hint = "Labels must recur. Another column may hold them: --label-column NAME"
        if all(map(is_number, classes)):
            hint = (
                "Regression is not supported; ranges of numbers, such as 0-10 and 10-20, can be "
                "labels. Another column may hold the labels: --label-column NAME"
            )
        raise UsageError(
            f"{path}: column {listed(roles.labels)} holds {len(classes):,} distinct labels in "
            f"{count:,} rows; labels that do not recur cannot be learnt.",
            hint=hint,
        )


def label_source(roles: Roles) -> str:
    """The source of the labels, for a note."""
    if roles.bits:
        return f"0/1 columns {listed(roles.labels)}"
    if roles.separator is not None:
        return f"column {roles.labels[0]}, separated by {roles.separator!r}"
    return f"column {roles.labels[0]}"


def split_notes(roles: Roles, rows: dict[str, list[Any]]) -> list[str]:
    """Notes on the split column and the group column."""
    notes = []
    if roles.split:
        sizes = Counter(rows["split"])
        parts = [f"{split or 'none'} {sizes[split]:,}" for split in sorted(sizes)]
        notes.append(f"Splits from column {roles.split}: {', '.join(parts)}.")
    if roles.group:
        groups = {name for name in rows["group"] if name is not None}
        notes.append(f"Rows of one {roles.group} stay together: {counted(len(groups), 'group')}.")
    return notes


def unused_notes(columns: Columns, roles: Roles) -> list[str]:
    """A note on the columns that are not used."""
    used = (roles.path, roles.split, roles.group, *roles.labels)
    unused = [name for name in columns.names if name not in used]
    return [f"Not used: {counted(len(unused), 'column')} ({listed(unused)})."] if unused else []
