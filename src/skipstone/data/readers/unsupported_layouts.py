"""Detect masks among the pictures of class folders. As training pictures of a class they would be
wrong, so they are rejected until the user decides."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath

from skipstone.core.disk import read_regular
from skipstone.core.errors import DataError, UsageError
from skipstone.core.formatting import join_limited, natural_sorted, quote_path
from skipstone.data.mask_files import MAX_INFERRED_COLOURS, decode_mask, mask_input
from skipstone.data.readers.base import MASK_FOLDER_NAMES, PICTURE_FOLDER_NAMES
from skipstone.data.readers.scan import (
    has_sources,
    is_regular_file,
    list_subfolders,
    walk_folders,
)

#: Formats in which programs store masks, and which are not read.
_FOREIGN_MASKS = frozenset(
    {".npz", ".mat", ".svg", ".jp2", ".j2k", ".psd", ".xcf", ".nii", ".gz", ".nrrd", ".mha", ".dcm"}
)
#: What a mask's name adds to its picture's.
_MASK_ENDING = re.compile(
    r"[ _.-]+(masks?|seg|segmentation|label|gt|ground_?truth)([ _-]?[0-9]+)?$", re.I
)
#: This share of pictures may be named like masks of others by chance.
_MAX_SHARE_BY_CHANCE = 1 / 5
#: The share of names that a folder of pictures and a folder of masks have in common.
_MIN_SHARED_NAMES = 0.9
#: The number of files of a folder that are opened to tell masks from photos.
_TRIED_FILES = 5


def find_masks_by_name(pictures: Iterable[str]) -> list[tuple[str, str]]:
    """(mask, picture) pairs of files in one folder, where the mask's name is the picture's plus a
    suffix such as "_mask"; paths with "/". Empty if they are too few to be more than chance."""
    paths_by_stem = {os.path.splitext(path)[0]: path for path in pictures}  # noqa: PTH122 - not a Path
    pairs = []
    for stem, path in paths_by_stem.items():
        picture = paths_by_stem.get(_MASK_ENDING.sub("", stem))
        if picture is not None and picture != path:
            pairs.append((path, picture))
    return pairs if len(pairs) > _MAX_SHARE_BY_CHANCE * len(paths_by_stem) else []


def has_image_mask_pairs(folder: Path) -> bool:
    """Whether `folder` holds a folder of pictures and a folder of masks, by their names."""
    names = {child: child.name.casefold() for child in list_subfolders(folder)}
    pictures = [child for child in names if names[child] in PICTURE_FOLDER_NAMES]
    masks = [child for child in names if names[child] in MASK_FOLDER_NAMES]
    return any(map(holds_masks, pictures)) and any(map(holds_masks, masks))


def holds_masks(folder: Path) -> bool:
    """Whether `folder` holds masks, or files of another program that may be masks (for the error
    that names them)."""
    return has_sources(folder, [mask_input()]) or bool(find_foreign_masks(folder))


def find_foreign_masks(folder: Path) -> list[str]:
    """Files below `folder` in formats of masks that are not read, as paths relative to it."""
    try:
        return [
            name
            for _, files in walk_folders(folder, Counter())
            for name, entry in files
            if PurePath(name).suffix.casefold() in _FOREIGN_MASKS and is_regular_file(entry)
        ]
    except DataError:
        return []


def reject_masks(root: Path, rows: Sequence[tuple[str, str]], reader: str | None) -> None:
    """UsageError if many pictures are masks; `reject_layout` of the spec of images.

    Args:
        rows: (label, path) of each picture; without class folders, labels are "".
        reader: the reader that would take folders for classes; None if none does.
    """
    by_label: Mapping[str, list[str]] = defaultdict(list)
    for label, path in rows:
        by_label[label].append(path)
    if reader is not None:
        _reject_mask_folder(root, by_label, reader)
    else:
        _suggest_mask_folders(root)
    pairs = find_masks_by_name(path for _, path in rows)
    if not pairs:
        return
    mask, picture = pairs[0]
    if reader is None:
        raise UsageError(
            f"{root} holds pictures and their masks in one folder, such as {picture} and {mask}, "
            "and no labels.",
            hint="Move the masks to a separate folder: images/1.jpg, masks/1.png; then: "
            f"skipstone train {quote_path(root)}",
        )
    ending = mask.rpartition(".")[0].removeprefix(picture.rpartition(".")[0])
    raise UsageError(
        f"{root}: by their names, {len(pairs):,} of {len(rows):,} pictures are masks of others, "
        f"such as {mask} of {picture}.",
        hint=f"To classify pictures by folder, exclude the masks: (cd {quote_path(root)} && "
        f"find -L * -name '*{ending}*') > masks.txt, and add --exclude masks.txt. To train "
        "segmentation, move the masks to a separate folder: images/1.jpg, masks/1.png. "
        f"If they are not masks: --reader {reader}",
    )


def _reject_mask_folder(root: Path, by_label: Mapping[str, list[str]], reader: str) -> None:
    """UsageError for folders of images and masks, or for two folders with equal file names, one of
    them named like a mask folder."""
    names = {label.casefold() for label in by_label}
    if names & PICTURE_FOLDER_NAMES and names & MASK_FOLDER_NAMES:
        raise UsageError(
            f"{root} holds {join_limited(natural_sorted(by_label))}: these look like pictures and "
            "their masks or boxes, not like classes.",
            hint=f"If these are your classes, add --reader {reader}.",
        )
    if len(by_label) != 2:
        return
    first, second = ({_stem(path) for path in paths} for paths in by_label.values())
    cores = [_strip_shared_parts(paths) for paths in by_label.values()]
    if not any(
        len(one & other) >= _MIN_SHARED_NAMES * min(len(one), len(other))
        for one, other in ((first, second), (cores[0], cores[1]))
    ):
        return
    masks = [label for label in by_label if _words(label) & MASK_FOLDER_NAMES]
    masks = masks or [label for label, paths in by_label.items() if _look_like_masks(root, paths)]
    if len(masks) != 1:
        return
    (images,) = by_label.keys() - {masks[0]}
    raise UsageError(
        f"{root} holds {join_limited(sorted(by_label))} with equal file names: they look like pictures "
        "and their masks, not like classes.",
        hint=f"If so, add --reader mask-folders --images {quote_path(Path(images))} --masks "
        f"{quote_path(Path(masks[0]))}. If these are your classes, add --reader {reader}.",
    )


def _suggest_mask_folders(root: Path) -> None:
    """UsageError if one folder in `root` is named like masks, and one other holds pictures."""
    folders = list_subfolders(root)
    masks = [f for f in folders if _words(f.name) & MASK_FOLDER_NAMES and holds_masks(f)]
    pictures = [f for f in folders if f not in masks and has_sources(f)]
    if len(masks) == 1 and len(pictures) == 1:
        images, drawn = (quote_path(Path(folder.name)) for folder in (pictures[0], masks[0]))
        raise UsageError(
            f"{root} holds {pictures[0].name} and {masks[0].name}: by their names pictures and masks.",
            hint=f"If so, add --images {images} --masks {drawn}",
        )


def _strip_shared_parts(paths: Sequence[str]) -> set[str]:
    """Names without the prefix and the ending that all share: {"1", "2"} for 1_L.png, 2_L.png."""
    names = [os.path.splitext(path.rpartition("/")[2])[0] for path in paths]  # noqa: PTH122
    parts = [re.split(r"[ _.-]", name) for name in names]
    width = min(map(len, parts))
    start = next((n for n in range(width) if len({p[n] for p in parts}) > 1), 0)
    end = next((n for n in range(1, width + 1) if len({p[-n] for p in parts}) > 1), 1) - 1
    return {"_".join(part[start : len(part) - end]) for part in parts}


def _look_like_masks(root: Path, paths: Sequence[str]) -> bool:
    """Whether some files, evenly spaced, hold as few colours as masks do."""
    for path in paths[:: max(1, len(paths) // _TRIED_FILES)][:_TRIED_FILES]:
        try:
            mask = decode_mask(read_regular(root / path))
        except (OSError, ValueError):
            return False
        if len(mask.distinct_values()) > MAX_INFERRED_COLOURS:
            return False
    return True


def _words(label: str) -> set[str]:
    return set(re.split(r"[^a-z]+", label.casefold())) - {""}


def _stem(path: str) -> str:
    return _MASK_ENDING.sub("", os.path.splitext(path.rpartition("/")[2])[0])  # noqa: PTH122
