"""Walk a folder once: its folders, its pictures, and what was skipped and why."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from skipstone import events
from skipstone.data.file_types import HEAD, ignored_reason, passed_over_name
from skipstone.errors import DataError

UNREADABLE_NAME = "files whose names are not valid UTF-8"
UNREADABLE_FOLDER = "folders that may not be read"
NO_FILE = "broken links, sockets and devices"
AGAIN = "links to folders that were already read"

Files = list[tuple[str, os.DirEntry[str]]]


@dataclass
class Scan:
    """Paths are relative to the root, with "/"; folders include empty ones."""

    pictures: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


def first_bytes(path: str | Path) -> bytes:
    """The first HEAD bytes; empty if the file cannot be read (the audit reports why)."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a million Paths cost seconds
            return file.read(HEAD)
    except OSError:
        return b""


def unfit_name(name: str) -> str | None:
    """The reason to skip a file or folder of a data set by its name alone, or None."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return UNREADABLE_NAME
    return passed_over_name(name)


def walk(
    root: Path, ignored: Counter[str], *, unfit: Callable[[str], str | None] = unfit_name
) -> Iterator[tuple[list[str], Files]]:
    """(folders, files) of `root` and of each folder below, in order, as paths relative to `root`
    with "/". Everything that is not a folder counts as a file: see `is_file`.

    Links to folders are followed. Each folder is read once, under its real path if that is below
    `root`, else under the link's.

    Args:
        ignored: counts skipped entries by reason.
        unfit: the reason to skip a name, or None.

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
                ignored[AGAIN] += 1
                continue
            visited.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError as error:
            if not folder:
                raise DataError(f"{root} cannot be read: {error.strerror}.") from error
            ignored[UNREADABLE_FOLDER] += 1
            continue
        folders: list[str] = []
        files: Files = []
        for entry in entries:
            reason = unfit(entry.name)
            name = f"{folder}/{entry.name}" if folder else entry.name
            if reason is not None:
                ignored[reason] += 1
            elif not _holds_safely(entry.is_dir):
                files.append((name, entry))
            else:
                folders.append(name)
                (linked if entry.is_symlink() else pending).append(name)
        yield folders, files


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file or a link to one, not a socket, a device or a broken link."""
    return _holds_safely(entry.is_file)


def scan(root: Path) -> Scan:
    """Every picture below `root`; see `walk`."""
    result = Scan()
    with events.stage("looking for pictures", unit="files") as advance:
        for folders, files in walk(root, result.ignored):
            result.folders += folders
            for name, entry in files:
                reason = no_picture(entry)
                if reason is None:
                    result.pictures.append(name)
                else:
                    result.ignored[reason] += 1
            advance(len(folders) + len(files))
    result.pictures.sort()
    result.folders.sort()
    return result


def no_picture(entry: os.DirEntry[str]) -> str | None:
    """Why an entry that is not a folder is not a picture, or None if it is one."""
    return ignored_reason(entry.name, first_bytes(entry.path)) if is_file(entry) else NO_FILE


def _holds_safely(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a link to itself, or into a folder without permission
        return False
