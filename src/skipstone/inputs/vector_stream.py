"""A file of word vectors read once, from front to end, unpacked on the way where gzip packed it.

Every byte of the file is hashed as it passes, so that the file is known again. What is held in
memory is bounded, whatever the file says of itself.
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

from skipstone.errors import DataError

_CHUNK = 1 << 20
#: Vectors are packed to between a half and a fifth; what grows this much is none.
_MOST_GROWTH, _FREELY = 100, 64 << 20


class VectorStream:
    """The bytes of `path` in order.

    Args:
        advance: called with the number of megabytes of the file that have been read.

    Raises:
        DataError: the file is not there, cannot be read, or is damaged as a gzip file.
    """

    def __init__(self, path: Path, advance: Callable[[float], None] = lambda amount: None) -> None:
        self.path = path
        try:
            if not path.is_file():
                what = "is a folder" if path.is_dir() else "is not there"
                raise DataError(f"{path} {what}: --vectors takes a file of word vectors.")
            self.size = path.stat().st_size
            file = path.open("rb")
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        self._raw = _Hashed(file, advance)
        begin = file.read(2)
        file.seek(0)
        self.packed = begin == b"\x1f\x8b"
        self._source: gzip.GzipFile | _Hashed = (
            gzip.GzipFile(fileobj=self._raw, mode="rb") if self.packed else self._raw
        )
        self._data, self._at, self._given = b"", 0, 0

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
    def left(self) -> int | None:
        """Bytes that are still to come; None where that is not known before they are unpacked."""
        return None if self.packed else self.size - self._given + len(self._data) - self._at

    def peek(self, count: int) -> bytes:
        """The next `count` bytes, or all that there are; they stay to be read."""
        while len(self._data) - self._at < count and self._more():
            pass
        return self._data[self._at : self._at + count]

    def until(self, end: bytes, limit: int) -> bytes | None:
        """The bytes before the next `end`, which is read, too; at the file's end what is left.

        None where nothing is left, or where more than `limit` bytes come before it.
        """
        seen = self._at
        while (found := self._data.find(end, seen)) < 0:
            held = len(self._data) - self._at
            if held > limit:
                return None
            if not self._more():
                rest, self._data, self._at = self._data[self._at :], b"", 0
                return rest or None
            seen = held
        if found - self._at > limit:
            return None
        part = self._data[self._at : found]
        self._at = found + len(end)
        return part

    def take(self, count: int) -> bytes:
        """The next `count` bytes; fewer only at the file's end."""
        part = self.peek(count)
        self._at += len(part)
        return part

    def digest(self) -> str:
        """SHA-256 of the whole file, whose rest is read for it."""
        with self._refusing():
            while self._raw.read(_CHUNK):
                pass
        return self._raw.hash.hexdigest()

    def _more(self) -> bool:
        with self._refusing():
            chunk = self._source.read(_CHUNK)
        self._given += len(chunk)
        if self.packed and self._given > max(_FREELY, _MOST_GROWTH * self._raw.count):
            raise DataError(
                f"{self.path} grows more than {_MOST_GROWTH}-fold where it is unpacked, as no file "
                "of word vectors does."
            )
        self._data, self._at = self._data[self._at :] + chunk, 0
        return bool(chunk)

    def _refusing(self) -> _Refusing:
        return _Refusing(self.path)


class _Refusing:
    """Turns what gzip and the disk raise into a DataError that names the file."""

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
            raise DataError(f"{self.path} is cut off: the gzip file has no end.") from error
        if isinstance(error, (gzip.BadGzipFile, zlib.error)):
            raise DataError(f"{self.path} is damaged as a gzip file: {error}.") from error
        if isinstance(error, OSError):
            raise DataError(f"{self.path} cannot be read: {error.strerror}.") from error


class _Hashed(io.RawIOBase):
    """A file whose bytes are counted and hashed as they are read; it has no way back."""

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
