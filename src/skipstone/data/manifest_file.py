"""A Manifest as one Parquet file: the rows, and everything else in the table's metadata."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from skipstone import storage
from skipstone.data.manifest import Manifest
from skipstone.data.sources import Cells
from skipstone.errors import DamagedError

#: Its name in a run folder.
MANIFEST = "manifest.parquet"
_KEY = b"skipstone.manifest"
_FORMAT = 1
_COLUMNS = {
    "id": pa.int64(),
    "path": pa.string(),
    "member": pa.int64(),
    "split": pa.string(),
    "group": pa.string(),
    "role": pa.string(),
}


def save_manifest(manifest: Manifest, path: Path | str, *, given: Path | None = None) -> None:
    """Write it, durably. The root is kept as an absolute path; the data itself is not copied.

    Args:
        given: what the user named as the data: a folder, or a table.
    """
    facts = {
        "format": _FORMAT,
        "given": None if given is None else str(given.absolute()),
        "root": str(manifest.root.absolute()),
        "reader": manifest.reader,
        "input": manifest.input,
        "task": manifest.task,
        "schema": dict(manifest.schema),
        "notes": list(manifest.notes),
        "ignored": dict(manifest.ignored),
        "cells": None if manifest.cells is None else asdict(manifest.cells),
    }
    table = manifest.table.replace_schema_metadata({_KEY: json.dumps(facts).encode()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    storage.write_bytes(path, sink.getvalue().to_pybytes())


def load_manifest(path: Path | str) -> Manifest:
    """Read what `save_manifest` wrote.

    Raises:
        DamagedError: the file is cut, changed or not a manifest.
    """
    data = storage.read_bytes(path)
    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise DamagedError(f"{path} is damaged: it is no Parquet file that can be read.") from error
    try:
        facts = _facts(path, table.schema)
        if facts["format"] != _FORMAT:
            raise DamagedError(
                f"{path} has manifest format {facts['format']}; this version reads {_FORMAT}."
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
            None if cells is None else Cells(**cells),
        )
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(f"{path} is damaged: its metadata cannot be read ({error}).") from error


def data_given(path: Path | str) -> Path | None:
    """What the user named as the data of a stored manifest, read without its rows; None where
    that was not written down.

    Raises:
        DamagedError: the file is cut, changed or not a manifest.
    """
    try:
        given = _facts(path, pq.read_schema(path)).get("given")
    except (pa.ArrowException, OSError, ValueError, AttributeError) as error:
        raise DamagedError(f"{path} is damaged: its metadata cannot be read ({error}).") from error
    return Path(given) if isinstance(given, str) else None


def _facts(path: Path | str, schema: pa.Schema) -> Any:
    stored = (schema.metadata or {}).get(_KEY)
    if stored is None:
        raise DamagedError(f"{path} is no manifest of skipstone.")
    return json.loads(stored)


def _check_columns(path: Path | str, table: pa.Table) -> None:
    for name, kind in _COLUMNS.items():
        if name not in table.column_names or table.schema.field(name).type != kind:
            raise DamagedError(f"{path} is damaged: column {name} ({kind}) is not as written.")
    if "target" not in table.column_names:
        raise DamagedError(f"{path} is damaged: it has no column target.")
