"""Folders that are parts of a data set, and would be wrong as classes.

    seg_train/forest/1.jpg, seg_test/forest/2.jpg     parts that hold the same class folders
    cat/train/1.jpg, cat/test/2.jpg                   classes that hold the same parts
    train_images/1.jpg, test_images/2.jpg             parts without labels
    train/pos/1.txt, train/unsup/2.txt                a part among classes
    shot1/img.png, shot1/label.png                    a folder per picture, with its mask

Each is an error that names the command to type next; `--reader` reads the folders as classes.
"""

from __future__ import annotations

import shlex
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from skipstone.core.errors import UsageError
from skipstone.core.formatting import join_limited, natural_sorted, quote_path
from skipstone.core.specs import InputSpec
from skipstone.data.exclude import find_excluded
from skipstone.data.hint_commands import choose_training_part, make_table_of_names, split_words
from skipstone.data.options import ReadOptions
from skipstone.data.readers.annotation_files import unsupported_annotation_error
from skipstone.data.readers.base import MASK_FOLDER_NAMES, PICTURE_FOLDER_NAMES, SPLIT_NAMES
from skipstone.data.readers.columns import TABLE_SUFFIXES

_UNLABELLED = frozenset({"unsup", "unsupervised", "unlabeled", "unlabelled", "pred"})
_PART_WORDS = frozenset(
    {
        "set",
        "sets",
        "data",
        "dataset",
        "batch",
        "seg",
        "fold",
        "folds",
        "part",
        "parts",
        "subset",
        "split",
    }
    | {
        "cv",
        "eval",
        "holdout",
        *_UNLABELLED,
        *SPLIT_NAMES,
        *PICTURE_FOLDER_NAMES,
        "photo",
        "picture",
    }
)
#: A folder per picture holds at most this many files.
_FILES_PER_PICTURE = 8


@dataclass(frozen=True)
class FolderRows:
    """The rows of class folders.

    Args:
        rows: (split, label, path) of each; paths with "/".
        reader: the name of the reader that takes these folders for classes.
    """

    root: Path
    rows: Sequence[tuple[str, str, str]]
    reader: str
    input: InputSpec

    @property
    def labels(self) -> list[str]:
        return natural_sorted({label for _, label, _ in self.rows})

    @property
    def if_classes(self) -> str:
        """The end of a hint."""
        return f"(or, if these are your classes: --reader {self.reader})"


def reject_parts(folders: FolderRows, options: ReadOptions) -> None:
    """UsageError if the folders look like parts of a data set, unless the user names the reader.
    Rows that the user excludes do not count."""
    if options.reader is not None or not folders.rows:
        return
    if options.exclude is not None:
        excluded = find_excluded([path for *_, path in folders.rows], folders.root, options.exclude)
        rows = [row for row, is_out in zip(folders.rows, excluded, strict=True) if not is_out]
        folders = FolderRows(folders.root, rows, folders.reader, folders.input)
        if not rows:
            return
    _reject_folder_per_picture(folders)
    _reject_recurring_subfolders(folders)
    _reject_only_parts(folders)
    _reject_single_parts(folders)


def _reject_folder_per_picture(folders: FolderRows) -> None:
    """LabelMe's `shot1_json/img.png, label.png`, or `shot1/images/1.png, shot1/masks/2.png`."""
    files: dict[str, set[str]] = defaultdict(set)
    for split, label, path in folders.rows:
        parts = path.split("/")[1 + bool(split) :]
        files[label].add(parts[0] if len(parts) == 1 else f"{parts[0].casefold()}/")
    if len(files) < 2 or max(map(len, files.values())) > _FILES_PER_PICTURE:
        return
    shared = natural_sorted(set.intersection(*files.values()))
    masks = [name for name in shared if split_words(PurePosixPath(name).stem) & MASK_FOLDER_NAMES]
    pictures = [name for name in shared if name not in masks]
    if not masks or not pictures:
        return
    hint = "Put the pictures and their masks in two folders: images/1.jpg, masks/1.png."
    if not masks[0].endswith("/"):
        new, mask, picture = quote_path(_sibling_path(folders.root, "masks")), masks[0], pictures[0]
        copies = "; ".join(
            f'cp "$d"{shlex.quote(name)} {new}/{folder}/"$(basename "$d"){PurePosixPath(name).suffix}"'
            for name, folder in ((picture, "images"), (mask, "masks"))
        )
        hint = (
            f"Copy them to two folders: mkdir -p {new}/images {new}/masks; "
            f"for d in {quote_path(folders.root)}/*/; do {copies}; done; then: skipstone train {new}"
        )
    raise UsageError(
        f"{folders.root}: each folder holds {join_limited(shared)}, so it looks like one "
        f"{folders.input.noun} with its masks, not like a class.",
        hint=f"{hint} {folders.if_classes}",
    )


def _reject_recurring_subfolders(folders: FolderRows) -> None:
    """Parts that hold the same class folders, or classes that hold the same parts."""
    tops: dict[str, set[str]] = defaultdict(set)  # subfolder -> labels that hold it
    names: dict[str, str] = {}
    places: dict[str, str] = {}  # label -> the folder that holds its subfolders
    for split, label, path in folders.rows:
        above, inner = _split_inner(path.split("/")[:-1], 1 + bool(split))
        if inner:
            key = unicodedata.normalize("NFC", inner).casefold()
            tops[key].add(label)
            names.setdefault(key, inner)
            places.setdefault(label, "/".join(above))
    labels = folders.labels
    _reject_nested_copies(folders, tops)
    shared = [key for key in tops if len(tops[key]) >= max(2, len(labels) / 2)]
    if not shared:
        return
    holders = natural_sorted(set.union(*(tops[key] for key in shared)))
    recurring = natural_sorted(names[key] for key in shared)
    part = next((place for label in holders if (place := places[label])), "")
    if all(key in SPLIT_NAMES for key in shared) and folders.reader == "class-folders":
        hint = _link_inner_parts(folders.root, recurring)
    elif splits := _splits_of(holders):
        hint = _link_parts(folders.root, {split: places[label] for split, label in splits.items()})
    else:
        hint = (
            f"If {join_limited(recurring, 3)} are the classes, give one part: skipstone train "
            f"{quote_path(folders.root / part)}"
        )
    raise UsageError(
        f"{folders.root}: the same folders ({join_limited(recurring)}) lie in {join_limited(holders)}: "
        "these look like parts of a data set, or hold them, and not like classes.",
        hint=f"{hint} {folders.if_classes}",
    )


def _reject_nested_copies(folders: FolderRows, tops: Mapping[str, set[str]]) -> None:
    """A folder that holds folders named as the classes beside it, as archives packed twice do.

    Args:
        tops: {name of a subfolder in lower case: labels that hold it}.
    """
    others = {unicodedata.normalize("NFC", label).casefold() for label in folders.labels}
    counts = Counter(label for key in others & tops.keys() for label in tops[key] if label != key)
    copies = [label for label, count in counts.items() if count > 1]
    if copies:
        _reject_labels(folders, copies, "holds the same folders as the folder around it")


def _split_inner(folders: Sequence[str], depth: int) -> tuple[Sequence[str], str]:
    """(the folders above, the first folder that may be a part or a class) below a class folder.
    Folders called images, or as the one above them, say nothing."""
    at = depth
    while at < len(folders) and (
        folders[at].casefold() in PICTURE_FOLDER_NAMES or folders[at] == folders[at - 1]
    ):
        at += 1
    return folders[:at], folders[at] if at < len(folders) else ""


def _splits_of(labels: Sequence[str]) -> dict[str, str]:
    """{split: label} of folders named after splits (seg_train); {} unless each names another one,
    and train is among them."""
    splits: dict[str, str] = {}
    for label in labels:
        words = split_words(label) & SPLIT_NAMES.keys()
        split = SPLIT_NAMES[words.pop()] if len(words) == 1 else ""
        if not split or split in splits:
            return {}
        splits[split] = label
    return splits if "train" in splits else {}


def _link_parts(root: Path, places: dict[str, str]) -> str:
    """The command that gives parts the names of splits, by links."""
    new = _sibling_path(root, "splits")
    links = " && ".join(
        f"ln -s {quote_path(root.resolve() / place)} {quote_path(new / split)}"
        for split, place in places.items()
    )
    return (
        f"Give the parts names that are read: mkdir {quote_path(new)} && {links}; then: "
        f"skipstone train {quote_path(new)}"
    )


def _link_inner_parts(root: Path, parts: Sequence[str]) -> str:
    """The command that turns cat/train into train/cat, by links."""
    new = _sibling_path(root.resolve(), "splits")
    patterns = " ".join(f"*/{shlex.quote(part)}" for part in parts)
    return (
        f"Put the parts above the classes: (cd {quote_path(root)} && for d in {patterns}; do mkdir -p "
        f'{quote_path(new)}/"${{d##*/}}" && ln -s "$PWD/$d" {quote_path(new)}/"${{d##*/}}/${{d%%/*}}"; '
        f"done); then: skipstone train {quote_path(_sibling_path(root, 'splits'))}"
    )


def _sibling_path(root: Path, ending: str) -> Path:
    return root.with_name(f"{root.resolve().name}-{ending}")


def _reject_only_parts(folders: FolderRows) -> None:
    """All folders are named after parts (train2017, val2017), or there is only one: their labels
    are in other files or missing."""
    labels, root, noun = folders.labels, folders.root, folders.input.noun
    nouns = {noun, f"{noun}s", folders.input.name}
    only_parts = all(is_part_name(label, nouns) for label in labels)
    if not only_parts and len(labels) > 1:
        return
    if annotation_error := unsupported_annotation_error(root):
        raise annotation_error
    if len(labels) == 1:
        return
    names = join_limited(labels)
    tables = [c for c in sorted(root.iterdir()) if c.suffix.lower() in TABLE_SUFFIXES]
    if tables:
        raise UsageError(
            f"{root} holds {names}, and the table {join_limited(table.name for table in tables)}: "
            f"these look like {noun}s and a table of their labels, not like classes.",
            hint=f"Give the table: skipstone train {quote_path(choose_training_part(tables))} "
            f"{folders.if_classes}",
        )
    training = choose_training_part([root / label for label in labels])
    files = [path.partition("/")[2] for _, label, path in folders.rows if label == training.name]
    hint = make_table_of_names(training, files) or (
        f"Sort the {noun}s of each part into folders by class, such as "
        f"{quote_path(root / 'train' / 'cat')} and {quote_path(root / 'test' / 'cat')}"
    )
    raise UsageError(
        f"{root} holds {names}: these look like parts of a data set, not like classes.",
        hint=f"{hint} {folders.if_classes}",
    )


def _reject_single_parts(folders: FolderRows) -> None:
    """Parts among classes: unsup, or train_images."""
    if parts := [label for label in folders.labels if _is_certain_part(label)]:
        _reject_labels(folders, parts, "looks like a part of a data set, not like a class")


def _reject_labels(folders: FolderRows, labels: Sequence[str], why: str) -> None:
    """UsageError for folders that are not classes, with the command that leaves them out."""
    paths = natural_sorted(
        {
            "/".join(path.split("/")[: 1 + bool(split)]) + "/"
            for split, label, path in folders.rows
            if label in labels
        }
    )
    raise UsageError(
        f"{folders.root}: {' and '.join(f'{label} {why}' for label in labels)}.",
        hint=f"Leave it out: printf '%s\\n' {shlex.join(paths)} > parts.txt; then: skipstone train "
        f"{quote_path(folders.root)} --exclude parts.txt {folders.if_classes}",
    )


def is_part_name(label: str, nouns: Collection[str] = ()) -> bool:
    """Whether a folder is named after a part or after its files: train_images, img, test-1.

    Args:
        nouns: further names of files.
    """
    words = split_words(label)
    return bool(words) and label.isascii() and words <= _PART_WORDS.union(nouns)


def _is_certain_part(label: str) -> bool:
    """Whether no class would have this name; `train` may be a class of vehicles."""
    words = split_words(label)
    is_long = len(words) > 1 and bool(words & SPLIT_NAMES.keys())
    return is_part_name(label) and (is_long or bool(words & _UNLABELLED))
