"""COCO: one JSON file with images, annotations and categories, or one per split.

data/annotations/instances_train2017.json, data/train2017/*.jpg     as COCO comes
data/train/_annotations.coco.json, data/train/*.jpg                 as Roboflow exports it
data/result.json, data/images/*.jpg                                 as Label Studio and CVAT do
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from skipstone.core.disk import read_regular
from skipstone.core.errors import DataError, UsageError
from skipstone.core.formatting import join_limited, natural_sorted, quote_path
from skipstone.core.registry import INPUTS
from skipstone.core.strict_json import parse_json
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.readers.annotation_files import (
    detect_annotation_format,
    find_annotation_file,
    list_files,
)
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

_CORNERS, _RUNS = 4, 6  # numbers of a bounding box; least numbers of a polygon


class CocoReader:
    """A COCO file, or a folder with one or more."""

    def detect_layout(self, path: Path) -> str | None:
        if path.is_file():
            form = detect_annotation_format(path)
            annotated = form is not None and form.reader == "coco"
        else:
            annotated = path.is_dir() and find_annotation_file(path, "coco") is not None
        return "photos with boxes in COCO files (.json)" if annotated else None

    def read_manifest(self, path: Path, options: ReadOptions) -> Manifest:
        root = path if path.is_dir() else path.parent
        files = list_files(root, ".json") if path.is_dir() else [path.name]
        contents = {
            file: content
            for file in files
            if (content := read_coco_file(root, file, must_be_coco=path.is_file())) is not None
        }
        if not contents:
            raise UsageError(f"{path} holds no COCO file with images and boxes (.json).")
        pictures = scan_files(root, [INPUTS["image"]])
        index = PhotoIndex(pictures.files)
        photos: dict[str, AnnotatedPhoto] = {}
        owners: dict[str, str] = {}
        missing: list[str] = []
        names: dict[str, None] = {}
        for file, content in contents.items():
            names |= dict.fromkeys(_category_names(root / file, content).values())
            for photo in _read_photos(root / file, content):
                picture = index.find_photo(photo.path, file)
                if picture is None:
                    missing.append(photo.path)
                    continue
                if picture in photos:
                    raise UsageError(
                        f"{owners[picture]} and {file} both describe {picture}.",
                        hint=f"Give the file that counts: skipstone train {quote_path(root / file)}",
                    )
                photo.path, photo.split = picture, _find_split(file, picture, len(contents))
                photos[picture], owners[picture] = photo, file
        used = {box.label for photo in photos.values() for box in photo.boxes}
        annotated = AnnotatedPhotos(
            f"COCO ({join_limited(contents, 3)})",
            [photos[picture] for picture in natural_sorted(photos)],
            classes=[name for name in names if name in used],
            notes=_unused_note([name for name in names if name not in used]),
            unpaired={
                WITHOUT_BOXES: [name for name in pictures.files if name not in photos],
                WITHOUT_PHOTO: missing,
            },
            skipped_counts=pictures.skipped_counts,
        )
        if not photos:
            raise UsageError(
                f"{root}: none of {len(missing):,} photos exists, such as {missing[0]}.",
                hint="Put the photos in a folder next to the JSON file.",
            )
        return make_box_manifest(root, "coco", annotated, options)


def read_coco_file(root: Path, file: str, *, must_be_coco: bool = False) -> dict[str, Any] | None:
    """The content of a COCO file; None for other JSON, which must not be given by name.

    Raises:
        DataError: it is not valid JSON, or its lists do not hold what COCO says.
    """
    form = detect_annotation_format(root / file)
    if (form is None or form.reader != "coco") and not must_be_coco:
        return None
    content = parse_json(read_regular(root / file), root / file)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        if must_be_coco:
            raise DataError(f"{root / file} has no list of images, as COCO files do.")
        return None
    for name in ("images", "annotations", "categories"):
        rows = content.setdefault(name, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError(f"{root / file}: {name} is not a list of objects.")
    has_boxes = any("bbox" in row or "segmentation" in row for row in content["annotations"])
    return content if has_boxes or must_be_coco else None


def _category_names(file: Path, content: Mapping[str, Any]) -> dict[Any, str]:
    """{category id: name}, in the order of ids."""
    rows = content["categories"]
    names = {row.get("id"): str(row.get("name", "")).strip() for row in rows}
    if len(set(names.values())) < len(rows) or not all(names.values()):
        raise DataError(
            f"{file}: {len(rows)} categories have {len(set(names.values()))} different names.",
            hint="Give each category a name of its own.",
        )
    return dict(sorted(names.items(), key=lambda item: (not isinstance(item[0], int), item[0])))


def _read_photos(file: Path, content: Mapping[str, Any]) -> list[AnnotatedPhoto]:
    names = _category_names(file, content)
    boxes: dict[Any, list[BoxLabel]] = defaultdict(list)
    for row in content["annotations"]:
        if row.get("category_id") not in names:
            raise DataError(
                f"{file}: annotation {row.get('id')} has the category {row.get('category_id')!r}, "
                "which is not among the categories."
            )
        box = read_box(row)
        if box is None:
            raise DataError(
                f"{file}: annotation {row.get('id')} has neither a bbox [x, y, width, height] nor "
                "a segmentation."
            )
        label = names[row["category_id"]]
        boxes[row.get("image_id")].append(BoxLabel(label, box, crowd=bool(row.get("iscrowd"))))
    photos = []
    for row in content["images"]:
        if not isinstance(row.get("file_name"), str):
            raise DataError(f"{file}: the image {row.get('id')} has no file_name.")
        sides = row.get("width"), row.get("height")
        size = sides if all(isinstance(side, int) for side in sides) else None
        photos.append(AnnotatedPhoto(row["file_name"], boxes.pop(row.get("id"), []), size=size))
    if boxes:
        raise DataError(
            f"{file}: {sum(map(len, boxes.values())):,} annotations are of images that are not "
            f"listed, such as image {next(iter(boxes))!r}."
        )
    return photos


def read_box(row: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """(x1, y1, x2, y2) of an annotation: its bbox, else that of its polygons or runs."""
    box = row.get("bbox") or []
    if _are_numbers(box) and len(box) == _CORNERS:
        x, y, width, height = map(float, box)
        return x, y, x + width, y + height
    shape = row.get("segmentation")
    if isinstance(shape, dict) and "counts" in shape and _are_numbers(shape.get("size")):
        counts = shape["counts"]
        runs = decode_runs(counts) if isinstance(counts, str) else [int(run) for run in counts]
        return _box_of_runs(runs, int(shape["size"][0]))
    if isinstance(shape, list) and shape:
        numbers = [number for polygon in shape for number in polygon]
        if _are_numbers(numbers) and len(numbers) >= _RUNS:
            xs, ys = numbers[0::2], numbers[1::2]
            return float(min(xs)), float(min(ys)), float(max(xs)), float(max(ys))
    return None


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, int | float) and not isinstance(item, bool) for item in value
    )


def decode_runs(text: str) -> list[int]:
    """The run lengths of a compressed mask: 5 bits per character from code 48, the sixth bit says
    that more follow; from the third run on, differences to the one before the last (pycocotools)."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


def _box_of_runs(runs: Sequence[int], height: int) -> tuple[float, float, float, float] | None:
    """The box of a mask's runs down its columns, the first of them outside of the object."""
    place, columns, rows = 0, [], []
    for number, run in enumerate(runs):
        if number % 2 and run > 0 and height > 0:
            (x1, y1), (x2, y2) = divmod(place, height), divmod(place + run - 1, height)
            columns += [x1, x2]
            rows += [y1, y2] if x1 == x2 else [0, height - 1]
        place += run
    if not columns:
        return None
    return float(min(columns)), float(min(rows)), float(max(columns) + 1), float(max(rows) + 1)


def _find_split(file: str, picture: str, files: int) -> str:
    """The split that the file's name or folders say, or the photo's folders."""
    words = re.split(r"[^a-z]+", PurePosixPath(file).stem.casefold())
    named = [SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES]
    return named[0] if len(set(named)) == 1 else find_split(file) or find_split(picture)


def _unused_note(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [f"No box has the category {join_limited(names, 6)}, so it is not a class."]
