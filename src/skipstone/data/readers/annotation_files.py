"""Detect annotation files by their beginning, so that folders of pictures next to them are not
mistaken for classes. The error for a format without a reader says what to do instead."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePath

from skipstone.core.disk import open_regular
from skipstone.core.errors import DataError, UsageError
from skipstone.data.readers.scan import is_regular_file, walk_folders

_HEAD = 64 * 1024
#: The number of files of a suffix to inspect before concluding that a folder holds none.
_TRIES = 40
#: The number of files and folders to list before concluding that.
_MAX_ENTRIES = 50_000
_SUPPORTED = (
    "Export boxes as COCO, Pascal VOC or YOLO. Also supported: one label per picture (folders by "
    "class, or a table with the columns path and label), or one mask per picture (images/1.jpg and "
    "masks/1.png)."
)


@dataclass(frozen=True, slots=True)
class AnnotationFormat:
    """Args:
    name: the format, with its article.
    suffix: its file extension.
    patterns: they all occur near the beginning of such a file.
    alternative: what the user can do instead.
    reader: the reader of this format, or "".
    """

    name: str
    suffix: str
    patterns: tuple[str, ...]
    alternative: str = _SUPPORTED
    reader: str = ""


#: A class, then shares of the photo.
_YOLO_LINE = r"\A\s*\d+([ \t]+(-?0?\.\d+|[01](\.\d*)?)(e-?\d+)?){4,}[ \t]*(\r?\n|\Z)"
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
        reader="coco",
    ),
    AnnotationFormat(
        "a CVAT export",
        ".xml",
        (r"<annotations[\s>]", r"<(version|image|meta)[\s>]"),
        "Export polygons as 'Segmentation mask' from CVAT, and unpack the archive. " + _SUPPORTED,
    ),
    AnnotationFormat(
        "a Pascal VOC file",
        ".xml",
        (r"<annotation[\s>]", r"<(object|filename|size)[\s>]"),
        reader="voc",
    ),
    AnnotationFormat("a YOLO file", ".txt", (_YOLO_LINE,), reader="yolo"),
    AnnotationFormat(
        "the list of classes of a YOLO data set",
        ".yaml",
        (r"(?m)^\s*names\s*:", r"(?m)^\s*(train|val|nc)\s*:"),
        "Its annotations are text files next to the photos, or in a folder labels/: none was found.",
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
    file = path if path.is_file() else find_annotation_file(path)
    form = None if file is None else detect_annotation_format(file)
    if form is None:
        return None
    if form.reader:
        return UsageError(
            f"{file} is {form.name}, and {path} is not read as such.",
            hint="Give the folder that holds the photos and the annotations: "
            f"--reader {form.reader}",
        )
    return UsageError(
        f"{file} is {form.name}, which is not supported by itself.", hint=form.alternative
    )


def find_annotation_file(root: Path, reader: str | None = None) -> Path | None:
    """The first annotation file below `root`, or the first one of a reader's format.

    Quick: it lists at most `_MAX_ENTRIES` entries and inspects at most `_TRIES` files per suffix.
    """
    suffixes = {form.suffix for form in ANNOTATION_FORMATS if reader in (None, form.reader)}
    tries: Counter[str] = Counter()
    listed = 0
    try:
        for folders, files in walk_folders(root, Counter()):
            listed += len(folders) + len(files)
            for name, entry in files:
                suffix = PurePath(name).suffix.casefold()
                if suffix not in suffixes or tries[suffix] == _TRIES:
                    continue
                if not is_regular_file(entry):
                    continue
                tries[suffix] += 1
                form = detect_annotation_format(root / name)
                if form is not None and reader in (None, form.reader):
                    return root / name
            if listed > _MAX_ENTRIES:
                return None
    except DataError:  # the reader of the folder reports it
        pass
    return None


def holds_box_annotations(root: Path) -> bool:
    """Whether `root` holds a file of an annotation format that has a reader."""
    readers = {form.reader for form in ANNOTATION_FORMATS if form.reader}
    return any(find_annotation_file(root, reader) is not None for reader in sorted(readers))


def list_files(root: Path, suffix: str) -> list[str]:
    """Paths of the files below `root` that end in `suffix`, relative to it, with "/", sorted."""
    return sorted(
        name
        for _, files in walk_folders(root, Counter())
        for name, entry in files
        if PurePath(name).suffix.casefold() == suffix and is_regular_file(entry)
    )
