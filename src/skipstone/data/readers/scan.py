"""Walk a folder once: its folders, its pictures, and what was skipped and why."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from skipstone.core import events
from skipstone.core.errors import DataError
from skipstone.data.file_types import HEAD_BYTES, hidden_name_reason, not_picture_reason

UNREADABLE_NAME = "files whose names are not valid UTF-8"
UNREADABLE_FOLDER = "folders that may not be read"
NOT_A_FILE = "broken links, sockets and devices"
LINKED_TWICE = "links to folders that were already read"

FileEntries = list[tuple[str, os.DirEntry[str]]]


@dataclass
class PictureScan:
    """Paths are relative to the root, with "/"; folders include empty ones."""

    pictures: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    skipped_counts: Counter[str] = field(default_factory=Counter)


def read_head(path: str | Path) -> bytes:
    """The first HEAD bytes; empty if the file cannot be read (the audit reports why)."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a million Paths cost seconds
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def unusable_name_reason(name: str) -> str | None:
    """The reason to skip a file or folder of a data set by its name alone, or None."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return UNREADABLE_NAME
    return hidden_name_reason(name)


def walk_folders(
    root: Path,
    skipped_counts: Counter[str],
    *,
    skip_reason: Callable[[str], str | None] = unusable_name_reason,
) -> Iterator[tuple[list[str], FileEntries]]:
    """(folders, files) of `root` and of each folder below, in order, as paths relative to `root`
    with "/". Everything that is not a folder counts as a file: see `is_regular_file`.

    Links to folders are followed. Each folder is read once, under its real path if that is below
    `root`, else under the link's.

    Args:
        skipped_counts: counts skipped entries by reason.
        skip_reason: the reason to skip a name, or None.

    Raises:
        DataError: `root` cannot be read.
    """
    visited: set[tuple[int, int]] = set()
    pending, linked = deque([""]), deque[str]()
    while pending or linked:
        folder = (pending or linked).popleft()
        try:
            # Device and inode identify a folder, so a cycle of links ends.
            status = (root / folder).stat()
            if (status.st_dev, status.st_ino) in visited:
                skipped_counts[LINKED_TWICE] += 1
                continue
            visited.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError as error:
            if not folder:
                raise DataError(f"{root} cannot be read: {error.strerror}.") from error
            skipped_counts[UNREADABLE_FOLDER] += 1
            continue
        folders: list[str] = []
        files: FileEntries = []
        for entry in entries:
            reason = skip_reason(entry.name)
            name = f"{folder}/{entry.name}" if folder else entry.name
            if reason is not None:
                skipped_counts[reason] += 1
            elif not _holds_safely(entry.is_dir):
                files.append((name, entry))
            else:
                folders.append(name)
                (linked if entry.is_symlink() else pending).append(name)
        yield folders, files


def is_regular_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file or a link to one, not a socket, a device or a broken link."""
    return _holds_safely(entry.is_file)


def scan_pictures(root: Path) -> PictureScan:
    """Every picture below `root`; see `walk`."""
    result = PictureScan()
    with events.progress_stage("looking for pictures", unit="files") as advance:
        for folders, files in walk_folders(root, result.skipped_counts):
            result.folders += folders
            for name, entry in files:
                reason = entry_skip_reason(entry)
                if reason is None:
                    result.pictures.append(name)
                else:
                    result.skipped_counts[reason] += 1
            advance(len(folders) + len(files))
    result.pictures.sort()
    result.folders.sort()
    return result


def entry_skip_reason(entry: os.DirEntry[str]) -> str | None:
    """Why an entry that is not a folder is not a picture, or None if it is one."""
    return (
        not_picture_reason(entry.name, read_head(entry.path))
        if is_regular_file(entry)
        else NOT_A_FILE
    )


def _holds_safely(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a link to itself, or into a folder without permission
        return False
