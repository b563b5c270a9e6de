"""Masks where class folders are read: beside their pictures in one folder, or in one of two.

As pictures of a class they would teach nonsense, so they are refused until somebody decides.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from skipstone.data.readers.base import MASK_WORDS
from skipstone.errors import UsageError
from skipstone.words import listed, quoted

#: What a mask's name has behind its picture's.
_ENDING = re.compile(
    r"[ _.-]+(masks?|seg|segmentation|label|gt|ground_?truth)([ _-]?[0-9]+)?$", re.I
)
#: Of all pictures so many may be masks of others by their names and yet be none.
_CHANCE = 1 / 5
#: Of two folders of pictures and masks so many names are shared.
_SHARED = 0.9


def masks_among(pictures: Iterable[str]) -> list[tuple[str, str]]:
    """(mask, picture) where a picture is called as another one in its folder, and after it "_mask"
    or so; paths with "/". None where there are no more than may be called so by chance."""
    by_stem = {os.path.splitext(path)[0]: path for path in pictures}  # noqa: PTH122 - not a Path
    pairs = []
    for stem, path in by_stem.items():
        picture = by_stem.get(_ENDING.sub("", stem))
        if picture is not None and picture != path:
            pairs.append((path, picture))
    return pairs if len(pairs) > _CHANCE * len(by_stem) else []


def refuse_masks(root: Path, rows: Sequence[tuple[str, str]], reader: str) -> None:
    """UsageError where many rows are masks.

    Args:
        rows: (label, path) of each picture.
    """
    by_label: Mapping[str, list[str]] = defaultdict(list)
    for label, path in rows:
        by_label[label].append(path)
    _refuse_a_folder_of_masks(root, by_label, reader)
    pairs = masks_among(path for _, path in rows)
    if not pairs:
        return
    mask, picture = pairs[0]
    ending = mask.rpartition(".")[0].removeprefix(picture.rpartition(".")[0])
    raise UsageError(
        f"{root}: {len(pairs):,} of {len(rows):,} pictures are masks of others by their names, "
        f"such as {mask} of {picture}.",
        hint=f"To tell pictures apart by their folders, leave masks out: (cd {quoted(root)} && "
        f"find -L * -name '*{ending}*') > masks.txt, and add --exclude masks.txt. To learn masks, "
        "put them in a folder of their own beside that of the pictures: images/1.jpg, "
        f"masks/1.png. If all are pictures like others: --reader {reader}",
    )


def _refuse_a_folder_of_masks(root: Path, by_label: Mapping[str, list[str]], reader: str) -> None:
    """Two folders, of which one is called after masks, with files of the same names."""
    masks = [label for label in by_label if _words(label) & MASK_WORDS]
    if len(by_label) != 2 or len(masks) != 1:
        return
    (images,) = by_label.keys() - {masks[0]}
    first, second = ({_stem(path) for path in by_label[label]} for label in (images, masks[0]))
    if len(first & second) < _SHARED * min(len(first), len(second)):
        return
    raise UsageError(
        f"{root} holds {listed(sorted(by_label))} with files of the same names: that looks like "
        "pictures with their masks, not like classes.",
        hint=f"If so, add --reader mask-folders --images {quoted(Path(images))} --masks "
        f"{quoted(Path(masks[0]))}. If these are your classes, add --reader {reader}.",
    )


def _words(label: str) -> set[str]:
    return set(re.split(r"[^a-z]+", label.casefold())) - {""}


def _stem(path: str) -> str:
    return _ENDING.sub("", os.path.splitext(path.rpartition("/")[2])[0])  # noqa: PTH122
