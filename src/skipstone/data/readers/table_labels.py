"""What the rows of a table say beside their source: label, split and group."""

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
#: What bytes become that are no letters, where an audit replaces them.
LOST = "\ufffd"
#: From so many rows on, labels of which nine in ten stand once are ids or measurements.
_ENOUGH = 20


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
    """The split that a cell names, or "". DataError where it is none."""
    if not cell:
        return ""
    split = SPLIT_NAMES.get(cell.casefold())
    if split is None:
        raise DataError(
            f"{columns.where(row)}: {cell!r} in column {roles.split} is no split.",
            hint="Allowed: train, validation (or val, valid), test, or empty.",
        )
    return split


def classes_of(targets: list[Any], roles: Roles) -> list[str]:
    """The labels of all rows, in the order that a person expects."""
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
    """Whether there is something to learn.

    Raises:
        DataError: no row can be used. UsageError: all of them have one label, or nearly each
            one of its own.
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
    """Which columns say nothing here."""
    used = (roles.path, roles.split, roles.group, *roles.labels)
    unused = [name for name in columns.names if name not in used]
    return [f"Not used: {counted(len(unused), 'column')} ({listed(unused)})."] if unused else []
