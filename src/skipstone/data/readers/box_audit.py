"""The audit of boxes: what was corrected, what has no partner, and labels that contradict each other.
Changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from skipstone.core.formatting import join_limited, pluralize
from skipstone.data.findings import Finding
from skipstone.data.manifest import Manifest
from skipstone.data.readers.box_rows import OTHER_SIZE, REPAIRS, WITHOUT_BOXES, WITHOUT_PHOTO

#: Two boxes with a greater overlap (IoU) are about the same object.
SAME_OBJECT = 0.9
#: Sides below this many pixels are hardly an object.
TINY_SIDE = 4.0


def audit_boxes(manifest: Manifest) -> tuple[list[Finding], dict[str, Any]]:
    """All problems of a manifest's boxes, and the number of boxes of each class."""
    targets = manifest.column_values("target")
    counts = Counter(item["label"] for target in targets for item in target)
    findings = [
        *find_corrected_boxes(manifest),
        *find_unpaired_annotations(manifest),
        *find_odd_boxes(manifest),
        *find_untrained_classes(manifest),
    ]
    return findings, {"boxes": {name: counts[name] for name in manifest.schema["classes"]}}


def find_corrected_boxes(manifest: Manifest) -> Iterable[Finding]:
    """Boxes that the reader corrected or dropped, by kind."""
    rows = {path: row for row, path in enumerate(manifest.column_values("path"))}
    for kind, words in REPAIRS.items():
        counts = Counter(manifest.unpaired_files.get(kind, ()))
        if not counts:
            continue
        total = sum(counts.values())
        are = words.format(is_="is" if total == 1 else "are")
        yield Finding(
            "box_corrected",
            tuple(counts),
            f"{pluralize(total, 'box', 'boxes')} {are}, such as in {next(iter(counts))}.",
            tuple(rows[path] for path in counts if path in rows),
            tuple(pluralize(count, "box", "boxes") for count in counts.values()),
        )


def find_unpaired_annotations(manifest: Manifest) -> Iterable[Finding]:
    """Photos without an annotation, annotations without a photo, or of another size."""
    for kind, reason in (
        ("photo_without_boxes", WITHOUT_BOXES),
        ("boxes_without_photo", WITHOUT_PHOTO),
        ("boxes_of_other_size", OTHER_SIZE),
    ):
        paths = tuple(manifest.unpaired_files.get(reason, ()))
        if paths:
            yield Finding(kind, paths, f"{len(paths):,} {reason}, such as {paths[0]}.")


def find_odd_boxes(manifest: Manifest) -> Iterable[Finding]:
    """Boxes with hardly a pixel, and pairs of boxes on the same object."""
    paths = manifest.column_values("path")
    tiny: dict[int, str] = {}
    double: dict[int, str] = {}
    for row, target in enumerate(manifest.column_values("target")):
        for number, item in enumerate(target):
            x1, y1, x2, y2 = item["box"]
            if min(x2 - x1, y2 - y1) < TINY_SIDE:
                tiny.setdefault(row, f"{item['label']}, {x2 - x1:.0f} x {y2 - y1:.0f} pixels")
            for other in target[:number]:
                if measure_overlap(item["box"], other["box"]) > SAME_OBJECT:
                    double.setdefault(row, f"{other['label']} and {item['label']}")
    for kind, rows, words in (
        ("box_tiny", tiny, f"a box with a side below {TINY_SIDE:.0f} pixels"),
        ("box_double", double, "two boxes on the same object"),
    ):
        if rows:
            have = "has" if len(rows) == 1 else "have"
            yield Finding(
                kind,
                tuple(paths[row] for row in rows),
                f"{pluralize(len(rows), 'photo')} {have} {words}.",
                tuple(rows),
                tuple(rows.values()),
            )


def find_untrained_classes(manifest: Manifest) -> Iterable[Finding]:
    """Classes without a box in the training rows."""
    trained = {
        item["label"]
        for target, split in zip(
            manifest.column_values("target"), manifest.column_values("split"), strict=True
        )
        if split in ("", "train")
        for item in target
    }
    lacking = [name for name in manifest.schema["classes"] if name not in trained]
    if lacking:
        yield Finding(
            "box_class_missing", (), f"No box of the training rows is {join_limited(lacking)}."
        )


def measure_overlap(one: list[float], other: list[float]) -> float:
    """IoU of two boxes (x1, y1, x2, y2)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)
