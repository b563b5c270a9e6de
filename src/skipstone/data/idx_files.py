"""IDX files, the format of MNIST: read, with their stated sizes checked.

The format (LeCun, http://yann.lecun.com/exdb/mnist/) is a magic number, sizes, bytes:

    0x00 0x00 <type> <number of dimensions>  then a big-endian uint32 per dimension, then the data

Type 0x08 is unsigned byte, the only one that pictures and labels use.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import math
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from skipstone.core.disk import open_regular
from skipstone.core.errors import DataError

_GZIP = b"\x1f\x8b"
#: Of compressed pictures beyond 16 MB; zeros are packed by Deflate to a thousandth.
_MAX_COMPRESSION_RATIO, _FREE_BYTES = 100, 16 << 20
_FETCH_AGAIN = "Download or copy the file again."
_lock = threading.Lock()


def is_idx_file(path: Path) -> bool:
    """Whether the file begins like IDX of unsigned bytes, compressed or not."""
    try:
        with _open(path) as file:
            head = file.read(4)
    except (OSError, EOFError, zlib.error):
        return False
    return len(head) == 4 and head[:3] == b"\0\0\x08" and 1 <= head[3] <= 4


def read_idx_shape(path: Path) -> tuple[int, ...]:
    """The sizes an IDX file states, such as (60000, 28, 28)."""
    with _data_errors(path), _open(path) as file:
        return _header(file, path)


def read_idx(path: Path) -> np.ndarray:
    """The full array, uint8, read-only; cached until the file changes."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    with _lock:  # two threads would otherwise decompress the same file twice
        return _read(path, status.st_mtime_ns, status.st_size)


def read_idx_pictures(path: Path) -> np.ndarray:
    """All pictures, uint8 (N, H, W, C), a view of the array in memory."""
    array = read_idx(path)
    if array.ndim not in (3, 4):
        raise DataError(f"{path} holds {array.ndim} dimensions; pictures have 3, or 4 with colour.")
    return array[..., None] if array.ndim == 3 else array


def read_idx_member(path: Path, member: int) -> np.ndarray:
    """Picture number `member`, uint8 (H, W, C), a view."""
    pictures = read_idx_pictures(path)
    if not 0 <= member < len(pictures):
        raise DataError(f"{path} holds {len(pictures):,} pictures; number {member} does not exist.")
    picture: np.ndarray = pictures[member]
    return picture


@functools.lru_cache(maxsize=8)
def _read(path: Path, modified: int, size: int) -> np.ndarray:
    with _data_errors(path), _open(path) as file:
        shape = _header(file, path)
        expected = math.prod(shape)
        if expected > max(size * _MAX_COMPRESSION_RATIO, _FREE_BYTES):
            raise DataError(
                f"{path} states the shape {shape} but is too short for it ({size:,} bytes): it is "
                "truncated or damaged.",
                hint=_FETCH_AGAIN,
            )
        data = file.read(expected + 1)
    if len(data) != expected:
        more = "more" if len(data) > expected else f"{len(data):,}"
        raise DataError(
            f"{path} states the shape {shape}, so {expected:,} bytes, but holds {more}: it is "
            "truncated or damaged.",
            hint=_FETCH_AGAIN,
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _header(file: BinaryIO, path: Path) -> tuple[int, ...]:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise DataError(f"{path} is not an IDX file: it begins with {head!r}.", hint=_FETCH_AGAIN)
    if head[2] != 0x08:
        raise DataError(
            f"{path} holds IDX type 0x{head[2]:02x}; only unsigned bytes (0x08) are supported.",
            hint="Save 8-bit pictures, or image files in one folder per class.",
        )
    if not 1 <= head[3] <= 4:
        raise DataError(
            f"{path} states {head[3]} dimensions; 1 to 4 are supported.", hint=_FETCH_AGAIN
        )
    sizes = file.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise DataError(f"{path} ends inside its header: it is truncated.", hint=_FETCH_AGAIN)
    return struct.unpack(f">{head[3]}I", sizes)


def _open(path: Path) -> BinaryIO:
    file = open_regular(path)
    if file.read(2) == _GZIP:
        file.close()
        return cast(BinaryIO, gzip.open(path, "rb"))
    file.seek(0)
    return file


@contextlib.contextmanager
def _data_errors(path: Path) -> Iterator[None]:
    """Turns errors of gzip and of the disk into a DataError that names the file."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.", hint=_FETCH_AGAIN) from error
