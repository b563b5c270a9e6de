"""YOLO: a text file per photo, a line per object: class, centre and size in shares of the photo.

data/data.yaml, data/images/train/1.jpg, data/labels/train/1.txt     Ultralytics
data/data.yaml, data/train/images/1.jpg, data/train/labels/1.txt     Roboflow
data/classes.txt, data/images/1.jpg, data/labels/1.txt               Label Studio
data/obj.names, data/obj_train_data/1.jpg and 1.txt                  CVAT, Darknet

Longer lines are outlines of objects, and give their box.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from skipstone.core.disk import read_regular
from skipstone.core.errors import DataError, UsageError
from skipstone.core.formatting import natural_sorted
from skipstone.core.registry import INPUTS
from skipstone.data.fingerprint import map_in_threads
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.readers.annotation_files import find_annotation_file, list_files
from skipstone.data.readers.base import SPLIT_NAMES
from skipstone.data.readers.box_rows import (
    WITHOUT_BOXES,
    WITHOUT_PHOTO,
    AnnotatedPhoto,
    AnnotatedPhotos,
    BoxLabel,
    make_box_manifest,
)
from skipstone.data.readers.photo_index import PhotoIndex, find_split
from skipstone.data.readers.scan import scan_files

_NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt")
_BOX_NUMBERS, _POLYGON_NUMBERS = 4, 6
_MAX_YAML_BYTES = 1 << 20
_IMAGE_FOLDER, _LABEL_FOLDER = "images", "labels"


class YoloReader:
    """Text files next to photos, or in a parallel folder."""

    def detect_layout(self, path: Path) -> str | None:
        if not path.is_dir() or find_annotation_file(path, "yolo") is None:
            return None
        return "photos with boxes in YOLO files (.txt)"

    def read_manifest(self, path: Path, options: ReadOptions) -> Manifest:
        pictures = scan_files(path, [INPUTS["image"]])
        index = PhotoIndex(pictures.files)
        settings = _read_settings(path)
        names, source = _class_names(path, settings, options)
        lists = {file for key in SPLIT_NAMES for file in _listed_files(settings, key)}
        skipped = {*_NAME_FILES, *(PurePosixPath(file).name for file in lists), "requirements.txt"}
        files = [f for f in list_files(path, ".txt") if PurePosixPath(f).name not in skipped]

        def read_file(file: str) -> list[BoxLabel] | None:
            return read_yolo_file(path, file, names)

        read = map_in_threads(read_file, files, "reading annotations", unit="files", threads=4)
        splits = _splits_by_list(path, settings, index)
        photos: dict[str, AnnotatedPhoto] = {}
        orphans = []
        for file, boxes in zip(files, read, strict=True):
            picture = None if boxes is None else index.find_twin(file)
            if boxes is None:
                continue  # a read-me
            if picture is None:
                orphans.append(file)
                continue
            split = splits.get(picture) or _folder_split(picture, settings)
            photos[picture] = AnnotatedPhoto(picture, boxes, split, are_shares=True)
        if not photos:
            raise UsageError(
                f"{path}: no photo belongs to one of the {len(orphans):,} annotations.",
                hint="An annotation and its photo have the same name: images/1.jpg, labels/1.txt.",
            )
        annotated = AnnotatedPhotos(
            f"YOLO ({source})",
            [photos[picture] for picture in natural_sorted(photos)],
            classes=names,
            notes=["A photo without objects needs an empty .txt file."]
            if len(photos) < len(pictures.files)
            else [],
            unpaired={
                WITHOUT_BOXES: [name for name in pictures.files if name not in photos],
                WITHOUT_PHOTO: orphans,
            },
            skipped_counts=pictures.skipped_counts,
        )
        return make_box_manifest(path, "yolo", annotated, options)


def read_yolo_file(root: Path, file: str, names: list[str]) -> list[BoxLabel] | None:
    """The boxes of one photo, in shares; None for a text of another kind.

    Raises:
        DataError: a line is not a class and four or more numbers, or the class has no name.
    """
    text = read_regular(root / file).decode("utf-8-sig", "replace")
    boxes = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            code, *values = (float(word) for word in words)
        except ValueError:
            if number == 1:
                return None
            raise DataError(f"{root / file}, line {number}: {line!r:.60} is not numbers.") from None
        box = _read_box(values)
        if box is None or code != int(code):
            raise DataError(
                f"{root / file}, line {number}: {line!r:.60} is not a class, then x, y, width and "
                "height in 0..1, or the corners of an outline."
            )
        if not 0 <= int(code) < len(names):
            raise DataError(
                f"{root / file}, line {number}: class {int(code)} has no name; there are "
                f"{len(names)} names, for 0 to {len(names) - 1}."
            )
        boxes.append(BoxLabel(names[int(code)], box))
    return boxes


def _read_box(values: list[float]) -> tuple[float, float, float, float] | None:
    """From centre and size, perhaps with a score, or from the corners of an outline."""
    if len(values) in (_BOX_NUMBERS, _BOX_NUMBERS + 1):
        x, y, width, height = values[:_BOX_NUMBERS]
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(values) >= _POLYGON_NUMBERS and len(values) % 2 == 0:
        return min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2])
    return None


def _read_settings(root: Path) -> dict[str, Any]:
    """The content of the one YAML file that lists classes; {} without."""
    import yaml

    annotated: dict[str, dict[str, Any]] = {}
    for file in [*list_files(root, ".yaml"), *list_files(root, ".yml")]:
        data = read_regular(root / file, _MAX_YAML_BYTES)
        try:
            content = yaml.safe_load(data)
        except yaml.YAMLError as error:
            raise DataError(f"{root / file} is not valid YAML: {error}.") from error
        if isinstance(content, dict) and "names" in content:
            annotated[file] = content
    if len(annotated) > 1:
        raise UsageError(
            f"{root} holds several lists of classes: {', '.join(annotated)}.",
            hint="Keep one of them.",
        )
    return next(iter(annotated.values()), {})


def _class_names(
    root: Path, settings: dict[str, Any], options: ReadOptions
) -> tuple[list[str], str]:
    """Names of the classes 0, 1, ... and where they come from.

    Raises:
        UsageError: no file names them.
    """
    if options.class_names:
        return list(options.class_names), "--class-names"
    names = settings.get("names")
    if isinstance(names, dict):
        names = [names.get(code) for code in range(len(names))]
    if isinstance(names, list) and names and None not in names:
        return [str(name).strip() for name in names], "data.yaml"
    for file in list_files(root, ".txt") + list_files(root, ".names") + list_files(root, ".labels"):
        if PurePosixPath(file).name in _NAME_FILES and _LABEL_FOLDER not in file.split("/")[:-1]:
            text = read_regular(root / file).decode("utf-8-sig", "replace")
            return [line.strip() for line in text.splitlines() if line.strip()], file
    raise UsageError(
        f"{root}: its YOLO files number the classes, and no data.yaml or classes.txt names them.",
        hint="Name them in order: --class-names cat,dog",
    )


def _listed_files(settings: dict[str, Any], split: str) -> list[str]:
    """What data.yaml says of a split: folders, or text files that list photos."""
    value = settings.get(split)
    values = value if isinstance(value, list) else [value]
    return [str(item).replace("\\", "/") for item in values if isinstance(item, str)]


def _splits_by_list(root: Path, settings: dict[str, Any], index: PhotoIndex) -> dict[str, str]:
    """{photo: split} of the text files that data.yaml names."""
    splits: dict[str, str] = {}
    for key, split in SPLIT_NAMES.items():
        for name in _listed_files(settings, key):
            file = root / PurePosixPath(name).name
            if not name.endswith(".txt") or not file.is_file():
                continue
            for line in read_regular(file).decode("utf-8-sig", "replace").splitlines():
                picture = index.find_photo(line, file.name) if line.strip() else None
                if picture is not None:
                    splits[picture] = split
    return splits


def _folder_split(picture: str, settings: dict[str, Any]) -> str:
    """The split of a photo by the folder that data.yaml names, or by the names of its folders."""
    for key, split in SPLIT_NAMES.items():
        for folder in _listed_files(settings, key):
            parts = [part for part in PurePosixPath(folder).parts if part not in (".", "..", "/")]
            if parts and "/".join(parts[-2:]) + "/" in picture and not folder.endswith(".txt"):
                return split
    return find_split(picture)
