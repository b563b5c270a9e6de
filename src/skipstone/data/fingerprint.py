"""Content digests of files and table cells, and exact duplicates found with them.

Paths and names do not enter a digest; `Manifest.compute_fingerprint` covers those and the labels.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from skipstone.core import events
from skipstone.core.disk import open_regular
from skipstone.core.errors import DataError
from skipstone.data.manifest import Manifest
from skipstone.data.readers.columns import read_column
from skipstone.data.sources import FileRef, encode_utf8, read_source

THREADS = 8  # hashing releases the GIL, and disks are faster with several requests in flight
_CHUNK = 1 << 20
_BLOCK = 512  # rows per task: dispatching to a thread costs more than hashing a thumbnail

T = TypeVar("T")
R = TypeVar("R")
_EMPTY = hashlib.sha256(b"").hexdigest()
#: The column of a stored manifest with a digest of each row's bytes.
CONTENT_DIGEST = "content"


def compute_digest(data: bytes | np.ndarray) -> str:
    """sha256 of bytes, or of an array's shape and values."""
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha256(repr(data.shape).encode() + data.tobytes()).hexdigest()


def find_duplicate_groups(
    manifest: Manifest, digests: Sequence[str | None] | None = None
) -> list[list[int]]:
    """Groups of two or more row positions with identical bytes, in row order.

    Empty and unreadable files are not duplicates. Without `digests`, only files of equal length
    are read.
    """
    if digests is None:
        digests = _digests_of_equal_sizes(manifest)
    rows: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(digests):
        if digest is not None and digest != _EMPTY:
            rows[digest].append(row)
    return sorted(group for group in rows.values() if len(group) > 1)


def map_in_threads(
    work: Callable[[T], R], items: Sequence[T], name: str, *, unit: str, threads: int = THREADS
) -> list[R]:
    """`work` on every item, in order, in blocks on threads, with progress."""
    size = max(1, min(_BLOCK, len(items) // (threads * 8)))
    blocks = [items[start : start + size] for start in range(0, len(items), size)]
    results: list[R] = []
    with (
        events.progress_stage(name, total=len(items), unit=unit) as advance,
        ThreadPoolExecutor(threads) as pool,
    ):
        for block in pool.map(lambda part: [work(item) for item in part], blocks):
            results += block
            advance(len(block))
    return results


def _digest(source: FileRef) -> str | None:
    if source.member is None:
        return _file_digest(source.path)
    try:
        return compute_digest(read_source(source))  # its container is read once
    except DataError:
        return None


def _file_digest(path: Path) -> str | None:
    try:
        digest = hashlib.sha256()
        with open_regular(path) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()
    except OSError:
        return None


def _size(source: FileRef) -> int | None:
    if source.member is not None:
        return -1  # the members of a container usually have one size
    try:
        return source.path.stat().st_size
    except OSError:
        return None


def _digests_of_equal_sizes(manifest: Manifest) -> list[str | None]:
    sources = manifest.list_sources()
    by_size: dict[int, list[int]] = defaultdict(list)
    for row, source in enumerate(sources):
        size = _size(source)
        if size is not None and size != 0:
            by_size[size].append(row)
    rows = sorted(row for group in by_size.values() if len(group) > 1 for row in group)
    digests: list[str | None] = [None] * len(sources)
    candidates = [sources[row] for row in rows]
    computed = map_in_threads(_digest, candidates, "looking for duplicates", unit="files")
    for row, digest in zip(rows, computed, strict=True):
        digests[row] = digest
    return digests


def add_content_digests(manifest: Manifest) -> Manifest:
    """The manifest with a column CONTENT_DIGEST, by which a copy of a row is recognised in other
    data: a path says nothing about a copy, and a row of a table changes its number when the table
    is edited. None where a source is empty or cannot be read."""
    if CONTENT_DIGEST in manifest.table.column_names:
        return manifest
    if manifest.cells is None:
        sources = manifest.list_sources()
        digests = map_in_threads(_content_digest, sources, "hashing the files", unit="files")
    else:
        digests = compute_cell_digests(manifest)
    column = pa.array(digests, pa.string())
    return replace(manifest, table=manifest.table.append_column(CONTENT_DIGEST, column))


def _content_digest(source: FileRef) -> str | None:
    try:
        data = read_source(source)
    except DataError:
        return None
    if isinstance(data, np.ndarray):
        data = repr(data.shape).encode() + data.tobytes()
    return hashlib.blake2b(data, digest_size=16).hexdigest() if data else None


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
            columns[path] = read_column(manifest.root / path, cells)
        exists = 0 <= row < len(columns[path])
        text = encode_utf8(columns[path][row]) if exists else b""
        digests.append(hashlib.blake2b(text, digest_size=16).hexdigest() if exists else None)
    return digests
