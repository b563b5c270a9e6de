"""Detect masks inside class folders: in their pictures' folder, or in one of two folders.

As training pictures of a class they would be wrong, so they are rejected until the user decides.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from skipstone.core.errors import UsageError
from skipstone.core.formatting import join_limited, quote_path
from skipstone.data.readers.base import MASK_FOLDER_NAMES

#: What a mask's name adds to its picture's.
_MASK_ENDING = re.compile(
    r"[ _.-]+(masks?|seg|segmentation|label|gt|ground_?truth)([ _-]?[0-9]+)?$", re.I
)
#: This share of pictures may be named like masks of others by chance.
_MAX_SHARE_BY_CHANCE = 1 / 5
#: The share of names that a folder of pictures and a folder of masks have in common.
_MIN_SHARED_NAMES = 0.9


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


def reject_masks(root: Path, rows: Sequence[tuple[str, str]], reader: str) -> None:
    """UsageError if many rows are masks.

    Args:
        rows: (label, path) of each picture.
    """
    by_label: Mapping[str, list[str]] = defaultdict(list)
    for label, path in rows:
        by_label[label].append(path)
    _reject_mask_folder(root, by_label, reader)
    pairs = find_masks_by_name(path for _, path in rows)
    if not pairs:
        return
    mask, picture = pairs[0]
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
    """UsageError for two folders with equal file names, one of them named like a mask folder."""
    masks = [label for label in by_label if _words(label) & MASK_FOLDER_NAMES]
    if len(by_label) != 2 or len(masks) != 1:
        return
    (images,) = by_label.keys() - {masks[0]}
    first, second = ({_stem(path) for path in by_label[label]} for label in (images, masks[0]))
    if len(first & second) < _MIN_SHARED_NAMES * min(len(first), len(second)):
        return
    raise UsageError(
        f"{root} holds {join_limited(sorted(by_label))} with equal file names: they look like pictures "
        "and their masks, not like classes.",
        hint=f"If so, add --reader mask-folders --images {quote_path(Path(images))} --masks "
        f"{quote_path(Path(masks[0]))}. If these are your classes, add --reader {reader}.",
    )


def _words(label: str) -> set[str]:
    return set(re.split(r"[^a-z]+", label.casefold())) - {""}


def _stem(path: str) -> str:
    return _MASK_ENDING.sub("", os.path.splitext(path.rpartition("/")[2])[0])  # noqa: PTH122
