"""The manifest: every row of a data set, independent of the layout it was read from.

A row is an id, a source, the user's split, a group, and a target. Targets hold the user's class
*names*, not indices, so that a model matches another data set's labels by name. The table is Arrow,
which holds ten million rows with ease. Stored it is one Parquet file, with all other fields in the
table's metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skipstone.core import storage
from skipstone.core.disk import open_regular
from skipstone.core.errors import DamagedError
from skipstone.data.options import ColumnRef
from skipstone.data.sources import FileRef, format_span

#: The three roles of rows: `train`; `val` is for early stopping, calibration, thresholds and
#: shrink's choices; `test` is scored once, afterwards, and gives the number printed.
ROLES = ("train", "val", "test")
#: The file's name in a run folder.
MANIFEST_FILE = "manifest.parquet"
_KEY = b"skipstone.manifest"
_FORMAT = 2
_COLUMNS = {
    "id": pa.int64(),
    "path": pa.string(),
    "member": pa.int64(),
    "split": pa.string(),
    "group": pa.string(),
    "role": pa.string(),
}


@dataclass(frozen=True)
class Manifest:
    """Rows of a data set.

    Args:
        table: columns id (int64), path (string, relative to root), member (int64 or null: the
            index inside a container such as IDX), split (string, "" if the user gave none),
            group (string or null), target (any Arrow type: the task reads it), and role (string,
            "" until `datasets/splitting.py` assigns it); of parts of recordings also begin and end
            (float64, seconds).
        root: folder that paths are relative to.
        reader, input, task: registry names.
        schema: JSON-able facts about the targets, such as {"classes": [...]}.
        notes: what the reader inferred, one sentence each, for the user.
        skipped_counts: number of skipped files by reason: {"hidden files": 3}.
        cells: the column that holds the sources, if they are cells of a table file; `member` is
            then the row.
        unpaired_files: incomplete files by reason, with paths as in `path`:
            {"pictures without a mask": ("images/7.png",)}. For the audit; not stored.
    """

    table: pa.Table
    root: Path
    reader: str
    input: str
    task: str
    schema: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    skipped_counts: Mapping[str, int] = field(default_factory=dict)
    cells: ColumnRef | None = None
    unpaired_files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def source_at(self, row: int) -> FileRef:
        """The source of the row at position `row` (not an id)."""
        member, path = (self.table[name][row].as_py() for name in ("member", "path"))
        return FileRef(self.root / path, member, self.cells, self._span_at(row))

    def _span_at(self, row: int) -> tuple[float, float] | None:
        if "begin" not in self.table.column_names:
            return None
        return self.table["begin"][row].as_py(), self.table["end"][row].as_py()

    def list_spans(self) -> list[tuple[float, float] | None]:
        """The span of each row, in seconds; None for a whole source."""
        if "begin" not in self.table.column_names:
            return [None] * len(self)
        return list(zip(self.column_values("begin"), self.column_values("end"), strict=True))

    def list_sources(self) -> list[FileRef]:
        members = self.table["member"].to_pylist()
        paths = self.table["path"].to_pylist()
        full_paths = {path: self.root / path for path in set(paths)}
        return [
            FileRef(full_paths[path], member, self.cells, span)
            for path, member, span in zip(paths, members, self.list_spans(), strict=True)
        ]

    def row_names(self) -> list[str]:
        """Each row's display name: its path, with "#3" for a member of a container, "@1-2s" for
        a span."""
        return [
            f"{path}{'' if member is None else f'#{member}'}{format_span(span) if span else ''}"
            for path, member, span in zip(
                self.column_values("path"),
                self.column_values("member"),
                self.list_spans(),
                strict=True,
            )
        ]

    def column_values(self, name: str) -> list[Any]:
        return list(self.table[name].to_pylist())

    def with_column(self, name: str, values: list[Any]) -> Manifest:
        """The same rows with one column replaced; the column keeps its type."""
        index = self.table.schema.get_field_index(name)
        column = pa.array(values, self.table.schema.field(index).type)
        return replace(self, table=self.table.set_column(index, name, column))

    def filter_rows(self, column: str, value: str) -> Manifest:
        """The rows whose `column_values` equals `value`; they keep their ids."""
        return replace(self, table=self.table.filter(pc.equal(self.table[column], value)))

    def take_rows(self, rows: list[int] | np.ndarray) -> Manifest:
        """The rows at these positions, in this order."""
        return replace(self, table=self.table.take(pa.array(rows, pa.int64())))

    def rows_with_role(self, name: str) -> Manifest:
        return self.filter_rows("role", name)

    def compute_fingerprint(self) -> str:
        """sha256 of rows and schema, without the root: a moved folder is the same data."""
        digest = hashlib.sha256(json.dumps(dict(self.schema), sort_keys=True).encode())
        for batch in self._chunks():
            digest.update(json.dumps(batch, sort_keys=True, ensure_ascii=False).encode())
        return digest.hexdigest()

    def _chunks(self) -> Iterator[dict[str, list[Any]]]:
        for batch in self.table.combine_chunks().to_batches(max_chunksize=65_536):
            yield batch.to_pydict()


def build_table(rows: Mapping[str, list[Any]], target_type: pa.DataType) -> pa.Table:
    """A manifest's table from column lists: `path` and `target`, and optionally member, split,
    group, begin and end. Ids count from 0."""
    count = len(rows["path"])
    spans = {name: pa.array(rows[name], pa.float64()) for name in ("begin", "end") if name in rows}
    return pa.table(
        {
            "id": pa.array(np.arange(count), pa.int64()),
            "path": pa.array(rows["path"], pa.string()),
            "member": pa.array(rows.get("member", [None] * count), pa.int64()),
            "split": pa.array(rows.get("split", [""] * count), pa.string()),
            "group": pa.array(rows.get("group", [None] * count), pa.string()),
            "target": pa.array(rows["target"], target_type),
            "role": pa.array([""] * count, pa.string()),
            **spans,
        }
    )


def save_manifest(manifest: Manifest, path: Path | str, *, data_path: Path | None = None) -> None:
    """Write it durably, with the root as an absolute path. The data itself is not copied.

    Args:
        data_path: the path that the user named as the data: a folder or a table.
    """
    facts = {
        "format": _FORMAT,
        "data_path": None if data_path is None else str(data_path.absolute()),
        "root": str(manifest.root.absolute()),
        "reader": manifest.reader,
        "input": manifest.input,
        "task": manifest.task,
        "schema": dict(manifest.schema),
        "notes": list(manifest.notes),
        "ignored": dict(manifest.skipped_counts),
        "cells": None if manifest.cells is None else asdict(manifest.cells),
    }
    table = manifest.table.replace_schema_metadata({_KEY: json.dumps(facts).encode()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    storage.write_bytes(path, sink.getvalue().to_pybytes())


def load_manifest(path: Path | str) -> Manifest:
    """Read what `save_manifest` wrote.

    Raises:
        DamagedError: the file is truncated, changed or not a manifest.
    """
    _refuse_link(path)
    data = storage.read_bytes(path)
    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise DamagedError(f"{path} is damaged: it is not a readable Parquet file.") from error
    try:
        facts = _facts(path, table.schema)
        if facts["format"] != _FORMAT:
            raise DamagedError(
                f"{path} has manifest format {facts['format']}; this skipstone reads {_FORMAT}."
            )
        _check_columns(path, table)
        cells = facts.get("cells")
        return Manifest(
            table.replace_schema_metadata(None),
            Path(facts["root"]),
            facts["reader"],
            facts["input"],
            facts["task"],
            facts["schema"],
            tuple(facts["notes"]),
            facts["ignored"],
            None if cells is None else ColumnRef(**cells),
        )
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(f"{path} is damaged: its metadata cannot be read ({error}).") from error


def load_data_path(path: Path | str) -> Path | None:
    """The path that the user named as the data of a stored manifest, read without its rows; None
    if it was not recorded.

    Raises:
        DamagedError: the file is truncated, changed or not a manifest.
    """
    _refuse_link(path)
    try:
        with open_regular(path) as file:
            data_path = _facts(path, pq.read_schema(file)).get("data_path")
    except (pa.ArrowException, OSError, ValueError, AttributeError) as error:
        raise DamagedError(f"{path} is damaged: its metadata cannot be read ({error}).") from error
    return Path(data_path) if isinstance(data_path, str) else None


def _refuse_link(path: Path | str) -> None:
    if Path(path).is_symlink():
        raise DamagedError(f"{path} is a link; a run folder holds files of its own only.")


def _facts(path: Path | str, schema: pa.Schema) -> Any:
    stored = (schema.metadata or {}).get(_KEY)
    if stored is None:
        raise DamagedError(f"{path} is not a manifest of skipstone.")
    return json.loads(stored)


def _check_columns(path: Path | str, table: pa.Table) -> None:
    for name, kind in _COLUMNS.items():
        if name not in table.column_names or table.schema.field(name).type != kind:
            raise DamagedError(
                f"{path} is damaged: column {name} ({kind}) is missing or has another type."
            )
    if "target" not in table.column_names:
        raise DamagedError(f"{path} is damaged: column target is missing.")
