"""Class folders: the name of a folder is the label of the pictures in it.

photos/cat/1.jpg                 class-folders
photos/train/cat/1.jpg           split-folders, with validation (or val, valid) and test beside
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow as pa

from skipstone.data.file_types import passed_over_name
from skipstone.data.manifest import Manifest, table_of
from skipstone.data.options import ReadOptions
from skipstone.data.readers.annotations import boxes_and_outlines
from skipstone.data.readers.base import MASK_WORDS, PICTURE_WORDS, SPLIT_NAMES, has_many_labels
from skipstone.data.readers.columns import TABLE_SUFFIXES
from skipstone.data.readers.scan import Scan, no_picture, scan, walk
from skipstone.data.readers.stray_masks import refuse_masks
from skipstone.errors import DataError, UsageError
from skipstone.words import counted, listed, natural_key, natural_sorted, quoted

LOOSE = "pictures outside class folders"
UNLABELLED = "unlabelled pictures in a split folder"
OTHER_FOLDERS = "pictures in folders beside the split folders"


def subfolders(path: Path) -> list[Path]:
    """The visible folders directly in `path`, in natural order."""
    try:
        inside = [
            child for child in path.iterdir() if not passed_over_name(child.name) and child.is_dir()
        ]
    except OSError:
        return []
    return sorted(inside, key=lambda child: natural_key(child.name))


def has_pictures(path: Path, *, below: bool = True) -> bool:
    """Whether a picture lies in `path` itself or (`below`) anywhere under it."""
    try:
        for _, files in walk(path, Counter()):
            if any(no_picture(entry) is None for _, entry in files):
                return True
            if not below:
                break
    except DataError:
        pass
    return False


def looks_paired(folder: Path) -> bool:
    """Whether `folder` holds pictures beside their masks, as their names say."""
    inside = subfolders(folder)
    pictures = [child for child in inside if child.name.casefold() in PICTURE_WORDS]
    masks = [child for child in inside if child.name.casefold() in MASK_WORDS]
    return any(map(has_pictures, pictures)) and any(map(has_pictures, masks))


def split_folders(path: Path) -> list[Path]:
    """Folders named as splits that hold folders and no pictures of their own: `train/` with
    pictures directly in it is the class of trains."""
    return [
        folder
        for folder in subfolders(path)
        if folder.name.casefold() in SPLIT_NAMES
        and subfolders(folder)
        and not has_pictures(folder, below=False)
    ]


class ClassFolders:
    """photos/<class>/**/<picture>"""

    def sniff(self, path: Path) -> str | None:
        if not path.is_dir():
            return None
        splits = set(split_folders(path))
        classes = [
            folder
            for folder in subfolders(path)
            if folder not in splits
            and (folder.name.casefold() not in SPLIT_NAMES or not splits)
            and has_pictures(folder)
        ]
        if looks_paired(path):
            return None  # mask-folders reads it
        if not classes or all(folder.name.casefold() in SPLIT_NAMES for folder in classes):
            return None
        if len(classes) == 1 and not splits and subfolders(classes[0]):
            return None  # a wrapper folder, which is looked through
        if len(classes) == 1 and any(c.suffix.lower() in TABLE_SUFFIXES for c in path.iterdir()):
            return None  # pictures and the table of their labels: `refusals` says to give that
        return f"class folders ({listed(folder.name for folder in classes)})"

    def read(self, path: Path, options: ReadOptions) -> Manifest:
        found = scan(path)
        rows = _Rows()
        for picture in found.pictures:
            label, slash, rest = picture.partition("/")
            if not slash:
                found.ignored[LOOSE] += 1
            else:
                rows.add(picture, "", label, nested="/" in rest)
        if options.reader is None:
            _refuse_data_sets(path, found)
        notes = [
            f"Read as class folders: {counted(len(rows), 'picture')} in {rows.classes_text()}."
        ]
        empty = [name for name in found.folders if "/" not in name and name not in rows.labels]
        return rows.manifest(path, "class-folders", options, notes, empty, found)


class SplitFolders:
    """photos/<split>/<class>/**/<picture>"""

    def sniff(self, path: Path) -> str | None:
        splits = split_folders(path) if path.is_dir() else []
        if not any(has_pictures(folder) for folder in splits):
            return None
        if any(looks_paired(folder) for folder in splits):
            return None  # mask-folders reads it
        return f"split folders ({listed(folder.name for folder in splits)}) of class folders"

    def read(self, path: Path, options: ReadOptions) -> Manifest:
        splits = _split_of_folder(path)
        found = scan(path)
        rows = _Rows()
        for picture in found.pictures:
            *folders, _ = picture.split("/")
            top, middle = (folders or [""])[0], folders[1:]
            if top not in splits:
                found.ignored[OTHER_FOLDERS if folders else LOOSE] += 1
            elif not middle:
                found.ignored[UNLABELLED] += 1
            else:
                rows.add(picture, splits[top], middle[0], nested=len(middle) > 1)
        sizes = [
            f"{counted(rows.splits[split], 'picture')} in {name}" for name, split in splits.items()
        ]
        notes = [
            f"Read as split folders of class folders: {', '.join(sizes)}, {rows.classes_text()}."
        ]
        if found.ignored[UNLABELLED]:
            notes.append(
                f"{counted(found.ignored[UNLABELLED], 'picture')} directly in a split folder "
                "belong to no class and are passed over."
            )
        notes += rows.missing_classes(list(dict.fromkeys(splits.values())))
        empty = [
            name
            for name in found.folders
            if name.count("/") == 1
            and name.partition("/")[0] in splits
            and (splits[name.partition("/")[0]], name.partition("/")[2]) not in rows.folders
        ]
        return rows.manifest(path, "split-folders", options, notes, empty, found)


def _refuse_data_sets(path: Path, found: Scan) -> None:
    """A "class" that holds train/ and test/ is a data set, and `path` a folder of them."""
    tops = {picture.partition("/")[0] for picture in found.pictures if "/" in picture}
    for top in natural_sorted(tops):
        splits = split_folders(path / top)
        if splits:
            raise UsageError(
                f"{path} holds {top}, which holds {listed(folder.name for folder in splits)}: that "
                "looks like a data set of its own, not like a class.",
                hint=f"Give that: {path / top} (or, if it is a class: --reader class-folders)",
            )


def _split_of_folder(path: Path) -> dict[str, str]:
    """{"val": "validation"}, in the order train, validation, test."""
    names = [folder.name for folder in subfolders(path) if folder.name.casefold() in SPLIT_NAMES]
    order = ["train", "validation", "test"]
    names.sort(key=lambda name: order.index(SPLIT_NAMES[name.casefold()]))
    splits: dict[str, str] = {}
    for name in names:
        split = SPLIT_NAMES[name.casefold()]
        if split in splits.values():
            twin = next(other for other, value in splits.items() if value == split)
            raise UsageError(
                f"{path} holds both {twin} and {name}, which mean the same split ({split}).",
                hint="Merge them, or move one of the two out of the folder.",
            )
        splits[name] = split
    if not splits:
        raise UsageError(
            f"{path} holds no split folders.",
            hint="They are called train, validation (or val, valid) and test.",
        )
    return splits


class _Rows:
    """Collects rows; labels are brought to one Unicode form, so that "café" equals "café"."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []  # (split, label, path)
        self.nested = 0
        self.labels: set[str] = set()
        self.folders: set[tuple[str, str]] = set()
        self.splits: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, path: str, split: str, folder: str, *, nested: bool) -> None:
        label = unicodedata.normalize("NFC", folder)
        self.rows.append((split, label, path))
        self.nested += nested
        self.labels.add(label)
        self.folders.add((split, folder))
        self.splits[split] += 1

    def classes_text(self) -> str:
        names = natural_sorted(self.labels)
        return f"{counted(len(names), 'class', 'classes')} ({listed(names, 10)})"

    def missing_classes(self, splits: list[str]) -> list[str]:
        """A sentence for each split that lacks classes which another split has."""
        present: dict[str, set[str]] = defaultdict(set)
        for split, label, _ in self.rows:
            present[split].add(label)
        return [
            f"{split} has no picture of {listed(natural_sorted(self.labels - present[split]))}."
            for split in splits
            if present[split] and self.labels - present[split]
        ]

    def manifest(
        self,
        root: Path,
        reader: str,
        options: ReadOptions,
        notes: list[str],
        empty: list[str],
        found: Scan,
    ) -> Manifest:
        task = self._check(root, reader, options)
        if self.nested:
            notes.append(
                f"{counted(self.nested, 'picture')} in deeper folders count to the class folder "
                "that holds them."
            )
        if found.ignored[LOOSE]:
            notes.append(
                f"{counted(found.ignored[LOOSE], 'picture')} outside class folders are passed over."
            )
        if found.ignored[OTHER_FOLDERS]:
            notes.append(
                f"{counted(found.ignored[OTHER_FOLDERS], 'picture')} in folders beside the split "
                "folders are passed over."
            )
        if empty:
            notes.append(f"Without a picture, so no class: {listed(natural_sorted(empty))}.")
        order = {"": 0, "train": 1, "validation": 2, "test": 3}
        classes = natural_sorted(self.labels)
        rank = {name: number for number, name in enumerate(classes)}
        self.rows.sort(key=lambda row: (order[row[0]], rank[row[1]], natural_key(row[2])))
        many = has_many_labels(task)
        return Manifest(
            table_of(
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
            ignored={reason: count for reason, count in sorted(found.ignored.items()) if count},
        )

    def _check(self, root: Path, reader: str, options: ReadOptions) -> str:
        if not self.rows:
            raise UsageError(
                f"{root} holds no picture in class folders.",
                hint="Put the pictures of each class into a folder of its own, named as the class.",
            )
        self._refuse_parts(root, reader, options)
        if len(self.labels) == 1:
            split, name, path = self.rows[0]
            folder = root / path.partition("/")[0] if split else root
            raise UsageError(
                f"{root} holds one class only ({name}); telling things apart takes two.",
                hint="Put pictures of something else beside it, in "
                f"{quoted(folder / f'not-{name}')}, then: skipstone train {quoted(root)}",
            )
        words = {label.casefold() for label in self.labels}
        looks_paired = bool(words & PICTURE_WORDS) and bool(words & MASK_WORDS)
        if looks_paired and options.reader is None:
            raise UsageError(
                f"{root} holds {listed(natural_sorted(self.labels))}: that looks like pictures "
                "with their masks or boxes, not like classes.",
                hint=f"If these are the names of your classes, add --reader {reader}.",
            )
        if options.reader is None and options.exclude is None:
            refuse_masks(root, [(label, path) for _, label, path in self.rows], reader)
        return options.task or "classify"

    def _refuse_parts(self, root: Path, reader: str, options: ReadOptions) -> None:
        """train2017/ and val2017/, or one folder of pictures: parts of a data set whose labels are
        in other files, or nowhere."""
        parts = all(map(_names_a_part, self.labels))
        if options.reader is not None or not (parts or len(self.labels) == 1):
            return
        if refused := boxes_and_outlines(root):
            raise refused
        if not parts or len(self.labels) == 1:
            return
        names = listed(natural_sorted(self.labels))
        classes = f"if these are your classes, add --reader {reader}"
        tables = [c for c in sorted(root.iterdir()) if c.suffix.lower() in TABLE_SUFFIXES]
        if tables:
            raise UsageError(
                f"{root} holds {names}, and {listed(table.name for table in tables)} beside them: "
                "that looks like pictures with a table of their labels, not like classes.",
                hint=f"Give the table: skipstone train {quoted(tables[-1])} (or, {classes}).",
            )
        raise UsageError(
            f"{root} holds {names}: these look like parts of a data set, not like classes.",
            hint=f"Sort the pictures of each part into folders by class, such as "
            f"{quoted(root / 'train' / 'cat')} and {quoted(root / 'test' / 'cat')}; or, {classes}.",
        )


def _names_a_part(label: str) -> bool:
    """Whether a folder is called after a split or after pictures: train_images, img, test-1."""
    words = set(re.split(r"[^a-z]+", label.casefold())) - {""}
    return bool(words) and words <= {*SPLIT_NAMES, *PICTURE_WORDS, "photos", "pictures", "set"}
