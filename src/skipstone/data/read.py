"""From a path to a Manifest: ask every registered reader what it sees, and let one read it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from skipstone.data.exclude import without
from skipstone.data.label_names import doubtful_labels
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.readers.base import Reader
from skipstone.data.refusals import (
    check_path,
    folder_of_table,
    nothing_read,
    only_folder,
    refuse_other_layouts,
)
from skipstone.errors import UsageError
from skipstone.registry import READERS, TASKS


def read_manifest(path: str | Path, options: ReadOptions | None = None) -> Manifest:
    """Every row of the data set at `path`, with what was inferred in `notes`.

    Raises:
        UsageError: nothing readable there, or more than one reading of it; the message says which
            path or flag decides. Or an option is about another layout than the one that is read.
        DataError: a file or a row of the data cannot be used.
    """
    options = options or ReadOptions()
    root = check_path(path)
    if options.task is not None:
        TASKS[options.task]  # an unknown task is refused here, with the near names
    outer = root
    if options.reader is not None:
        name, reader = options.reader, _reader(options.reader)
    else:
        root = data_folder(root)
        name, reader = _only_reader(root)
    refuse_other_layouts(root, name, options)
    manifest = reader.read(root, options)
    if root != outer:
        wrapped = f"{outer} holds one folder only, so the data is taken from {root}."
        manifest = replace(manifest, notes=(wrapped, *manifest.notes))
    if options.exclude is not None:
        manifest = without(manifest, options.exclude)
    if doubtful := doubtful_labels(manifest):
        manifest = replace(manifest, notes=(*manifest.notes, *doubtful))
    return manifest if manifest.reader == name else replace(manifest, reader=name)


def data_folder(path: Path) -> Path:
    """Where the data begins: `path`, or the folder inside it where it is only a wrapper: a folder
    that holds one folder, and nothing else that a reader knows."""
    folder = path
    while not any(_reader(entry.name).sniff(folder) for entry in READERS):
        inner = only_folder(folder)
        if inner is None:
            return path if folder != path and not folder_of_table(folder) else folder
        folder = inner
    return folder


def _reader(name: str) -> Reader:
    reader: Reader = READERS[name].load()()
    return reader


def _only_reader(root: Path) -> tuple[str, Reader]:
    """The one reader that recognises `root`."""
    seen: list[tuple[str, Reader, str]] = []
    for entry in READERS:
        reader = _reader(entry.name)
        what = reader.sniff(root)
        if what is not None:
            seen.append((entry.name, reader, what))
    if not seen:
        raise nothing_read(root)
    if len(seen) > 1:
        readings = "; or ".join(f"{what}: --reader {name}" for name, _, what in seen)
        raise UsageError(f"{root} can be read in {len(seen)} ways.", hint=f"Say which: {readings}.")
    name, reader, _ = seen[0]
    return name, reader
