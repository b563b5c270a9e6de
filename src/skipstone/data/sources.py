"""Where a sample's bytes are: in a file, in a member of a container file, or in memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skipstone.core.disk import open_regular
from skipstone.core.errors import DataError
from skipstone.data.lfs_pointers import is_lfs_pointer, lfs_pointer_error
from skipstone.data.options import ColumnRef

#: Largest file of one sample, in bytes; more where its bytes are the pixels themselves.
MAX_FILE_BYTES, MAX_RAW_BYTES = 256 << 20, 2 << 30
_RAW = (b"II", b"MM", b"BM", b"\x93NUMPY", b"P5", b"P6")  # TIFF, BMP, numpy, PPM


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file, or member number `member` of a container: an IDX file, or a table's `cells`; or the
    `span` of a recording, in seconds."""

    path: Path
    member: int | None = None
    cells: ColumnRef | None = None
    span: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        if self.span is not None:
            return f"{self.path}{format_span(self.span)}"
        return str(self.path) if self.member is None else f"{self.path}#{self.member}"


def format_span(span: tuple[float, float]) -> str:
    """ "@1.5-2.25s" """
    return f"@{span[0]:.10g}-{span[1]:.10g}s"


@dataclass(frozen=True, slots=True)
class Inline:
    """Bytes of a file, text, or an array (H, W, C), in memory."""

    data: bytes | str | np.ndarray
    name: str = "<inline>"


Source = FileRef | Inline


def encode_utf8(text: str) -> bytes:
    """The text in UTF-8. Surrogates pass through, so that the reader of the bytes reports them:
    bytes that Python decoded with "surrogateescape", and lone surrogates from JSON escapes."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def read_source(source: Source) -> bytes | np.ndarray:
    """The bytes of a file (text as UTF-8) or of a table's cell, or an array uint8 (H, W, C).

    A container is read once per process; its members are views of it.

    Raises:
        DataError: the file is missing or unreadable, or the container is damaged.
    """
    if isinstance(source, Inline):
        return encode_utf8(source.data) if isinstance(source.data, str) else source.data
    if source.cells is not None and source.member is not None:
        # Imported here, because tables import Arrow.
        from skipstone.data.readers.columns import read_cell

        return encode_utf8(read_cell(source.path, source.member, source.cells))
    if source.member is not None:
        # Imported here, because IDX is rare and imports gzip.
        from skipstone.data.idx_files import read_idx_member

        return read_idx_member(source.path, source.member)
    try:
        return _read_file(source.path)
    except OSError as error:
        raise DataError(f"{source.path} cannot be read: {error.strerror}.") from error
    except (MemoryError, OverflowError) as error:
        raise DataError(f"{source.path} does not fit into memory.") from error


def _read_file(path: Path) -> bytes:
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        limit = MAX_RAW_BYTES if file.peek(6).startswith(_RAW) else MAX_FILE_BYTES
        if size > limit:
            raise DataError(
                f"{path} has {size:,} bytes; a file of one sample may have {limit:,}.",
                hint="If it is a container or a table, give it as the data itself.",
            )
        data = file.read(size)
    if is_lfs_pointer(data):
        raise lfs_pointer_error(path, path.parent)
    return data
