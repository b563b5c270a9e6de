"""Class folders: the name of a folder is the label of the files in it, of any input.

photos/cat/1.jpg                 class-folders
mail/spam/1.txt
photos/train/cat/1.jpg           split-folders: train, validation (or val, valid) and test
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from skipstone.core.errors import UsageError
from skipstone.core.formatting import (
    join_limited,
    natural_key,
    natural_sorted,
    pluralize,
    quote_path,
)
from skipstone.core.specs import InputSpec, resolve_target
from skipstone.data.findings import Finding
from skipstone.data.input_files import list_file_inputs, list_main_inputs
from skipstone.data.manifest import Manifest, build_table
from skipstone.data.options import ReadOptions
from skipstone.data.readers.annotation_files import (
    holds_box_annotations,
)
from skipstone.data.readers.base import SPLIT_NAMES, is_multi_label
from skipstone.data.readers.columns import TABLE_SUFFIXES
from skipstone.data.readers.parts import FolderRows, is_part_name, reject_parts
from skipstone.data.readers.scan import FileScan, has_sources, list_subfolders, scan_files
from skipstone.data.readers.unsupported_layouts import has_image_mask_pairs

BLANK = "files without content"


def list_folder_inputs(path: Path) -> list[InputSpec]:
    """The inputs whose files count in this folder: sidecar files only if there are no others."""
    main = list_main_inputs()
    if has_sources(path, main):
        return main
    return [spec for spec in list_file_inputs() if spec.is_sidecar]


def find_split_folders(path: Path) -> list[Path]:
    """Folders named like splits that hold folders but no files: `train/` with pictures directly in
    it is the class of trains."""
    return [
        folder
        for folder in list_subfolders(path)
        if folder.name.casefold() in SPLIT_NAMES
        and list_subfolders(folder)
        and not has_sources(folder, recursive=False)
    ]


class ClassFolderReader:
    """photos/<class>/**/<picture>"""

    def detect_layout(self, path: Path) -> str | None:
        if not path.is_dir():
            return None
        splits = set(find_split_folders(path))
        inputs = list_folder_inputs(path)
        classes = [
            folder
            for folder in list_subfolders(path)
            if folder not in splits
            and (folder.name.casefold() not in SPLIT_NAMES or not splits)
            and has_sources(folder, inputs)
        ]
        if has_image_mask_pairs(path):
            return None  # mask-folders reads it
        if not classes or all(folder.name.casefold() in SPLIT_NAMES for folder in classes):
            return None
        is_one_part = len(classes) == 1 or all(is_part_name(folder.name) for folder in classes)
        if is_one_part and holds_box_annotations(path):
            return None  # a reader of boxes reads it
        if len(classes) == 1 and not splits and list_subfolders(classes[0]):
            return None  # a wrapper folder: `find_data_folder` descends into it
        if len(classes) == 1 and any(c.suffix.lower() in TABLE_SUFFIXES for c in path.iterdir()):
            return None  # files and a table of their labels: `no_reader_error` suggests the table
        return f"class folders ({join_limited(folder.name for folder in classes)})"

    def read_manifest(self, path: Path, options: ReadOptions) -> Manifest:
        scan = scan_files(path, list_file_inputs(options.input))
        rows = _Rows(scan)
        for file in scan.files:
            label, slash, rest = file.partition("/")
            if not slash:
                scan.skipped_counts[rows.unclassified] += 1
            else:
                rows.add_row(file, "", label, nested="/" in rest)
        if options.reader is None:
            _reject_nested_data_sets(path, scan)
        notes = [f"Read as class folders: {rows.count(len(rows))} in {rows.classes_text()}."]
        empty = [name for name in scan.folders if "/" not in name and name not in rows.labels]
        return rows.to_manifest(path, "class-folders", options, notes, empty)


class SplitFolderReader:
    """photos/<split>/<class>/**/<picture>"""

    def detect_layout(self, path: Path) -> str | None:
        splits = find_split_folders(path) if path.is_dir() else []
        inputs = list_folder_inputs(path) if splits else []
        if not any(has_sources(folder, inputs) for folder in splits):
            return None
        if any(has_image_mask_pairs(folder) for folder in splits):
            return None  # mask-folders reads it
        inner = [child for folder in splits for child in list_subfolders(folder)]
        inner = [folder for folder in inner if has_sources(folder, inputs)]
        if all(is_part_name(folder.name) for folder in inner) and holds_box_annotations(path):
            return None  # a reader of boxes reads it
        return f"split folders ({join_limited(folder.name for folder in splits)}) of class folders"

    def read_manifest(self, path: Path, options: ReadOptions) -> Manifest:
        splits = _splits_by_folder(path)
        scan = scan_files(path, list_file_inputs(options.input))
        rows = _Rows(scan)
        for file in scan.files:
            *folders, _ = file.split("/")
            top, middle = (folders or [""])[0], folders[1:]
            if top not in splits:
                reason = rows.outside_splits if folders else rows.unclassified
                scan.skipped_counts[reason] += 1
            elif not middle:
                scan.skipped_counts[rows.unlabelled] += 1
            else:
                rows.add_row(file, splits[top], middle[0], nested=len(middle) > 1)
        sizes = [f"{rows.count(rows.splits[split])} in {name}" for name, split in splits.items()]
        notes = [
            f"Read as split folders of class folders: {', '.join(sizes)}, {rows.classes_text()}."
        ]
        if unlabelled := scan.skipped_counts[rows.unlabelled]:
            notes.append(
                f"{rows.count(unlabelled)} directly in a split folder have no class and are "
                "skipped."
            )
        notes += rows.missing_classes(list(dict.fromkeys(splits.values())))
        empty = [
            name
            for name in scan.folders
            if name.count("/") == 1
            and name.partition("/")[0] in splits
            and (splits[name.partition("/")[0]], name.partition("/")[2]) not in rows.folders
        ]
        return rows.to_manifest(path, "split-folders", options, notes, empty)


def audit_class_folders(manifest: Manifest) -> tuple[list[Finding], dict[str, Any]]:
    """Files without content, which were skipped; `audit` of the readers' specs."""
    paths = manifest.unpaired_files.get(BLANK, ())
    if not paths:
        return [], {}
    message = f"{pluralize(len(paths), 'file')} without content, such as {paths[0]}: skipped."
    return [Finding("empty_text", tuple(paths), message)], {}


def _reject_nested_data_sets(path: Path, scan: FileScan) -> None:
    """UsageError if a "class" holds train/ and test/: it is a data set, `path` a folder of them."""
    tops = {file.partition("/")[0] for file in scan.files if "/" in file}
    for top in natural_sorted(tops):
        splits = find_split_folders(path / top)
        if splits:
            raise UsageError(
                f"{path} holds {top}, which holds {join_limited(folder.name for folder in splits)}: "
                f"{top} looks like a data set, not like a class.",
                hint=f"Give its path: {quote_path(path / top)} (or, if it is a class: --reader class-folders)",
            )


def _splits_by_folder(path: Path) -> dict[str, str]:
    """{folder name: split}, such as {"val": "validation"}, in the order train, validation, test."""
    names = [
        folder.name for folder in list_subfolders(path) if folder.name.casefold() in SPLIT_NAMES
    ]
    order = ["train", "validation", "test"]
    names.sort(key=lambda name: order.index(SPLIT_NAMES[name.casefold()]))
    splits: dict[str, str] = {}
    for name in names:
        split = SPLIT_NAMES[name.casefold()]
        if split in splits.values():
            other_name = next(other for other, value in splits.items() if value == split)
            raise UsageError(
                f"{path} holds both {other_name} and {name}, which mean the same split ({split}).",
                hint="Merge them, or move one of them out of the folder.",
            )
        splits[name] = split
    if not splits:
        raise UsageError(
            f"{path} holds no split folders.",
            hint="Their names are train, validation (or val, valid) and test.",
        )
    return splits


class _Rows:
    """Collects rows. Labels are normalized to NFC, so that "café" equals "café"."""

    def __init__(self, scan: FileScan) -> None:
        self.scan = scan
        self.noun = scan.input.noun
        self.unclassified = f"{self.noun}s outside class folders"
        self.unlabelled = f"unlabelled {self.noun}s in a split folder"
        self.outside_splits = f"{self.noun}s outside the split folders"
        self.rows: list[tuple[str, str, str]] = []  # (split, label, path)
        self.nested = 0
        self.labels: set[str] = set()
        self.folders: set[tuple[str, str]] = set()
        self.splits: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.rows)

    def add_row(self, path: str, split: str, folder: str, *, nested: bool) -> None:
        label = unicodedata.normalize("NFC", folder)
        self.rows.append((split, label, path))
        self.nested += nested
        self.labels.add(label)
        self.folders.add((split, folder))
        self.splits[split] += 1

    def count(self, number: int) -> str:
        """ "3 pictures" """
        return pluralize(number, self.noun)

    def classes_text(self) -> str:
        names = natural_sorted(self.labels)
        return f"{pluralize(len(names), 'class', 'classes')} ({join_limited(names, 10)})"

    def missing_classes(self, splits: list[str]) -> list[str]:
        """One sentence per split that lacks classes of another split."""
        present: dict[str, set[str]] = defaultdict(set)
        for split, label, _ in self.rows:
            present[split].add(label)
        return [
            f"{split} has no {self.noun}s of {join_limited(natural_sorted(self.labels - present[split]))}."
            for split in splits
            if present[split] and self.labels - present[split]
        ]

    def to_manifest(
        self, root: Path, reader: str, options: ReadOptions, notes: list[str], empty: list[str]
    ) -> Manifest:
        task = self._check(root, reader, options)
        skipped = self.scan.skipped_counts
        if self.nested:
            notes.append(
                f"{self.count(self.nested)} in deeper folders "
                f"{'belongs' if self.nested == 1 else 'belong'} to the class of the enclosing class "
                "folder."
            )
        for reason in (self.unclassified, self.outside_splits):
            if skipped[reason]:
                where = reason.removeprefix(f"{self.noun}s ")
                verb = "is" if skipped[reason] == 1 else "are"
                notes.append(f"{self.count(skipped[reason])} {where} {verb} skipped.")
        if empty:
            notes.append(
                f"Folders without {self.noun}s are skipped: {join_limited(natural_sorted(empty))}."
            )
        if self.scan.blank_files:
            skipped[BLANK] = len(self.scan.blank_files)
            notes.append(f"Skipped: {BLANK} ({skipped[BLANK]:,}).")
        order = {"": 0, "train": 1, "validation": 2, "test": 3}
        classes = natural_sorted(self.labels)
        rank = {name: number for number, name in enumerate(classes)}
        self.rows.sort(key=lambda row: (order[row[0]], rank[row[1]], natural_key(row[2])))
        many = is_multi_label(task)
        return Manifest(
            build_table(
                {
                    "path": [path for _, _, path in self.rows],
                    "split": [split for split, _, _ in self.rows],
                    "target": [[label] if many else label for _, label, _ in self.rows],
                },
                pa.list_(pa.string()) if many else pa.string(),
            ),
            root=root,
            reader=reader,
            input=self.scan.input.name,
            task=task,
            schema={"classes": classes},
            notes=tuple(notes),
            skipped_counts={reason: count for reason, count in sorted(skipped.items()) if count},
            unpaired_files={BLANK: tuple(self.scan.blank_files)},
        )

    def _check(self, root: Path, reader: str, options: ReadOptions) -> str:
        if not self.rows:
            raise UsageError(
                f"{root} holds no {self.noun}s in class folders.",
                hint=f"Put the {self.noun}s of each class into a folder named after the class.",
            )
        reject_parts(FolderRows(root, self.rows, reader, self.scan.input), options)
        if len(self.labels) == 1:
            split, name, path = self.rows[0]
            folder = root / path.partition("/")[0] if split else root
            raise UsageError(
                f"{root} holds only one class ({name}); classification needs at least two.",
                hint=f"Put {self.noun}s of something else in "
                f"{quote_path(folder / f'not-{name}')}, then: skipstone train {quote_path(root)}",
            )
        reject_layout = self.scan.input.reject_layout
        if reject_layout is not None and options.reader is None and options.exclude is None:
            rows = [(label, path) for _, label, path in self.rows]
            resolve_target(reject_layout)(root, rows, reader)
        return options.task or "classify"
