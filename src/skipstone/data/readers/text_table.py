"""Tables whose rows are texts: a text column and one or more labels.

text,label                  {"text": "how far is it ?", "label": "number"}
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from skipstone.core.formatting import join_limited, pluralize
from skipstone.data.manifest import Manifest, build_table
from skipstone.data.options import ReadOptions
from skipstone.data.readers.columns import Columns, read_column
from skipstone.data.readers.table_columns import ColumnRoles, choose_column_roles
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
from skipstone.data.sources import ColumnRef

NO_TEXT = "rows without a text"


def read_text_rows(columns: Columns, text: str, options: ReadOptions) -> Manifest:
    """The rows of a table as texts.

    Args:
        text: the column that holds them.
    """
    path = columns.path
    roles = choose_column_roles(columns, path.parent, options, source=text)
    rows, ignored = _rows(columns, roles)
    classes = list_classes(rows["target"], roles)
    check_learnable_classes(path, classes, rows, ignored, roles)
    return Manifest(
        build_table(rows, pa.list_(pa.string()) if roles.is_multi_label else pa.string()),
        root=path.parent,
        reader="table",
        input="text",
        task=roles.task,
        schema={"classes": classes},
        notes=tuple(_notes(columns, roles, rows, classes, ignored)),
        skipped_counts=dict(ignored),
        cells=ColumnRef(text, options.delimiter, options.encoding),
    )


@dataclass(frozen=True)
class SkippedRows:
    """A finding about skipped rows, with the fields of `prepare.findings.Finding`."""

    kind: str
    paths: tuple[str, ...]
    message: str
    rows: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def audit_text_table(manifest: Manifest) -> tuple[list[SkippedRows], dict[str, Any]]:
    """Skipped rows of a table of texts, by number; `audit` of the reader's spec."""
    if manifest.cells is None:
        return [], {}
    name = manifest.column_values("path")[0]
    cells = manifest.cells
    texts = read_column(manifest.root / name, cells.column, cells.delimiter, cells.encoding)
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
            findings.append(SkippedRows(kind, paths, message))
    damaged = [
        position
        for position, label in enumerate(manifest.column_values("target"))
        if REPLACEMENT_CHARACTER in str(label)
    ]
    if damaged:
        paths = tuple(f"{name}#{members[position]}" for position in damaged)
        message = f"{pluralize(len(damaged), 'label')} with invalid bytes, such as {paths[0]}."
        findings.append(SkippedRows("bad_bytes", paths, message, tuple(damaged)))
    return findings, {}


def _rows(columns: Columns, roles: ColumnRoles) -> tuple[dict[str, list[Any]], Counter[str]]:
    ignored: Counter[str] = Counter()
    texts = columns.text_cells(roles.path)
    splits = columns.text_cells(roles.split) if roles.split else None
    groups = columns.text_cells(roles.group) if roles.group else None
    rows: dict[str, list[Any]] = {"member": [], "split": [], "group": [], "target": []}
    for row, text in enumerate(texts):
        if not text:
            ignored[NO_TEXT] += 1
            continue
        target = parse_target(columns, roles, row)
        if target is None:
            ignored[NO_LABEL] += 1
            continue
        rows["member"].append(row)
        rows["split"].append(parse_split(columns, roles, row, splits[row]) if splits else "")
        rows["group"].append((groups[row] or None) if groups else None)
        rows["target"].append(target)
    rows["path"] = [Path(columns.path).name] * len(rows["target"])
    return rows, ignored


def _notes(
    columns: Columns,
    roles: ColumnRoles,
    rows: dict[str, list[Any]],
    classes: list[str],
    ignored: Counter[str],
) -> list[str]:
    count = pluralize(len(rows["target"]), "text")
    notes = [
        f"Read as a table: {count} from column {roles.path}, task {roles.task} with labels from "
        f"{describe_label_source(roles)}: {pluralize(len(classes), 'label')} ({join_limited(classes, 10)})."
    ]
    notes += describe_splits(roles, rows)
    for reason in (NO_TEXT, NO_LABEL):
        if ignored[reason]:
            notes.append(f"Skipped: {reason} ({ignored[reason]:,}).")
    return notes + describe_unused_columns(columns, roles)
