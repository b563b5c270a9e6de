"""Report sections of boxes: classes, precision-recall curves, confusion, and photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skipstone.tasks.base import Record, RecordTable
from skipstone.tasks.detection import metrics as figures
from skipstone.tasks.detection.boxes import DEFAULT_THRESHOLD
from skipstone.tasks.labels import gallery_item, reliability_block

#: Photos per gallery; the best are at most a third.
WORST, BEST = 12, 6
#: Curves in one chart, which has as many colours.
MAX_CURVES = 4


def box_sections(
    table: RecordTable,
    names: Sequence[str],
    colours: Sequence[Sequence[int]],
    post: Mapping[str, Any],
) -> list[Mapping[str, Any]]:
    """Blocks for report/blocks.py."""
    matrix, truths = sum_confusion(table, len(names)), figures.count_truths(table, 0)
    precision = np.array(
        [figures.average_precision(table, 0, code, truths[code]) for code in range(len(names))]
    )  # (K, IoUs)
    threshold = float(post.get("threshold", DEFAULT_THRESHOLD))
    scored = sorted(table.rows, key=lambda row: -row["loss"])
    count = min(BEST, (len(scored) + 1) // 3)
    best, worst = scored[::-1][:count], scored[: min(WORST, len(scored) - count)]
    return [
        _class_table(names, colours, matrix, precision),
        _curves(table, names, precision),
        {
            "kind": "confusion",
            "title": "Confusion",
            "classes": [*names, "missed / nothing there"],
            "matrix": matrix.tolist(),
        },
        _missed_sizes(table, len(names)),
        {
            **reliability_block(figures.box_reliability(table)),
            "unit": "boxes",
            "independent": False,
            "note": f"Boxes with a probability of {figures.LEAST_PROBABILITY:.0%} or more. One is "
            "correct if it overlaps an object of its class by an IoU of 0.5 or more.",
        },
        _photos("Worst photos", worst, names, "most missed or wrong boxes first"),
        _photos("Best photos", best, names, "best first"),
        {
            "kind": "facts",
            "title": "Post-processing",
            "folded": True,
            "items": [
                ["threshold of a box's probability", round(threshold, 4)],
                [
                    "probability",
                    f"sigmoid({post['scale']:.3f} logit + {post['shift']:.3f})"
                    if "scale" in post
                    else "the network's score",
                ],
            ],
        },
    ]


def sum_confusion(table: RecordTable, classes: int) -> np.ndarray:
    """(K + 1, K + 1) objects by prediction at the threshold; the last row holds boxes where nothing
    is, the last column missed objects."""
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    for row in table.rows:
        for truth, code, *_ in row["pairs"]:
            matrix[int(truth), int(code)] += 1
    return matrix


def _class_table(
    names: Sequence[str],
    colours: Sequence[Sequence[int]],
    matrix: np.ndarray,
    precision: np.ndarray,
) -> Mapping[str, Any]:
    rows = []
    for code in np.argsort(precision[:, 0], kind="stable"):  # NaN last
        detections, objects, answers = matrix[code, code], matrix[code].sum(), matrix[:, code].sum()
        rows.append(
            [
                names[code],
                f"ap50:{names[code]}",  # the metric of that name, with its interval
                _number(precision[code].mean()),
                float(detections / answers) if answers else None,
                float(detections / objects) if objects else None,
                int(objects),
                "#" + "".join(f"{part:02x}" for part in colours[code]),
            ]
        )
    return {
        "kind": "table",
        "title": "By class, weakest first",
        "columns": [
            {"name": "class", "format": "text"},
            {"name": "AP at IoU 0.5", "format": "estimate"},
            {"name": "AP at 0.5 to 0.95", "format": "percent"},
            {"name": "precision", "format": "percent"},
            {"name": "recall", "format": "percent"},
            {"name": "objects", "format": "number"},
            {"name": "drawn in", "format": "colour"},
        ],
        "rows": rows,
        "note": "AP: average precision over all thresholds. Precision and recall: of boxes at the "
        "model's threshold, which overlap the object by an IoU of 0.5 or more.",
    }


def _curves(table: RecordTable, names: Sequence[str], precision: np.ndarray) -> Mapping[str, Any]:
    weakest = np.argsort(precision[:, 0], kind="stable")[:MAX_CURVES].tolist()
    return {
        "kind": "curves",
        "title": "Precision by recall, at IoU 0.5",
        "x": "recall",
        "series": [
            {"name": names[code], "points": [list(p) for p in points]}
            for code in weakest
            if len(points := figures.precision_recall(table, code)) > 1
        ],
        "note": "" if len(names) <= MAX_CURVES else f"The {MAX_CURVES} weakest classes.",
    }


def _missed_sizes(table: RecordTable, nothing: int) -> Mapping[str, Any]:
    rows: list[list[Any]] = []
    pairs = [pair for row in table.rows for pair in row["pairs"] if pair[0] != nothing]
    for size, (low, high) in list(figures.SIZES.items())[1:]:
        detections = [code != nothing for _, code, _, area in pairs if low <= area < high]
        missed = detections.count(False)
        rows.append(
            [size, len(detections), missed, float(missed / len(detections)) if detections else None]
        )
    return {
        "kind": "table",
        "title": "Sizes of what was missed",
        "columns": [
            {"name": "size", "format": "text"},
            {"name": "objects", "format": "number"},
            {"name": "missed", "format": "number"},
            {"name": "share", "format": "percent"},
        ],
        "rows": rows,
        "note": "Small: below 32 x 32 pixels of the photo; large: from 96 x 96.",
    }


def _photos(
    title: str, rows: Sequence[Record], names: Sequence[str], order: str
) -> Mapping[str, Any]:
    nothing = len(names)
    items = []
    for row in rows:
        pairs = [(truth, code) for truth, code, *_ in row["pairs"]]
        missed = sum(code == nothing for _, code in pairs)
        wrong = sum(truth == nothing for truth, _ in pairs)
        confused = sum(truth != code and nothing not in (truth, code) for truth, code in pairs)
        detections = sum(truth == code for truth, code in pairs)
        items.append(
            gallery_item(
                row,
                f"{detections} right, {missed} missed, {wrong} where nothing is, {confused} confused",
                _count_names([truth for truth, _ in pairs if truth != nothing], names),
                _count_names([code for _, code in pairs if code != nothing], names),
                float(row["correct"]),
            )
        )
    note = f"The photo with its true boxes, then with the predicted ones; {order}."
    return {"kind": "gallery", "title": title, "items": items, "note": note, "wide": True}


def _count_names(codes: Sequence[float], names: Sequence[str]) -> str:
    counts = {code: list(codes).count(code) for code in sorted(set(codes))}
    return ", ".join(f"{count} {names[int(code)]}" for code, count in counts.items()) or "nothing"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
