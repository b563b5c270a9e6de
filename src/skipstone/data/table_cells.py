"""Digests of table cells, stored with a manifest to notice edits of the table."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pyarrow as pa

from skipstone.data.manifest import Manifest
from skipstone.data.readers.columns import read_column
from skipstone.data.sources import encode_utf8

#: The column of a stored manifest with a digest of each cell.
CELL_DIGEST = "content"


def add_cell_digests(manifest: Manifest) -> Manifest:
    """The manifest with a column CONTENT of cell digests; unchanged if its sources are not cells.

    A table's row is identified only by its number, which changes meaning when the table is edited.
    """
    if manifest.cells is None or CELL_DIGEST in manifest.table.column_names:
        return manifest
    digests = pa.array(compute_cell_digests(manifest), pa.string())
    return replace(manifest, table=manifest.table.append_column(CELL_DIGEST, digests))


def compute_cell_digests(manifest: Manifest) -> list[str | None]:
    """A digest of what each cell holds now; None if the row no longer exists.

    Raises:
        DataError: a table cannot be read, or no longer has that column.
    """
    cells = manifest.cells
    assert cells is not None, "sources are cells"
    columns: dict[str, list[str]] = {}
    digests: list[str | None] = []
    for path, row in zip(
        manifest.column_values("path"), manifest.column_values("member"), strict=True
    ):
        if path not in columns:
            columns[path] = read_column(
                manifest.root / path, cells.column, cells.delimiter, cells.encoding
            )
        exists = 0 <= row < len(columns[path])
        text = encode_utf8(columns[path][row]) if exists else b""
        digests.append(hashlib.blake2b(text, digest_size=16).hexdigest() if exists else None)
    return digests
