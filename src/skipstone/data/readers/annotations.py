"""Detect box and polygon annotation files. They are not supported: the error names them, so that
folders of pictures next to them are not mistaken for classes."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePath

from skipstone.core.errors import DataError, UsageError
from skipstone.data.readers.scan import is_regular_file, walk_folders

_HEAD = 64 * 1024
#: The number of files to inspect before concluding that a folder holds none.
_TRIES = 40
_SUPPORTED = (
    "Supported: one label per picture (folders by class, or a table with the columns path and "
    "label), or one mask per picture (images/1.jpg and masks/1.png)."
)


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
        with path.open("rb") as file:
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
