"""Pascal VOC: one XML file per photo, in any arrangement of folders.

data/images/1.jpg, data/annotations/1.xml              split by us
data/train/images/1.jpg, data/train/annotations/1.xml  with val and test next to train
data/train/1.jpg, data/train/1.xml                     as Roboflow exports it
data/JPEGImages, data/Annotations, data/ImageSets/Main the devkit: its lists are the splits

The file's name decides which photo it describes: `path` and `filename` inside are often of another
machine.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

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

#: The devkit's lists of names, below ImageSets/.
_LIST_FOLDER = "ImageSets/Main"


class VocReader:
    """An XML file per photo."""

    def detect_layout(self, path: Path) -> str | None:
        if not path.is_dir() or find_annotation_file(path, "voc") is None:
            return None
        return "photos with boxes in Pascal VOC files (.xml)"

    def read_manifest(self, path: Path, options: ReadOptions) -> Manifest:
        pictures = scan_files(path, [INPUTS["image"]])
        files = list_files(path, ".xml")

        def read_file(file: str) -> AnnotatedPhoto | None:
            return read_voc_file(path, file)

        read = map_in_threads(read_file, files, "reading annotations", unit="files", threads=4)
        annotations = {
            file: photo for file, photo in zip(files, read, strict=True) if photo is not None
        }
        if not annotations:
            raise UsageError(f"{path} holds no Pascal VOC file (<annotation> in .xml).")
        matched, orphans = match_photos(annotations, PhotoIndex(pictures.files))
        splits = _read_split_lists(path)
        photos = []
        for picture in natural_sorted(matched):
            photo = annotations[matched[picture]]
            photo.path = picture
            stem = PurePosixPath(matched[picture]).stem
            photo.split = splits.get(stem, "") if splits else find_split(matched[picture])
            photos.append(photo)
        if splits:
            photos = [photo for photo in photos if photo.split]
        used = set(matched)
        annotated = AnnotatedPhotos(
            "Pascal VOC",
            photos,
            unpaired={
                WITHOUT_BOXES: [name for name in pictures.files if name not in used],
                WITHOUT_PHOTO: orphans,
            },
            skipped_counts=pictures.skipped_counts,
        )
        if not photos:
            raise UsageError(
                f"{path}: no photo belongs to one of the {len(annotations):,} annotations, such as "
                f"{next(iter(annotations))}.",
                hint="An annotation and its photo have the same name: images/1.jpg, "
                "annotations/1.xml.",
            )
        return make_box_manifest(path, "voc", annotated, options)


def read_voc_file(root: Path, file: str) -> AnnotatedPhoto | None:
    """The photo that an XML file describes; `path` is the name inside it. None for another kind of
    XML.

    Raises:
        DataError: it is not valid XML, or a box has no numbers.
    """
    try:
        data = read_regular(root / file)
        # entities can expand without limit, and annotations have none
        if b"<!ENTITY" in data or b"<!DOCTYPE" in data:
            raise DataError(f"{root / file} declares a document type, which annotations do not.")
        tree = ET.fromstring(data)
    except (ET.ParseError, OSError) as error:
        raise DataError(f"{root / file} cannot be read: {error}.") from error
    if tree.tag != "annotation":
        return None
    size = None
    if tree.find("size") is not None:
        width, height = (_number(tree, f"size/{name}") or 0.0 for name in ("width", "height"))
        size = (round(width), round(height))
    boxes = []
    for number, item in enumerate(tree.iter("object"), 1):
        name = (item.findtext("name") or "").strip()
        corners = [_number(item, f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        if not name or None in corners:
            raise DataError(
                f"{root / file}: object {number} has no {'name' if not name else 'box of numbers'} "
                "(<name>, <bndbox> with xmin, ymin, xmax, ymax)."
            )
        difficult = (item.findtext("difficult") or "0").strip() == "1"
        boxes.append(BoxLabel(name, tuple(corners), difficult=difficult))  # type: ignore[arg-type]
    return AnnotatedPhoto((tree.findtext("filename") or "").strip(), boxes, size=size)


def _number(node: ET.Element, path: str) -> float | None:
    try:
        return float(node.findtext(path) or "")
    except ValueError:
        return None


def match_photos(
    annotations: Mapping[str, AnnotatedPhoto], index: PhotoIndex
) -> tuple[dict[str, str], list[str]]:
    """({photo: annotation}, annotations without a photo).

    Raises:
        UsageError: two annotations describe one photo, or one describes two.
    """
    matched: dict[str, str] = {}
    orphans = []
    for file, photo in annotations.items():
        picture = index.find_twin(file, photo.path)
        if picture is None:
            orphans.append(file)
        elif picture in matched:
            raise UsageError(
                f"{matched[picture]} and {file} both describe {picture}.",
                hint="Keep one of the two.",
            )
        else:
            matched[picture] = file
    return matched, orphans


def _read_split_lists(root: Path) -> dict[str, str]:
    """{name without extension: split} of ImageSets/Main/train.txt, val.txt and test.txt."""
    splits: dict[str, str] = {}
    for name in ("test", "val", "train"):
        file = root / _LIST_FOLDER / f"{name}.txt"
        if file.is_file():
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                if words := re.split(r"\s+", line.strip()):
                    splits[words[0]] = SPLIT_NAMES[name]
    splits.pop("", None)
    return splits
