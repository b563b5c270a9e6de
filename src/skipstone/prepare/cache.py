"""Decoded records kept for later epochs, byte for byte what decoding gives.

The records lie in one temporary file that is mapped into memory: the operating system keeps as
much of it in RAM as there is room for. Room on disk is taken before a record is written there, as a
page that finds none would end the process (SIGBUS). The file has no name while it is in use (on
POSIX), so nothing is left behind by a process that is killed. It is not a persistent write: a new
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
from skipstone.inputs.base import Input, Raw

_GIB = 1 << 30


class RecordCache:
    """Records by the name of their source, for one input.

    Args:
        limit: bytes at most; records beyond it are decoded every time.
        folder: where the temporary file lies; the system's temporary folder by default.

    The first record decides shape and type; records that differ from it are not kept. Half of the
    free space of the folder is never used. Threads may share it. Worker processes inherit what is
    in it when they start and add nothing.

    It may be filled before an input is decided on for good, by one that is likely to decode alike:
    `serve` says which input it is for.
    """

    def __init__(self, *, limit: int = 4 * _GIB, folder: Path | None = None) -> None:
        free = shutil.disk_usage(folder or tempfile.gettempdir()).free
        self._limit = min(limit, free // 2)
        self._file = tempfile.TemporaryFile(dir=folder, prefix="skipstone-records-")  # noqa: SIM115
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._records: np.ndarray | None = None  # (slots, *shape of a record)
        self._slots: dict[str, tuple[int, Raw]] = {}  # the Raw without its value
        self._next = 0
        self._read: set[str] = set()  # decoded once, kept or not
        self._spec: Any = None
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._slots)

    def serve(self, input: Input) -> None:
        """From now on it is for `input`; what was decoded by another spec is forgotten."""
        spec = input.spec
        if spec != self._spec:
            self._forget()
        self._spec = spec

    def has_read(self, name: str) -> bool:
        """Whether the source of this name was decoded, so that it can be."""
        return name in self._read

    def decode(self, source: Source, input: Input) -> Raw:
        """`input.decode(source)`, from the cache where it is there. The array is the caller's."""
        found = self._slots.get(source.name)
        if found is not None and self._records is not None:
            self.hits += 1
            slot, raw = found
            return Raw(self._records[slot].copy(), raw.size, raw.to_source)
        self.misses += 1
        raw = input.decode(source)
        self.keep(source.name, raw)
        return raw

    def close(self) -> None:
        """Forget all records and free the file."""
        self._forget()
        self._file.close()

    def _forget(self) -> None:
        self._slots.clear()
        self._read.clear()
        self._records, self._next = None, 0

    def __reduce__(self) -> tuple[type[RecordCache], tuple[()], dict[str, int]]:
        """What a worker process that does not share this one's memory gets: a cache of nothing."""
        return RecordCache, (), {"_limit": 0}

    def keep(self, name: str, raw: Raw) -> None:
        """The record of the source of this name, where there is room for it."""
        if os.getpid() != self._process:
            return  # a forked worker shares the file, not the table of who lies where
        with self._lock:
            self._read.add(name)
            if not raw.value.nbytes:
                return  # there is nothing to keep, and no file of nothing can be mapped
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
                self._records = self._records[:slot]  # others have filled the disk meanwhile
                return
            self._next += 1
            records = self._records
        records[slot] = raw.value
        # Only now may others find it.
        self._slots[name] = (slot, Raw(np.empty(0, np.uint8), raw.size, raw.to_source))

    def _map(self, record: np.ndarray) -> np.ndarray:
        slots = self._limit // record.nbytes
        if not slots:
            return np.empty((0, *record.shape), record.dtype)
        # Sparse: pages take room in memory once they are written, and on disk by `_has_room`.
        self._file.truncate(slots * record.nbytes)
        mapped = mmap.mmap(self._file.fileno(), slots * record.nbytes)
        return np.frombuffer(mapped, record.dtype).reshape(slots, *record.shape)

    def _has_room(self, slot: int, size: int) -> bool:
        """Take room on disk for a slot, where the system has a call for that."""
        if not hasattr(os, "posix_fallocate"):
            return True
        try:
            os.posix_fallocate(self._file.fileno(), slot * size, size)
        except OSError as error:
            return error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return True


class CachedInput:
    """An input whose records come from a cache: decoded once, however often they are asked for."""

    def __init__(self, input: Input, cache: RecordCache) -> None:
        self._input = input
        self._cache = cache

    def decode(self, source: Source) -> Raw:
        return self._cache.decode(source, self._input)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._input, name)
