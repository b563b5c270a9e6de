"""Detect annotation files, and masks among the pictures of class folders.

Box and polygon annotations are not supported: the error names them, so that folders of pictures
next to them are not mistaken for classes. As training pictures of a class, masks would be wrong, so
they are rejected until the user decides.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from skipstone.core.disk import open_regular
from skipstone.core.errors import DataError, UsageError
from skipstone.core.formatting import join_limited, natural_sorted, quote_path
from skipstone.data.readers.base import MASK_FOLDER_NAMES, PICTURE_FOLDER_NAMES
from skipstone.data.readers.scan import (
    has_sources,
    is_regular_file,
    list_subfolders,
    walk_folders,
)

_HEAD = 64 * 1024
#: The number of files to inspect before concluding that a folder holds none.
_TRIES = 40
_SUPPORTED = (
    "Supported: one label per picture (folders by class, or a table with the columns path and "
    "label), or one mask per picture (images/1.jpg and masks/1.png)."
)
#: What a mask's name adds to its picture's.
_MASK_ENDING = re.compile(
    r"[ _.-]+(masks?|seg|segmentation|label|gt|ground_?truth)([ _-]?[0-9]+)?$", re.I
)
#: This share of pictures may be named like masks of others by chance.
_MAX_SHARE_BY_CHANCE = 1 / 5
#: The share of names that a folder of pictures and a folder of masks have in common.
_MIN_SHARED_NAMES = 0.9


@dataclass(frozen=True, slots=True)
class AnnotationFormat:
    """Args:
    name: the format, with its article.
    suffix: its file extension.
    marks: patterns that all occur near the beginning of such a file.
    instead: what the user can do instead.
    """

    name: str
    suffix: str
    patterns: tuple[str, ...]
    alternative: str = _SUPPORTED


_LABEL_STUDIO = (
    "a Label Studio export",
    "Export choices as CSV, or brush labels as PNG, from Label Studio. " + _SUPPORTED,
)
ANNOTATION_FORMATS = (
    AnnotationFormat(
        _LABEL_STUDIO[0], ".json", (r'"annotation_id"\s*:', r'"annotator"\s*:'), _LABEL_STUDIO[1]
    ),
    AnnotationFormat(
        _LABEL_STUDIO[0],
        ".json",
        (r'"annotations"\s*:', r'"(completed_by|file_upload)"\s*:'),
        _LABEL_STUDIO[1],
    ),
    AnnotationFormat("a LabelMe file", ".json", (r'"shapes"\s*:', r'"(imagePath|points)"\s*:')),
    AnnotationFormat(
        "a project of the VGG Image Annotator", ".json", (r'"(_via_\w+|shape_attributes)"\s*:',)
    ),
    AnnotationFormat(
        "a COCO file",
        ".json",
        (r'"(images|annotations)"\s*:\s*\[', r'"(file_name|bbox|image_id|segmentation)"\s*:'),
    ),
    AnnotationFormat(
        "a CVAT export",
        ".xml",
        (r"<annotations[\s>]", r"<(version|image|meta)[\s>]"),
        "Export polygons as 'Segmentation mask' from CVAT, and unpack the archive. " + _SUPPORTED,
    ),
    AnnotationFormat(
        "a Pascal VOC file", ".xml", (r"<annotation[\s>]", r"<(object|filename|size)[\s>]")
    ),
    AnnotationFormat("a YOLO file", ".txt", (r"\A\s*\d+([ \t]+-?\d*\.\d+){4,}[ \t]*(\r?\n|\Z)",)),
    AnnotationFormat(
        "the list of classes of a YOLO data set",
        ".yaml",
        (r"(?m)^\s*names\s*:", r"(?m)^\s*(train|val|nc)\s*:"),
    ),
)
_SUFFIXES = frozenset(form.suffix for form in ANNOTATION_FORMATS)


def detect_annotation_format(path: Path) -> AnnotationFormat | None:
    """The annotation format of a file, by its name and its beginning; None for other files."""
    suffix = path.suffix.casefold()
    if suffix not in _SUFFIXES:
        return None
    try:
        with open_regular(path) as file:
            head = file.read(_HEAD).decode("utf-8-sig", "replace")
    except OSError:
        return None
    matches = (
        f
        for f in ANNOTATION_FORMATS
        if f.suffix == suffix and all(re.search(m, head) for m in f.patterns)
    )
    return next(matches, None)


def unsupported_annotation_error(path: Path) -> UsageError | None:
    """The error for an annotation file, or for a folder that holds one; None for other paths."""
    file = path if path.is_file() else _first_in(path)
    form = None if file is None else detect_annotation_format(file)
    if form is None:
        return None
    return UsageError(
        f"{file} is {form.name}. Box and polygon annotations are not supported yet: detection is "
        "being built.",
        hint=form.alternative,
    )


def _first_in(root: Path) -> Path | None:
    """The first annotation file below `root`; inspects at most `_TRIES` files."""
    tried = 0
    try:
        for _, files in walk_folders(root, Counter()):
            for name, entry in files:
                if PurePath(name).suffix.casefold() not in _SUFFIXES or not is_regular_file(entry):
                    continue
                if detect_annotation_format(root / name) is not None:
                    return root / name
                tried += 1
                if tried == _TRIES:
                    return None
    except DataError:  # the reader of the folder reports it
        pass
    return None


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
    return any(map(has_sources, pictures)) and any(map(has_sources, masks))


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
