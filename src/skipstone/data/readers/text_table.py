"""Tables whose rows are texts: a text column and one or more labels.

text,label                  {"text": "how far is it ?", "label": "number"}
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from skipstone.data.manifest import Manifest, table_of
from skipstone.data.options import ReadOptions
from skipstone.data.readers.columns import Columns, read_column
from skipstone.data.readers.table_columns import Roles, choose_columns
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
from skipstone.data.sources import Cells
from skipstone.words import counted, listed

NO_TEXT = "rows without a text"


def read_texts(columns: Columns, text: str, options: ReadOptions) -> Manifest:
    """The rows of a table as texts.

    Args:
        text: the column that holds them.
    """
    path = columns.path
    roles = choose_columns(columns, path.parent, options, source=text)
    rows, ignored = _rows(columns, roles)
    classes = classes_of(rows["target"], roles)
    check_classes(path, classes, rows, ignored, roles)
    return Manifest(
        table_of(rows, pa.list_(pa.string()) if roles.many else pa.string()),
        root=path.parent,
        reader="table",
        input="text",
        task=roles.task,
        schema={"classes": classes},
        notes=tuple(_notes(columns, roles, rows, classes, ignored)),
        ignored=dict(ignored),
        cells=Cells(text, options.delimiter, options.encoding),
    )


@dataclass(frozen=True)
class PassedOver:
    """A finding about skipped rows, with the fields of `prepare.findings.Finding`."""

    kind: str
    paths: tuple[str, ...]
    message: str
    rows: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def audit_rows(manifest: Manifest) -> tuple[list[PassedOver], dict[str, Any]]:
    """Skipped rows of a table of texts, by number; the reader's fact `audit`."""
    if manifest.cells is None:
        return [], {}
    name = manifest.column("path")[0]
    cells = manifest.cells
    texts = read_column(manifest.root / name, cells.column, cells.delimiter, cells.encoding)
    members = manifest.column("member")
    skipped = sorted(set(range(len(texts))) - set(members))
    unlabelled = [row for row in skipped if texts[row]]
    if len(unlabelled) != manifest.ignored.get(NO_LABEL, 0):
        unlabelled = []  # an exclude list dropped some of them, and they cannot be told apart
    findings = []
    for kind, numbers, missing in (
        ("empty_text", [row for row in skipped if not texts[row]], "a text"),
        ("row_without_label", unlabelled, "a label"),
    ):
        if numbers:
            paths = tuple(f"{name}#{row}" for row in numbers)
            message = (
                f"{counted(len(numbers), 'row')} without {missing}, such as {paths[0]}: skipped."
            )
            findings.append(PassedOver(kind, paths, message))
    damaged = [
        position for position, label in enumerate(manifest.column("target")) if LOST in str(label)
    ]
    if damaged:
        paths = tuple(f"{name}#{members[position]}" for position in damaged)
        message = f"{counted(len(damaged), 'label')} with invalid bytes, such as {paths[0]}."
        findings.append(PassedOver("bad_bytes", paths, message, tuple(damaged)))
    return findings, {}


def _rows(columns: Columns, roles: Roles) -> tuple[dict[str, list[Any]], Counter[str]]:
    ignored: Counter[str] = Counter()
    texts = columns.text(roles.path)
    splits = columns.text(roles.split) if roles.split else None
    groups = columns.text(roles.group) if roles.group else None
    rows: dict[str, list[Any]] = {"member": [], "split": [], "group": [], "target": []}
    for row, text in enumerate(texts):
        if not text:
            ignored[NO_TEXT] += 1
            continue
        target = target_of(columns, roles, row)
        if target is None:
            ignored[NO_LABEL] += 1
            continue
        rows["member"].append(row)
        rows["split"].append(split_of(columns, roles, row, splits[row]) if splits else "")
        rows["group"].append((groups[row] or None) if groups else None)
        rows["target"].append(target)
    rows["path"] = [Path(columns.path).name] * len(rows["target"])
    return rows, ignored


def _notes(
    columns: Columns,
    roles: Roles,
    rows: dict[str, list[Any]],
    classes: list[str],
    ignored: Counter[str],
) -> list[str]:
    count = counted(len(rows["target"]), "text")
    notes = [
        f"Read as a table: {count} from column {roles.path}, task {roles.task} with labels from "
        f"{label_source(roles)}: {counted(len(classes), 'label')} ({listed(classes, 10)})."
    ]
    notes += split_notes(roles, rows)
    for reason in (NO_TEXT, NO_LABEL):
        if ignored[reason]:
            notes.append(f"Skipped: {reason} ({ignored[reason]:,}).")
    return notes + unused_notes(columns, roles)
