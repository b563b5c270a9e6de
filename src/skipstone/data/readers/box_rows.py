"""Boxes around objects: from what the annotation formats say to rows of a manifest.

A target is a list of {"label", "box", "crowd", "difficult"}. A box is (x1, y1, x2, y2) in pixels of
the upright photo, so x2 - x1 is its width. What a format cannot mean (swapped corners, boxes past
the border, without area, listed twice) is corrected here, and a note counts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from skipstone.core.errors import UsageError
from skipstone.core.formatting import join_limited, natural_sorted, pluralize
from skipstone.core.registry import TASKS
from skipstone.data.fingerprint import map_in_threads
from skipstone.data.manifest import Manifest, build_table
from skipstone.data.options import ReadOptions

BOX_TARGET_TYPE = pa.list_(
    pa.struct(
        [
            ("label", pa.string()),
            ("box", pa.list_(pa.float64(), 4)),
            ("crowd", pa.bool_()),
            ("difficult", pa.bool_()),
        ]
    )
)
WITHOUT_BOXES = "photos without an annotation"
WITHOUT_PHOTO = "annotations without a photo"
OTHER_SIZE = "annotations of another size than their photo"

#: EXIF orientation -> how the stored picture becomes upright: (swap axes, mirror x, mirror y).
#: Also in image/decode.py, whose text has to stand alone in exported scripts.
_ORIENTATIONS = {
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}
_ORIENTATION_TAG = 0x0112
#: Annotation tools round sizes and boxes; up to so many pixels are not an error.
_ROUNDING = 1.5


@dataclass(frozen=True, slots=True)
class BoxLabel:
    """One object. `box` is (x1, y1, x2, y2), in pixels or, if the photo's boxes are `shares`, in
    shares of its width and height."""

    label: str
    box: tuple[float, float, float, float]
    crowd: bool = False
    difficult: bool = False


@dataclass(slots=True)
class AnnotatedPhoto:
    """One photo and its boxes.

    Args:
        path: relative to the root, with "/".
        size: (width, height) that the annotation states, or None.
        are_shares: whether boxes are in 0..1.
    """

    path: str
    boxes: list[BoxLabel]
    split: str = ""
    size: tuple[int, int] | None = None
    are_shares: bool = False


@dataclass(frozen=True)
class AnnotatedPhotos:
    """What a reader found.

    Args:
        layout: the layout in words, for the first note.
        classes: names in the format's order; () for those that occur, sorted.
        unpaired: incomplete files by reason, as in `Manifest.unpaired_files`.
    """

    layout: str
    photos: Sequence[AnnotatedPhoto]
    classes: Sequence[str] = ()
    notes: Sequence[str] = ()
    unpaired: Mapping[str, Sequence[str]] = field(default_factory=dict)
    skipped_counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PhotoSize:
    """Size (width, height) of the stored picture, and its EXIF orientation."""

    stored: tuple[int, int]
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        return self.stored[::-1] if self.is_rotated else self.stored

    @property
    def is_rotated(self) -> bool:
        """Whether upright and stored picture have swapped sides."""
        return self.orientation in _ORIENTATIONS and _ORIENTATIONS[self.orientation][0]


def make_box_manifest(
    root: Path, reader: str, annotated: AnnotatedPhotos, options: ReadOptions
) -> Manifest:
    """The manifest of annotated photos, with notes on what was read and corrected.

    Raises:
        UsageError: no photo has a box, the task does not use boxes, or EXIF orientations leave open
            which picture the boxes belong to.
    """
    task = _check_task(options)
    sizes = _read_sizes(root, annotated.photos)
    frame = options.box_frame or _infer_frame(annotated.photos, sizes)
    repairs: dict[str, list[str]] = {kind: [] for kind in REPAIRS}
    rows: list[tuple[AnnotatedPhoto, list[BoxLabel]]] = []
    other_size = []
    for photo, size in zip(annotated.photos, sizes, strict=True):
        if size is not None and not _is_same_size(photo, size, frame):
            other_size.append(photo.path)
            continue
        rows.append((photo, _repair_boxes(photo, size, frame, repairs)))
    labels = Counter(box.label for _, boxes in rows for box in boxes)
    classes = list(annotated.classes) or natural_sorted(labels)
    if not labels:
        raise UsageError(
            f"{root}: no annotation ({len(annotated.photos):,} read) holds a usable box"
            f"{_describe_repairs(repairs)}.",
            hint="Check that the annotations belong to these photos.",
        )
    unpaired = {**annotated.unpaired, OTHER_SIZE: other_size}
    notes = [
        _reading_note(annotated.layout, rows, labels, classes),
        *annotated.notes,
        *_frame_notes(annotated.photos, sizes, frame),
        *_repair_notes(repairs),
        *_unpaired_notes(unpaired),
    ]
    skipped = {name: len(paths) for name, paths in unpaired.items()}
    return Manifest(
        build_table(
            {
                "path": [photo.path for photo, _ in rows],
                "split": [photo.split for photo, _ in rows],
                "target": [[_to_row(box) for box in boxes] for _, boxes in rows],
            },
            BOX_TARGET_TYPE,
        ),
        root=root,
        reader=reader,
        input="image",
        task=task,
        schema={"classes": classes},
        notes=tuple(notes),
        skipped_counts={
            reason: count
            for reason, count in sorted({**annotated.skipped_counts, **skipped}.items())
            if count
        },
        unpaired_files={reason: tuple(paths) for reason, paths in {**unpaired, **repairs}.items()},
    )


def _to_row(box: BoxLabel) -> dict[str, Any]:
    return {
        "label": box.label,
        "box": list(box.box),
        "crowd": box.crowd,
        "difficult": box.difficult,
    }


def _check_task(options: ReadOptions) -> str:
    task = options.task or "detect"
    if TASKS[task].target_kind != "boxes":
        fitting = [entry.name for entry in TASKS if entry.target_kind == "boxes"]
        raise UsageError(
            f"the task {task!r} does not use boxes.",
            hint=f"Omit --task, or: --task {' or '.join(fitting)}",
        )
    return task


def _read_sizes(root: Path, photos: Sequence[AnnotatedPhoto]) -> list[PhotoSize | None]:
    """Of each photo's header; None if it cannot be read (the audit and the loader report it)."""
    from PIL import Image

    def read_size(photo: AnnotatedPhoto) -> PhotoSize | None:
        try:
            with Image.open(root / photo.path) as image:
                return PhotoSize(image.size, int(image.getexif().get(_ORIENTATION_TAG, 1)))
        except Exception:  # decoders raise anything
            return None

    return map_in_threads(read_size, photos, "reading sizes of photos", unit="photos", threads=4)


def _infer_frame(photos: Sequence[AnnotatedPhoto], sizes: Sequence[PhotoSize | None]) -> str:
    """ "shown" or "stored": the picture that the boxes of photos with EXIF orientations belong to.

    The stated sizes of photos that are turned by 90 degrees say it; the others follow them.

    Raises:
        UsageError: they do not say it, or contradict each other.
    """
    oriented = [
        (photo, size)
        for photo, size in zip(photos, sizes, strict=True)
        if size is not None and size.orientation in _ORIENTATIONS and photo.boxes
    ]
    votes: Counter[str] = Counter()
    for photo, size in oriented:
        if photo.size is not None and size.is_rotated and size.upright != size.stored:
            votes["shown"] += photo.size == size.upright
            votes["stored"] += photo.size == size.stored
    if not oriented or (votes["shown"] > 0) != (votes["stored"] > 0):
        return "stored" if votes["stored"] else "shown"
    names = [photo.path for photo, _ in oriented]
    why = "contradict each other" if votes["shown"] else "do not say it"
    raise UsageError(
        f"{pluralize(len(names), 'photo')} ({join_limited(names, 3)}) {'is' if len(names) == 1 else 'are'}"
        " turned by an EXIF orientation. The boxes may belong to the photo as it is shown, or as it "
        f"is stored; the annotations {why}.",
        hint="Decide with --box-frame shown or --box-frame stored; "
        "--show-augmented draws the boxes.",
    )


def _is_same_size(photo: AnnotatedPhoto, size: PhotoSize, frame: str) -> bool:
    """Whether the annotation is of a picture of this size. Some tools state no size, or 0 x 0."""
    if photo.size is None or 0 in photo.size or photo.are_shares:
        return True
    actual = size.upright if frame == "shown" else size.stored
    return all(abs(a - b) <= _ROUNDING for a, b in zip(photo.size, actual, strict=True))


def _repair_boxes(
    photo: AnnotatedPhoto, size: PhotoSize | None, frame: str, repairs: dict[str, list[str]]
) -> list[BoxLabel]:
    """The photo's boxes in pixels of the upright photo, without those that cannot be meant."""
    drawn_on = photo.size if size is None else size.upright if frame == "shown" else size.stored
    repaired: dict[tuple[str, tuple[float, ...]], BoxLabel] = {}
    for label in photo.boxes:
        x1, y1, x2, y2 = label.box
        if photo.are_shares and drawn_on is not None:
            x1, x2 = x1 * drawn_on[0], x2 * drawn_on[0]
            y1, y2 = y1 * drawn_on[1], y2 * drawn_on[1]
        if x2 < x1 or y2 < y1:
            repairs["swapped"].append(photo.path)
            x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
        if drawn_on is not None:
            inside = (
                *(min(max(x1, 0.0), drawn_on[0]), min(max(y1, 0.0), drawn_on[1])),
                *(min(max(x2, 0.0), drawn_on[0]), min(max(y2, 0.0), drawn_on[1])),
            )
            beyond = max(abs(a - b) for a, b in zip(inside, (x1, y1, x2, y2), strict=True))
            if beyond > _ROUNDING:
                repairs["clipped"].append(photo.path)
            x1, y1, x2, y2 = inside
        if not (x2 - x1 >= 1 and y2 - y1 >= 1):  # NaN, too
            repairs["empty"].append(photo.path)
            continue
        box = (x1, y1, x2, y2)
        if size is not None and frame == "stored":
            box = _to_upright(box, size)
        if (label.label, box) in repaired:
            repairs["twice"].append(photo.path)
        repaired[label.label, box] = BoxLabel(label.label, box, label.crowd, label.difficult)
    return list(repaired.values())


def _to_upright(
    box: tuple[float, float, float, float], size: PhotoSize
) -> tuple[float, float, float, float]:
    """A box of the stored picture in pixels of the upright one."""
    swap, mirror_x, mirror_y = _ORIENTATIONS.get(size.orientation, (False, False, False))
    x1, y1, x2, y2 = (box[1], box[0], box[3], box[2]) if swap else box
    width, height = size.upright
    if mirror_x:
        x1, x2 = width - x2, width - x1
    if mirror_y:
        y1, y2 = height - y2, height - y1
    return (x1, y1, x2, y2)


REPAIRS = {
    "swapped": "with swapped corners {is_} corrected",
    "clipped": "past the border of the photo {is_} cut off there",
    "empty": "without area {is_} dropped",
    "twice": "listed twice {is_} used once",
}


def _repair_notes(repairs: Mapping[str, Sequence[str]]) -> list[str]:
    return [
        f"{pluralize(len(repairs[kind]), 'box', 'boxes')} "
        f"{words.format(is_='is' if len(repairs[kind]) == 1 else 'are')}."
        for kind, words in REPAIRS.items()
        if repairs[kind]
    ]


def _describe_repairs(repairs: Mapping[str, Sequence[str]]) -> str:
    return f" ({len(repairs['empty']):,} have no area)" if repairs["empty"] else ""


def _frame_notes(
    photos: Sequence[AnnotatedPhoto], sizes: Sequence[PhotoSize | None], frame: str
) -> list[str]:
    oriented = sum(size is not None and size.orientation in _ORIENTATIONS for size in sizes)
    if not oriented:
        return []
    return [
        f"{pluralize(oriented, 'photo')} of {len(photos):,} {'is' if oriented == 1 else 'are'} turned "
        f"by an EXIF orientation; the boxes are those of the photo as it is {frame}."
    ]


def _reading_note(
    layout: str,
    rows: Sequence[tuple[AnnotatedPhoto, list[BoxLabel]]],
    labels: Counter[str],
    classes: Sequence[str],
) -> str:
    splits = Counter(photo.split for photo, _ in rows)
    each = ", ".join(f"{count:,} in {split}" for split, count in splits.items() if split)
    empty = sum(not boxes for _, boxes in rows)
    counts = ", ".join(f"{name} ({labels[name]:,})" for name in list(classes)[:8])
    more = f" and {len(classes) - 8} more" if len(classes) > 8 else ""
    negatives = f", {pluralize(empty, 'photo')} without objects" if empty else ""
    return (
        f"Read as {layout}: {pluralize(len(rows), 'photo')}{f' ({each})' if each else ''} with "
        f"{pluralize(sum(labels.values()), 'box', 'boxes')} of "
        f"{pluralize(len(classes), 'class', 'classes')}: {counts}{more}{negatives}."
    )


def _unpaired_notes(unpaired: Mapping[str, Sequence[str]]) -> list[str]:
    return [
        f"Left out: {len(paths):,} {reason} ({join_limited(paths, 3)})."
        for reason, paths in unpaired.items()
        if paths
    ]
