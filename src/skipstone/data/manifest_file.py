"""A Manifest as one Parquet file: the rows, and all other fields in the table's metadata."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from skipstone.core import storage
from skipstone.core.errors import DamagedError
from skipstone.data.manifest import Manifest
from skipstone.data.sources import ColumnRef

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
    try:
        data_path = _facts(path, pq.read_schema(path)).get("data_path")
    except (pa.ArrowException, OSError, ValueError, AttributeError) as error:
        raise DamagedError(f"{path} is damaged: its metadata cannot be read ({error}).") from error
    return Path(data_path) if isinstance(data_path, str) else None


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
