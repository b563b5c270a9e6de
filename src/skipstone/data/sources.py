"""Where a sample's bytes are: in a file, in a member of a container file, or in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skipstone.core.errors import DataError


@dataclass(frozen=True, slots=True)
class ColumnRef:
    """The column of a table file whose cells are its members, and how to read the file."""

    column: str
    delimiter: str | None = None
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file, or member number `member` of a container: an IDX file, or a table's `cells`."""

    path: Path
    member: int | None = None
    cells: ColumnRef | None = None

    @property
    def name(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}#{self.member}"


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

        cells = source.cells
        text = read_cell(source.path, source.member, cells.column, cells.delimiter, cells.encoding)
        return encode_utf8(text)
    if source.member is not None:
        # Imported here, because IDX is rare and imports gzip.
        from skipstone.data.readers.idx import read_idx_member

        return read_idx_member(source.path, source.member)
    try:
        return source.path.read_bytes()
    except OSError as error:
        raise DataError(f"{source.path} cannot be read: {error.strerror}.") from error
    except (MemoryError, OverflowError) as error:
        raise DataError(f"{source.path} does not fit into memory.") from error
