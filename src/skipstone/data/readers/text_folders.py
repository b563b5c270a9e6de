"""Class folders of text files: the name of a folder is the label of the .txt files in it.

mail/spam/1.txt                 or, with the user's splits, mail/train/spam/1.txt
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from skipstone.core.errors import DataError, UsageError
from skipstone.core.formatting import join_limited, natural_key, natural_sorted, pluralize
from skipstone.data.findings import Finding
from skipstone.data.manifest import Manifest, build_table
from skipstone.data.options import ReadOptions
from skipstone.data.readers.base import SPLIT_NAMES, is_multi_label
from skipstone.data.readers.class_folders import has_pictures, list_subfolders
from skipstone.data.readers.scan import NOT_A_FILE, is_regular_file, walk_folders

TEXT_SUFFIX = ".txt"
_BLOCK = 4096
UNCLASSIFIED = "text files outside class folders"
EMPTY_FILE = "files without a text"
NO_TEXT_FILE = f"files other than {TEXT_SUFFIX}"


class TextFolderReader:
    """texts/<class>/**/<name>.txt, or the same below train, validation and test."""

    def detect_layout(self, path: Path) -> str | None:
        if not path.is_dir() or has_pictures(path):
            return None
        folders = [folder for folder in list_subfolders(path) if _has_texts(folder)]
        return (
            f"class folders of text files ({join_limited(f.name for f in folders)})"
            if folders
            else None
        )

    def read_manifest(self, path: Path, options: ReadOptions) -> Manifest:
        rows, ignored, empty = _rows(path, set(_splits(path)))
        labels = natural_sorted({label for _, label, _ in rows})
        if len(labels) < 2:
            problem = f"only one class ({labels[0]})" if labels else "no texts in class folders"
            raise UsageError(
                f"{path} holds {problem}; classification needs at least two.",
                hint="Put the texts of each class into a folder named after the class.",
            )
        order = {"": 0, "train": 1, "validation": 2, "test": 3}
        rank = {name: number for number, name in enumerate(labels)}
        rows.sort(key=lambda row: (order[row[0]], rank[row[1]], natural_key(row[2])))
        task = options.task or "classify"
        many = is_multi_label(task)
        sizes = Counter(split for split, _, _ in rows)
        where = ", ".join(f"{sizes[name]:,} in {name}" for name in order if name and sizes[name])
        notes = [
            f"Read as class folders: {pluralize(len(rows), 'text')}{f' ({where})' if where else ''}, "
            f"{pluralize(len(labels), 'class', 'classes')} ({join_limited(labels, 10)})."
        ]
        if empty:
            notes.append(f"Skipped: {EMPTY_FILE} ({len(empty):,}).")
        return Manifest(
            build_table(
                {
                    "path": [name for _, _, name in rows],
                    "split": [split for split, _, _ in rows],
                    "target": [[label] if many else label for _, label, _ in rows],
                },
                pa.list_(pa.string()) if many else pa.string(),
            ),
            root=path,
            reader="text-folders",
            input="text",
            task=task,
            schema={"classes": labels},
            notes=tuple(notes),
            skipped_counts={reason: count for reason, count in sorted(ignored.items()) if count},
            unpaired_files={EMPTY_FILE: tuple(empty)},
        )


def audit_text_folders(manifest: Manifest) -> tuple[list[Finding], dict[str, Any]]:
    """Files without a text, which were skipped; `audit` of the reader's spec."""
    paths = manifest.unpaired_files.get(EMPTY_FILE, ())
    if not paths:
        return [], {}
    message = f"{pluralize(len(paths), 'file')} without a text, such as {paths[0]}: skipped."
    return [Finding("empty_text", tuple(paths), message)], {}


def _rows(
    root: Path, splits: set[str]
) -> tuple[list[tuple[str, str, str]], Counter[str], list[str]]:
    """(split, label, path relative to root) of each text; skipped files by reason; empty files."""
    rows: list[tuple[str, str, str]] = []
    ignored: Counter[str] = Counter()
    empty: list[str] = []
    for name in _texts(root, ignored):
        folders = name.split("/")[:-1]
        split = SPLIT_NAMES[folders.pop(0).casefold()] if folders and folders[0] in splits else ""
        if not folders:
            ignored[UNCLASSIFIED] += 1
        elif _is_empty(root / name):
            ignored[EMPTY_FILE] += 1
            empty.append(name)
        else:
            rows.append((split, unicodedata.normalize("NFC", folders[0]), name))
    return rows, ignored, empty


def _is_empty(file: Path) -> bool:
    """Whether the file holds only whitespace."""
    try:
        with file.open("rb") as stream:
            return not any(block.strip() for block in iter(lambda: stream.read(_BLOCK), b""))
    except OSError:  # reading the text reports it
        return False


def _splits(root: Path) -> list[str]:
    """Split folders that hold folders of texts; `train/a.txt` is the class of trains."""
    return [
        folder.name
        for folder in list_subfolders(root)
        if folder.name.casefold() in SPLIT_NAMES and any(map(_has_texts, list_subfolders(folder)))
    ]


def _has_texts(folder: Path) -> bool:
    try:
        return next(_texts(folder, Counter()), None) is not None
    except DataError:
        return False


def _texts(folder: Path, ignored: Counter[str]) -> Iterator[str]:
    """The text files at any depth, as paths relative to `folder`."""
    for _, files in walk_folders(folder, ignored):
        for name, entry in files:
            if not is_regular_file(entry):
                ignored[NOT_A_FILE] += 1
            elif not name.casefold().endswith(TEXT_SUFFIX):
                ignored[NO_TEXT_FILE] += 1
            else:
                yield name
