"""A cache of decoded records for later epochs.

The records lie in a memory-mapped temporary file; the operating system keeps as much of it in RAM
as it can. Disk space is allocated before a record is written: a page without space would end the
process (SIGBUS). On POSIX the file has no name, so a killed process leaves nothing behind. A new
run decodes again.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

from skipstone.data.sources import Source
from skipstone.inputs.base import DecodedSample, Input

_GIB = 1 << 30


class RecordCache:
    """Records of one input, by the name of their source.

    Args:
        limit: bytes; records beyond it are decoded every time.
        folder: of the temporary file; the system's temporary folder by default.

    All records have the shape and type of the first; others are not stored. At most half of the
    folder's free space is used. Threads may share a cache. Worker processes read the records that
    were there when they started, and add none.

    The cache may be filled before the input is final; `set_input` then drops records of another one.
    """

    def __init__(self, *, limit: int = 4 * _GIB, folder: Path | None = None) -> None:
        free = shutil.disk_usage(folder or tempfile.gettempdir()).free
        self._limit = min(limit, free // 2)
        self._file = tempfile.TemporaryFile(dir=folder, prefix="skipstone-records-")  # noqa: SIM115
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._records: np.ndarray | None = None  # (slots, *shape of a record)
        self._slots: dict[str, tuple[int, DecodedSample]] = {}  # Raws without their values
        self._next = 0
        self._read: set[str] = set()  # decoded once, stored or not
        self._spec: Any = None
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._slots)

    def set_input(self, input: Input) -> None:
        """Use the cache for `input`; records that were decoded by another spec are dropped."""
        spec = input.decode_spec
        if spec != self._spec:
            self._forget()
        self._spec = spec

    def has_decoded(self, name: str) -> bool:
        """Whether the source of this name could be decoded."""
        return name in self._read

    def decode(self, source: Source, input: Input) -> DecodedSample:
        """`input.decode(source)`, from the cache if possible. The array is a copy."""
        entry = self._slots.get(source.name)
        if entry is not None and self._records is not None:
            self.hits += 1
            slot, raw = entry
            return DecodedSample(self._records[slot].copy(), raw.size, raw.to_source)
        self.misses += 1
        raw = input.decode(source)
        self.store(source.name, raw)
        return raw

    def close(self) -> None:
        """Drop all records and free the file."""
        self._forget()
        self._file.close()

    def _forget(self) -> None:
        self._slots.clear()
        self._read.clear()
        self._records, self._next = None, 0

    def __reduce__(self) -> tuple[type[RecordCache], tuple[()], dict[str, int]]:
        """Worker processes that share no memory with this one (spawn) get an empty cache."""
        return RecordCache, (), {"_limit": 0}

    def store(self, name: str, raw: DecodedSample) -> None:
        """Store the record of the source of this name if there is room."""
        if os.getpid() != self._process:
            return  # a forked worker shares the file, not `_slots`
        with self._lock:
            self._read.add(name)
            if not raw.value.nbytes:
                return  # a file of 0 bytes cannot be mapped
            if self._records is None:
                self._records = self._map(raw.value)
            if (
                self._next >= len(self._records)
                or raw.value.shape != self._records.shape[1:]
                or raw.value.dtype != self._records.dtype
            ):
                return
            slot = self._next
            if not self._has_room(slot, raw.value.nbytes):
                self._records = self._records[:slot]  # the disk is full
                return
            self._next += 1
            records = self._records
        records[slot] = raw.value
        # Only now may other threads read it.
        self._slots[name] = (slot, DecodedSample(np.empty(0, np.uint8), raw.size, raw.to_source))

    def _map(self, record: np.ndarray) -> np.ndarray:
        slots = self._limit // record.nbytes
        if not slots:
            return np.empty((0, *record.shape), record.dtype)
        # Sparse: pages take memory when they are written, and disk space by `_has_room`.
        self._file.truncate(slots * record.nbytes)
        mapped = mmap.mmap(self._file.fileno(), slots * record.nbytes)
        return np.frombuffer(mapped, record.dtype).reshape(slots, *record.shape)

    def _has_room(self, slot: int, size: int) -> bool:
        """Allocate disk space for a slot, if the system has a call for that."""
        if not hasattr(os, "posix_fallocate"):
            return True
        try:
            os.posix_fallocate(self._file.fileno(), slot * size, size)
        except OSError as error:
            return error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return True


class CachedInput:
    """An input that decodes each record once."""

    def __init__(self, input: Input, cache: RecordCache) -> None:
        self._input = input
        self._cache = cache

    def decode(self, source: Source) -> DecodedSample:
        return self._cache.decode(source, self._input)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._input, name)
