"""Read a file of word vectors in one pass, through gzip if needed.

Hashes every byte on the way, to identify the file. Memory is bounded, whatever the file claims.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

from skipstone.core.disk import open_regular
from skipstone.core.errors import DataError

_CHUNK = 1 << 20
#: gzip packs vectors to between a half and a fifth; a file that grows this much holds none.
_MAX_GROWTH, _FREE_BYTES = 100, 64 << 20


class VectorStream:
    """The bytes of `path` in order.

    Args:
        advance: called with the number of megabytes of the file that have been read.

    Raises:
        DataError: the file does not exist, cannot be read, or is a damaged gzip file.
    """

    def __init__(self, path: Path, advance: Callable[[float], None] = lambda amount: None) -> None:
        self.path = path
        try:
            if not path.is_file():
                what = "is a folder" if path.is_dir() else "does not exist"
                raise DataError(f"{path} {what}: --vectors takes a file of word vectors.")
            self.size = path.stat().st_size
            file = open_regular(path)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        self._raw = _Hashed(file, advance)
        begin = file.read(2)
        file.seek(0)
        self.is_packed = begin == b"\x1f\x8b"
        self._source: gzip.GzipFile | _Hashed = (
            gzip.GzipFile(fileobj=self._raw, mode="rb") if self.is_packed else self._raw
        )
        self._data, self._at, self._read_bytes = b"", 0, 0

    def __enter__(self) -> VectorStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._raw.close()

    @property
    def remaining(self) -> int | None:
        """Number of remaining bytes; None for a packed file."""
        return None if self.is_packed else self.size - self._read_bytes + len(self._data) - self._at

    def peek_bytes(self, count: int) -> bytes:
        """The next `count` bytes, or fewer at the file's end, without consuming them."""
        while len(self._data) - self._at < count and self._more():
            pass
        return self._data[self._at : self._at + count]

    def read_until(self, end: bytes, limit: int) -> bytes | None:
        """Consume the bytes up to and including `end`, and return those before it; at the file's
        end the remaining bytes.

        None without remaining bytes, or if more than `limit` come before `end`.
        """
        start = self._at
        while (position := self._data.find(end, start)) < 0:
            buffered = len(self._data) - self._at
            if buffered > limit:
                return None
            if not self._more():
                rest, self._data, self._at = self._data[self._at :], b"", 0
                return rest or None
            start = buffered
        if position - self._at > limit:
            return None
        part = self._data[self._at : position]
        self._at = position + len(end)
        return part

    def read_bytes(self, count: int) -> bytes:
        """Consume the next `count` bytes; fewer at the file's end."""
        part = self.peek_bytes(count)
        self._at += len(part)
        return part

    def compute_sha256(self) -> str:
        """SHA-256 of the file; reads it to its end."""
        with _DataErrors(self.path):
            while self._raw.read(_CHUNK):
                pass
        return self._raw.hash.hexdigest()

    def _more(self) -> bool:
        with _DataErrors(self.path):
            chunk = self._source.read(_CHUNK)
        self._read_bytes += len(chunk)
        if self.is_packed and self._read_bytes > max(_FREE_BYTES, _MAX_GROWTH * self._raw.count):
            raise DataError(
                f"{self.path} grows more than {_MAX_GROWTH}-fold when it is unpacked, which no "
                "file of word vectors does."
            )
        self._data, self._at = self._data[self._at :] + chunk, 0
        return bool(chunk)


class _DataErrors:
    """Turns errors of gzip and the disk into a DataError that names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, EOFError):
            raise DataError(f"{self.path} is cut off: the gzip file is incomplete.") from error
        if isinstance(error, (gzip.BadGzipFile, zlib.error)):
            raise DataError(f"{self.path} is a damaged gzip file: {error}.") from error
        if isinstance(error, OSError):
            raise DataError(f"{self.path} cannot be read: {error.strerror}.") from error


class _Hashed(io.RawIOBase):
    """A file that counts and hashes its bytes as they are read; it cannot seek."""

    def __init__(self, file: IO[bytes], advance: Callable[[float], None]) -> None:
        self._file = file
        self._advance = advance
        self.count = 0
        self.hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.count += len(data)
        self.hash.update(data)
        self._advance(len(data) / 1e6)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()
