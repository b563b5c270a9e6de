"""The labels, splits and groups of a table's rows."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

from skipstone.core.errors import DataError, UsageError
from skipstone.core.formatting import join_limited, natural_sorted, pluralize
from skipstone.data.readers.base import SPLIT_NAMES
from skipstone.data.readers.columns import Columns
from skipstone.data.readers.table_columns import ColumnRoles, is_number, is_set_bit

NO_LABEL = "rows without a label"
#: The replacement character for invalid bytes in an audit.
REPLACEMENT_CHARACTER = "\ufffd"
#: With at least this many rows, labels of which nine in ten are distinct are ids or measurements.
_MIN_ROWS_TO_JUDGE = 20


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
    if isinstance(cell, list):
        parts = cell
    elif roles.separator is not None:
        parts = cell.split(roles.separator)
    else:
        parts = [cell]
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
    ignored: Counter[str],
    roles: ColumnRoles,
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
