"""Walk a folder once: its folders, its files of one input, and what was skipped and why."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from skipstone.core import events
from skipstone.core.errors import DataError
from skipstone.core.formatting import natural_key
from skipstone.core.specs import InputSpec, resolve_target
from skipstone.data.input_files import (
    choose_input,
    hidden_name_reason,
    list_main_inputs,
    make_skip_check,
    read_head,
)
from skipstone.data.lfs_pointers import is_lfs_pointer, lfs_pointer_error

UNREADABLE_NAME = "files whose names are not valid UTF-8"
UNREADABLE_FOLDER = "folders that may not be read"
NOT_A_FILE = "broken links, sockets and devices"
LINKED_TWICE = "links to folders that were already read"

FileEntries = list[tuple[str, os.DirEntry[str]]]


@dataclass
class FileScan:
    """The files of a folder that one input reads. Paths are relative to the root, with "/".

    Args:
        folders: every folder, also empty ones.
        blank_files: files without content (`is_blank` of the input), which are skipped.
    """

    input: InputSpec
    files: list[str]
    folders: list[str]
    skipped_counts: Counter[str]
    blank_files: list[str]


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


def scan_files(root: Path, inputs: Sequence[InputSpec]) -> FileScan:
    """Every file below `root` of the one of these inputs that reads them all; see `walk_folders`.
    Sidecar files count only where no other input has files.

    Raises:
        UsageError: the files belong to several inputs.
        DataError: some are Git LFS pointers.
    """
    checks = [(spec.name, make_skip_check(spec)) for spec in inputs]
    files: dict[str, list[str]] = {spec.name: [] for spec in inputs}
    skipped: dict[str, Counter[str]] = {spec.name: Counter() for spec in inputs}
    owners: Counter[tuple[str, ...]] = Counter()
    found_folders: list[str] = []
    shared: Counter[str] = Counter()
    pointers: list[str] = []
    with events.progress_stage("looking for files", unit="files") as advance:
        for folders, entries in walk_folders(root, shared):
            found_folders += folders
            for path, entry in entries:
                if not is_regular_file(entry):
                    shared[NOT_A_FILE] += 1
                    continue
                head = read_head(entry.path)
                if is_lfs_pointer(head):
                    pointers.append(path)
                reasons = [(name, check(entry.name, head)) for name, check in checks]
                for name, reason in reasons:
                    if reason is None:
                        files[name].append(path)
                    else:
                        skipped[name][reason] += 1
                owners[tuple(name for name, reason in reasons if reason is None)] += 1
            advance(len(folders) + len(entries))
    if pointers:
        raise lfs_pointer_error(root / pointers[0], root, len(pointers), owners.total())
    main = {spec.name for spec in inputs if files[spec.name] and not spec.is_sidecar} or {*files}
    counts: Counter[tuple[str, ...]] = Counter()
    for names, count in owners.items():
        counts[tuple(name for name in names if name in main)] += count
    del counts[()]
    input = choose_input(root, counts) or inputs[0]
    blank: set[str] = set()
    if input.is_blank is not None:
        is_blank = resolve_target(input.is_blank)
        blank = {path for path in files[input.name] if is_blank(root / path)}
    return FileScan(
        input=input,
        files=sorted(path for path in files[input.name] if path not in blank),
        folders=sorted(found_folders),
        skipped_counts=shared + skipped[input.name],
        blank_files=sorted(blank),
    )


def has_sources(
    path: Path, inputs: Sequence[InputSpec] | None = None, *, recursive: bool = True
) -> bool:
    """Whether `path` holds a file that one of these inputs reads; with `recursive`, at any depth.

    Args:
        inputs: None for those whose files are not sidecars.
    """
    checks = [make_skip_check(spec) for spec in (list_main_inputs() if inputs is None else inputs)]
    try:
        for _, files in walk_folders(path, Counter()):
            for _, entry in files:
                if is_regular_file(entry):
                    head = read_head(entry.path)
                    if any(check(entry.name, head) is None for check in checks):
                        return True
            if not recursive:
                break
    except DataError:
        pass
    return False


def list_subfolders(path: Path) -> list[Path]:
    """The visible folders directly in `path`, in natural order."""
    try:
        folders = [
            child
            for child in path.iterdir()
            if not hidden_name_reason(child.name) and child.is_dir()
        ]
    except OSError:
        return []
    return sorted(folders, key=lambda child: natural_key(child.name))


def _holds_safely(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a link to itself, or into a folder without permission
        return False
