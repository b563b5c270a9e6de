"""Walk a folder once: which files are pictures, and what was passed over and why."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from skipstone import events
from skipstone.data.file_types import HEAD, ignored_reason, passed_over_name
from skipstone.errors import DataError

UNREADABLE_NAME = "files whose names are not valid UTF-8"
UNREADABLE_FOLDER = "folders that may not be read"


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


def scan(root: Path) -> Scan:
    """Every picture below `root`. Links to folders are followed, once each."""
    found = Scan()
    seen: set[tuple[int, int]] = set()
    pending = [""]
    with events.stage("looking for pictures", unit="files") as advance:
        while pending:
            folder = pending.pop()
            advance(_scan_folder(root, folder, found, pending, seen))
    found.pictures.sort()
    found.folders.sort()
    return found


def _scan_folder(
    root: Path, folder: str, found: Scan, pending: list[str], seen: set[tuple[int, int]]
) -> int:
    try:
        # A folder is known by its device and inode, so a circle of links ends.
        status = (root / folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            return 0
        seen.add((status.st_dev, status.st_ino))
        entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
    except OSError as error:
        if not folder:
            raise DataError(f"{root} cannot be read: {error.strerror}.") from error
        found.ignored[UNREADABLE_FOLDER] += 1
        return 0
    for entry in entries:
        name = f"{folder}/{entry.name}" if folder else entry.name
        reason = passed_over_name(entry.name) or _bad_name(entry.name)
        if reason is not None:
            found.ignored[reason] += 1
        elif entry.is_dir():
            found.folders.append(name)
            pending.append(name)
        elif not entry.is_file():
            found.ignored["links to nothing, sockets and devices"] += 1
        else:
            reason = ignored_reason(entry.name, first_bytes(entry.path))
            if reason is None:
                found.pictures.append(name)
            else:
                found.ignored[reason] += 1
    return len(entries)


def _bad_name(name: str) -> str | None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return UNREADABLE_NAME
    return None
