"""Class folders: the name of a folder is the label of the pictures in it.

photos/cat/1.jpg                 class-folders
photos/train/cat/1.jpg           split-folders: train, validation (or val, valid) and test
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow as pa

from skipstone.core.errors import DataError, UsageError
from skipstone.core.formatting import (
    join_limited,
    natural_key,
    natural_sorted,
    pluralize,
    quote_path,
)
from skipstone.data.file_types import hidden_name_reason
from skipstone.data.manifest import Manifest, build_table
from skipstone.data.options import ReadOptions
from skipstone.data.readers.base import (
    MASK_FOLDER_NAMES,
    PICTURE_FOLDER_NAMES,
    SPLIT_NAMES,
    is_multi_label,
)
from skipstone.data.readers.columns import TABLE_SUFFIXES
from skipstone.data.readers.scan import PictureScan, entry_skip_reason, scan_pictures, walk_folders
from skipstone.data.readers.unsupported_layouts import reject_masks, unsupported_annotation_error

UNCLASSIFIED = "pictures outside class folders"
UNLABELLED = "unlabelled pictures in a split folder"
OUTSIDE_SPLITS = "pictures outside the split folders"


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


def has_pictures(path: Path, *, recursive: bool = True) -> bool:
    """Whether `path` holds a picture; with `recursive`, at any depth."""
    try:
        for _, files in walk_folders(path, Counter()):
            if any(entry_skip_reason(entry) is None for _, entry in files):
                return True
            if not recursive:
                break
    except DataError:
        pass
    return False


def has_image_mask_pairs(folder: Path) -> bool:
    """Whether `folder` holds a folder of pictures and a folder of masks, by their names."""
    folders = list_subfolders(folder)
    pictures = [child for child in folders if child.name.casefold() in PICTURE_FOLDER_NAMES]
    masks = [child for child in folders if child.name.casefold() in MASK_FOLDER_NAMES]
    return any(map(has_pictures, pictures)) and any(map(has_pictures, masks))


def find_split_folders(path: Path) -> list[Path]:
    """Folders named like splits that hold folders but no pictures: `train/` with pictures directly
    in it is the class of trains."""
    return [
        folder
        for folder in list_subfolders(path)
        if folder.name.casefold() in SPLIT_NAMES
        and list_subfolders(folder)
        and not has_pictures(folder, recursive=False)
    ]


class ClassFolderReader:
    """photos/<class>/**/<picture>"""

    def detect_layout(self, path: Path) -> str | None:
        if not path.is_dir():
            return None
        splits = set(find_split_folders(path))
        classes = [
            folder
            for folder in list_subfolders(path)
            if folder not in splits
            and (folder.name.casefold() not in SPLIT_NAMES or not splits)
            and has_pictures(folder)
        ]
        if has_image_mask_pairs(path):
            return None  # mask-folders reads it
        if not classes or all(folder.name.casefold() in SPLIT_NAMES for folder in classes):
            return None
        if len(classes) == 1 and not splits and list_subfolders(classes[0]):
            return None  # a wrapper folder: read.data_folder descends into it
        if len(classes) == 1 and any(c.suffix.lower() in TABLE_SUFFIXES for c in path.iterdir()):
            return None  # pictures and a table of their labels: `refusals` suggests the table
        return f"class folders ({join_limited(folder.name for folder in classes)})"

    def read_manifest(self, path: Path, options: ReadOptions) -> Manifest:
        scanned = scan_pictures(path)
        rows = _Rows()
        for picture in scanned.pictures:
            label, slash, rest = picture.partition("/")
            if not slash:
                scanned.skipped_counts[UNCLASSIFIED] += 1
            else:
                rows.add_row(picture, "", label, nested="/" in rest)
        if options.reader is None:
            _reject_nested_data_sets(path, scanned)
        notes = [
            f"Read as class folders: {pluralize(len(rows), 'picture')} in {rows.classes_text()}."
        ]
        empty = [name for name in scanned.folders if "/" not in name and name not in rows.labels]
        return rows.to_manifest(path, "class-folders", options, notes, empty, scanned)


class SplitFolderReader:
    """photos/<split>/<class>/**/<picture>"""

    def detect_layout(self, path: Path) -> str | None:
        splits = find_split_folders(path) if path.is_dir() else []
        if not any(has_pictures(folder) for folder in splits):
            return None
        if any(has_image_mask_pairs(folder) for folder in splits):
            return None  # mask-folders reads it
        return f"split folders ({join_limited(folder.name for folder in splits)}) of class folders"

    def read_manifest(self, path: Path, options: ReadOptions) -> Manifest:
        splits = _splits_by_folder(path)
        scanned = scan_pictures(path)
        rows = _Rows()
        for picture in scanned.pictures:
            *folders, _ = picture.split("/")
            top, middle = (folders or [""])[0], folders[1:]
            if top not in splits:
                scanned.skipped_counts[OUTSIDE_SPLITS if folders else UNCLASSIFIED] += 1
            elif not middle:
                scanned.skipped_counts[UNLABELLED] += 1
            else:
                rows.add_row(picture, splits[top], middle[0], nested=len(middle) > 1)
        sizes = [
            f"{pluralize(rows.splits[split], 'picture')} in {name}"
            for name, split in splits.items()
        ]
        notes = [
            f"Read as split folders of class folders: {', '.join(sizes)}, {rows.classes_text()}."
        ]
        if scanned.skipped_counts[UNLABELLED]:
            notes.append(
                f"{pluralize(scanned.skipped_counts[UNLABELLED], 'picture')} directly in a split folder "
                "have no class and are skipped."
            )
        notes += rows.missing_classes(list(dict.fromkeys(splits.values())))
        empty = [
            name
            for name in scanned.folders
            if name.count("/") == 1
            and name.partition("/")[0] in splits
            and (splits[name.partition("/")[0]], name.partition("/")[2]) not in rows.folders
        ]
        return rows.to_manifest(path, "split-folders", options, notes, empty, scanned)


def _reject_nested_data_sets(path: Path, scanned: PictureScan) -> None:
    """UsageError if a "class" holds train/ and test/: it is a data set, `path` a folder of them."""
    tops = {picture.partition("/")[0] for picture in scanned.pictures if "/" in picture}
    for top in natural_sorted(tops):
        splits = find_split_folders(path / top)
        if splits:
            raise UsageError(
                f"{path} holds {top}, which holds {join_limited(folder.name for folder in splits)}: "
                f"{top} looks like a data set, not like a class.",
                hint=f"Give its path: {path / top} (or, if it is a class: --reader class-folders)",
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

    def __init__(self) -> None:
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

    def classes_text(self) -> str:
        names = natural_sorted(self.labels)
        return f"{pluralize(len(names), 'class', 'classes')} ({join_limited(names, 10)})"

    def missing_classes(self, splits: list[str]) -> list[str]:
        """One sentence per split that lacks classes of another split."""
        present: dict[str, set[str]] = defaultdict(set)
        for split, label, _ in self.rows:
            present[split].add(label)
        return [
            f"{split} has no pictures of {join_limited(natural_sorted(self.labels - present[split]))}."
            for split in splits
            if present[split] and self.labels - present[split]
        ]

    def to_manifest(
        self,
        root: Path,
        reader: str,
        options: ReadOptions,
        notes: list[str],
        empty: list[str],
        scanned: PictureScan,
    ) -> Manifest:
        task = self._check(root, reader, options)
        if self.nested:
            notes.append(
                f"{pluralize(self.nested, 'picture')} in deeper folders belong to the class of the "
                "enclosing class folder."
            )
        if scanned.skipped_counts[UNCLASSIFIED]:
            notes.append(
                f"{pluralize(scanned.skipped_counts[UNCLASSIFIED], 'picture')} outside class folders are skipped."
            )
        if scanned.skipped_counts[OUTSIDE_SPLITS]:
            notes.append(
                f"{pluralize(scanned.skipped_counts[OUTSIDE_SPLITS], 'picture')} outside the split folders "
                "are skipped."
            )
        if empty:
            notes.append(
                f"Folders without pictures are skipped: {join_limited(natural_sorted(empty))}."
            )
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
            input="image",
            task=task,
            schema={"classes": classes},
            notes=tuple(notes),
            skipped_counts={
                reason: count for reason, count in sorted(scanned.skipped_counts.items()) if count
            },
        )

    def _check(self, root: Path, reader: str, options: ReadOptions) -> str:
        if not self.rows:
            raise UsageError(
                f"{root} holds no pictures in class folders.",
                hint="Put the pictures of each class into a folder named after the class.",
            )
        self._refuse_parts(root, reader, options)
        if len(self.labels) == 1:
            split, name, path = self.rows[0]
            folder = root / path.partition("/")[0] if split else root
            raise UsageError(
                f"{root} holds only one class ({name}); classification needs at least two.",
                hint="Put pictures of something else in "
                f"{quote_path(folder / f'not-{name}')}, then: skipstone train {quote_path(root)}",
            )
        names = {label.casefold() for label in self.labels}
        has_pairs = bool(names & PICTURE_FOLDER_NAMES) and bool(names & MASK_FOLDER_NAMES)
        if has_pairs and options.reader is None:
            raise UsageError(
                f"{root} holds {join_limited(natural_sorted(self.labels))}: these look like pictures "
                "and their masks or boxes, not like classes.",
                hint=f"If these are your classes, add --reader {reader}.",
            )
        if options.reader is None and options.exclude is None:
            reject_masks(root, [(label, path) for _, label, path in self.rows], reader)
        return options.task or "classify"

    def _refuse_parts(self, root: Path, reader: str, options: ReadOptions) -> None:
        """UsageError if the folders look like parts of a data set (train2017/ and val2017/, or one
        folder of pictures) whose labels are in other files or missing."""
        all_parts = all(map(_is_part_name, self.labels))
        if options.reader is not None or not (all_parts or len(self.labels) == 1):
            return
        if annotation_error := unsupported_annotation_error(root):
            raise annotation_error
        if not all_parts or len(self.labels) == 1:
            return
        names = join_limited(natural_sorted(self.labels))
        if_classes = f"if these are your classes, add --reader {reader}"
        tables = [c for c in sorted(root.iterdir()) if c.suffix.lower() in TABLE_SUFFIXES]
        if tables:
            raise UsageError(
                f"{root} holds {names}, and the table {join_limited(table.name for table in tables)}: "
                "these look like pictures and a table of their labels, not like classes.",
                hint=f"Give the table: skipstone train {quote_path(tables[-1])} (or, {if_classes}).",
            )
        raise UsageError(
            f"{root} holds {names}: these look like parts of a data set, not like classes.",
            hint="Sort the pictures of each part into folders by class, such as "
            f"{quote_path(root / 'train' / 'cat')} and {quote_path(root / 'test' / 'cat')}; "
            f"or, {if_classes}.",
        )


def _is_part_name(label: str) -> bool:
    """Whether a folder is named after a split or after pictures: train_images, img, test-1."""
    words = set(re.split(r"[^a-z]+", label.casefold())) - {""}
    return bool(words) and words <= {
        *SPLIT_NAMES,
        *PICTURE_FOLDER_NAMES,
        "photos",
        "pictures",
        "set",
    }
