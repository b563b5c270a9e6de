"""Walk a folder once: what lies in it, which files are pictures, what was passed over and why."""

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
NO_FILE = "links to nothing, sockets and devices"
AGAIN = "links to folders that are read already"

Files = list[tuple[str, os.DirEntry[str]]]


@dataclass
class Scan:
    """Paths are relative to the root, with "/"; folders include empty ones."""

    pictures: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


def first_bytes(path: str | Path) -> bytes:
    """The first HEAD bytes; empty where the file cannot be read (the audit will say why)."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a million Paths cost seconds
            return file.read(HEAD)
    except OSError:
        return b""


def unfit_name(name: str) -> str | None:
    """The reason to pass over a file or folder of a data set by its name alone, or None."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return UNREADABLE_NAME
    return passed_over_name(name)


def walk(
    root: Path, ignored: Counter[str], *, unfit: Callable[[str], str | None] = unfit_name
) -> Iterator[tuple[list[str], Files]]:
    """(folders, files) of `root` and of each folder below, in order; all by their paths from `root`
    with "/". What is no folder is among the files: see `is_file`.

    Links to folders are followed, and each folder is read once: where it lies, before where a link
    leads to it.

    Args:
        ignored: counts what is passed over, by reason.
        unfit: why a name is passed over, or None.

    Raises:
        DataError: `root` cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    here, linked = deque([""]), deque[str]()
    while here or linked:
        folder = (here or linked).popleft()
        try:
            # A folder is known by its device and inode, so a circle of links ends.
            status = (root / folder).stat()
            if (status.st_dev, status.st_ino) in seen:
                ignored[AGAIN] += 1
                continue
            seen.add((status.st_dev, status.st_ino))
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
            elif not _holds(entry.is_dir):
                files.append((name, entry))
            else:
                folders.append(name)
                (linked if entry.is_symlink() else here).append(name)
        yield folders, files


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file or a link to one: no socket, no device, no link to nothing."""
    return _holds(entry.is_file)


def scan(root: Path) -> Scan:
    """Every picture below `root`; see `walk`."""
    found = Scan()
    with events.stage("looking for pictures", unit="files") as advance:
        for folders, files in walk(root, found.ignored):
            found.folders += folders
            for name, entry in files:
                reason = no_picture(entry)
                if reason is None:
                    found.pictures.append(name)
                else:
                    found.ignored[reason] += 1
            advance(len(folders) + len(files))
    found.pictures.sort()
    found.folders.sort()
    return found


def no_picture(entry: os.DirEntry[str]) -> str | None:
    """Why what is no folder is passed over as no picture, or None."""
    return ignored_reason(entry.name, first_bytes(entry.path)) if is_file(entry) else NO_FILE


def _holds(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a link to itself, or to where this user may not look
        return False
