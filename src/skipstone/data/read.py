"""From a path to a Manifest: find the one registered reader that recognises the path.

Labels that are probably mistakes are reported, and not changed.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from skipstone.core.errors import UsageError
from skipstone.core.formatting import join_limited, pluralize
from skipstone.core.registry import READERS, TASKS
from skipstone.data.exclude import drop_rows
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.path_diagnostics import (
    check_data_path,
    find_wrapped_folder,
    has_single_table,
    no_reader_error,
    reject_options_of_other_layouts,
)
from skipstone.data.readers.base import Reader

#: What programs write for a missing value. "NA" and "none" are omitted: they can be real labels.
_MISSING = frozenset({"nan", "null", "<na>", "n/a", "#n/a", "nat", "(null)"})
_MAX_LISTED = 3


def read_manifest(path: str | Path, options: ReadOptions | None = None) -> Manifest:
    """Every row of the data set at `path`; `notes` say what was inferred.

    Raises:
        UsageError: no reader recognises the path, or several do (the message names the flag that
            decides), or an option belongs to another layout.
        DataError: a file or a row of the data cannot be used.
    """
    options = options or ReadOptions()
    root = check_data_path(path)
    if options.task is not None:
        TASKS[options.task]  # raises for an unknown task, with similar names
    outer = root
    if options.reader is not None:
        name, reader = options.reader, _reader(options.reader)
        if find_wrapped_folder(root) is not None and reader.detect_layout(root) is None:
            inner = find_data_folder(root)
            root = root if reader.detect_layout(inner) is None else inner
    else:
        root = find_data_folder(root)
        owner = _reader_of_mask_folders(options)
        name, reader = _only_reader(root) if owner is None else (owner, _reader(owner))
    reject_options_of_other_layouts(root, name, options)
    manifest = reader.read_manifest(root, options)
    if root != outer:
        wrapped = f"{outer} holds only one folder, so the data is read from {root}."
        manifest = replace(manifest, notes=(wrapped, *manifest.notes))
    if options.exclude is not None:
        manifest = drop_rows(manifest, options.exclude)
    if doubtful := describe_doubtful_labels(manifest):
        manifest = replace(manifest, notes=(*manifest.notes, *doubtful))
    return manifest if manifest.reader == name else replace(manifest, reader=name)


def find_data_folder(path: Path) -> Path:
    """`path`, or the folder inside it if `path` is a wrapper: it holds one folder and nothing else
    that a reader recognises."""
    folder = path
    while not any(_reader(entry.name).detect_layout(folder) for entry in READERS):
        inner = find_wrapped_folder(folder)
        if inner is None:
            return path if folder != path and not has_single_table(folder) else folder
        folder = inner
    return folder


def _reader(name: str) -> Reader:
    reader: Reader = READERS[name].load()()
    return reader


def _reader_of_mask_folders(options: ReadOptions) -> str | None:
    """The reader that `--images` and `--masks` belong to, if one is given."""
    if options.images is None and options.masks is None:
        return None
    owners = [entry.name for entry in READERS if {"images", "masks"} <= {*entry.own_options}]
    return owners[0] if len(owners) == 1 else None


def _only_reader(root: Path) -> tuple[str, Reader]:
    """The one reader that recognises `root`."""
    matches: list[tuple[str, Reader, str]] = []
    for entry in READERS:
        reader = _reader(entry.name)
        layout = reader.detect_layout(root)
        if layout is not None:
            matches.append((entry.name, reader, layout))
    if not matches:
        raise no_reader_error(root)
    if len(matches) > 1:
        choices = ", or ".join(f"--reader {name} for {layout}" for name, _, layout in matches)
        raise UsageError(f"{root} matches {len(matches)} layouts.", hint=f"Choose one: {choices}")
    name, reader, _ = matches[0]
    return name, reader


def describe_doubtful_labels(manifest: Manifest) -> list[str]:
    """One sentence each about labels that differ only in letter case, spaces or hyphens, and about
    words that stand for a missing label."""
    names = [name for name in manifest.schema.get("classes", ()) if isinstance(name, str)]
    groups = _group_similar(names)
    missing_words = [name for name in names if name.casefold() in _MISSING]
    if not groups and not missing_words:
        return []
    rows = Counter(_labels(manifest))
    notes = []
    if groups:
        descriptions = [
            " and ".join(f"{name!r} ({rows[name]:,})" for name in group) for group in groups
        ]
        notes.append(
            "Labels that differ only in letter case, spaces or hyphens are separate classes: "
            f"{join_limited(descriptions, _MAX_LISTED)}. Rename one if they mean the same."
        )
    for name in missing_words:
        notes.append(
            f"{name!r} is the label of {pluralize(rows[name], 'row')} and is treated as a class. If "
            "it means a missing label, leave the cell empty: such rows are skipped."
        )
    return notes


def _group_similar(names: Sequence[str]) -> list[list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[_normalize(name)].append(name)
    return [group for core, group in groups.items() if core and len(group) > 1]


def _normalize(name: str) -> str:
    """Casefolded, without separators except between digits: "T-Shirt" is "tshirt", 1-2 is not 12.
    A number loses the ".0" that pandas adds to a column with missing values."""
    plain = unicodedata.normalize("NFKC", name).casefold().strip()
    if integer := re.fullmatch(r"(-?[0-9]+)\.0+", plain):
        return integer[1]
    spaced = re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", plain)
    return re.sub(r"(?<!\d) | (?!\d)", "", spaced)


def _labels(manifest: Manifest) -> Iterator[str]:
    for target in manifest.column_values("target"):
        if isinstance(target, str):
            yield target
        elif isinstance(target, list):
            yield from (name for name in target if isinstance(name, str))
