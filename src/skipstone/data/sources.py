"""Where a sample's bytes are: a file, a member of a container file, or something in hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skipstone.errors import DataError


@dataclass(frozen=True, slots=True)
class Cells:
    """Which cells of a table file are its members, and how the file is read."""

    column: str
    delimiter: str | None = None
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file, or number `member` inside a container: an IDX file, or the `cells` of a table."""

    path: Path
    member: int | None = None
    cells: Cells | None = None

    @property
    def name(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}#{self.member}"


@dataclass(frozen=True, slots=True)
class Inline:
    """Bytes of a file, text, or an array (H, W, C) already in hand."""

    data: bytes | str | np.ndarray
    name: str = "<inline>"


Source = FileRef | Inline


def in_utf8(text: str) -> bytes:
    """Letters in UTF-8. What are none stay as they are, so that whoever reads them says so: bytes
    that Python holds as surrogates, and halves of letters that JSON's escapes left alone."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def read_source(source: Source) -> bytes | np.ndarray:
    """The bytes of a file (text as UTF-8) or of a table's cell, or an array uint8 (H, W, C).

    A container is read once a process; its members are views on it.

    Raises:
        DataError: the file is missing, may not be read, or is a damaged container.
    """
    if isinstance(source, Inline):
        return in_utf8(source.data) if isinstance(source.data, str) else source.data
    if source.cells is not None and source.member is not None:
        # Here, because tables bring Arrow.
        from skipstone.data.table_cells import cell

        return cell(source.path, source.cells, source.member)
    if source.member is not None:
        # Here, because IDX is needed by few and brings gzip.
        from skipstone.data.idx_file import idx_member

        return idx_member(source.path, source.member)
    try:
        return source.path.read_bytes()
    except OSError as error:
        raise DataError(f"{source.path} cannot be read: {error.strerror}.") from error
    except (MemoryError, OverflowError) as error:
        raise DataError(f"{source.path} is larger than this machine's memory.") from error
