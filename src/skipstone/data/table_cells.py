"""Cells of a table file as sources: the file is read once a process, a cell is a member of it."""

from __future__ import annotations

import functools
import hashlib
import threading
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.readers.columns import read_columns
from skipstone.data.sources import Cells, in_utf8
from skipstone.errors import DataError

#: The column of a stored manifest that says what each cell held.
CONTENT = "content"

_lock = threading.Lock()


def cell(path: Path, cells: Cells, row: int) -> bytes:
    """The cell of record number `row`, counted from 0, in UTF-8. Bytes that are no letters stay as
    they are: whoever reads them says so.

    Raises:
        DataError: the table cannot be read, or no longer has that column or row.
    """
    column = column_of(path, cells)
    if not 0 <= row < len(column):
        raise DataError(
            f"{path} holds {len(column):,} rows now; there is no number {row}.",
            hint="The table was changed since it was read. Start again with what it holds now.",
        )
    return in_utf8(column[row])


def with_contents(manifest: Manifest) -> Manifest:
    """The manifest with a column CONTENT of what its cells hold, as digests; as it is where its
    sources are no cells.

    A row of a table has no name but its number, which is another row's once the table was edited.
    """
    if manifest.cells is None or CONTENT in manifest.table.column_names:
        return manifest
    held = pa.array(contents_of(manifest), pa.string())
    return replace(manifest, table=manifest.table.append_column(CONTENT, held))


def contents_of(manifest: Manifest) -> list[str | None]:
    """A digest of what each cell holds now; None where there is none any more.

    Raises:
        DataError: a table cannot be read, or no longer has that column.
    """
    assert manifest.cells is not None, "sources are cells"
    columns: dict[str, list[str]] = {}
    found: list[str | None] = []
    for path, member in zip(manifest.column("path"), manifest.column("member"), strict=True):
        if path not in columns:
            columns[path] = column_of(manifest.root / path, manifest.cells)
        there = 0 <= member < len(columns[path])
        text = in_utf8(columns[path][member]) if there else b""
        found.append(hashlib.blake2b(text, digest_size=16).hexdigest() if there else None)
    return found


def column_of(path: Path, cells: Cells) -> list[str]:
    """Every cell of one column; kept for as long as the file stays what it is."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    with _lock:  # two threads would otherwise read the same file twice
        return _read(path, cells, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4)
def _read(path: Path, cells: Cells, modified: int, size: int) -> list[str]:
    options = ReadOptions(
        delimiter=cells.delimiter, encoding=cells.encoding, bad_bytes="surrogateescape"
    )
    columns = read_columns(path, options, least=1)
    if cells.column not in columns.values:
        raise DataError(
            f"{path} has no column {cells.column!r} any more.",
            hint="The table was changed since it was read. Start again with what it holds now.",
        )
    return columns.text(cells.column)
