"""Report sections of masks: classes, confusion, and galleries of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skipstone.tasks.base import Record, RecordTable
from skipstone.tasks.labels import (
    confused_pairs_block,
    gallery_item,
    postprocessing_block,
    reliability_block,
)
from skipstone.tasks.segmentation.metrics import (
    intersection_over_union,
    mean_without_nan,
    pixel_reliability,
)

#: Images per gallery; the best are at most a third.
WORST, BEST = 12, 6
#: Cells of the confusion matrix with a gallery, and images in each of them, at most.
MAX_CELLS, MAX_CELL_ITEMS = 10, 2


def mask_sections(
    names: Sequence[str],
    colours: Sequence[Sequence[int]],
    matrix: np.ndarray,
    boundaries: np.ndarray,
    table: RecordTable,
    post: Mapping[str, Any],
) -> list[Mapping[str, Any]]:
    """Blocks for report/blocks.py. `matrix` (K, K) holds pixels, target by prediction."""
    scored = sorted((row for row in table.rows if row["pixels"]), key=lambda row: -row["loss"])
    count = min(BEST, (len(scored) + 1) // 3)
    best, worst = scored[::-1][:count], scored[: min(WORST, len(scored) - count)]
    return [
        _class_table(names, colours, matrix, boundaries),
        {
            "kind": "confusion",
            "title": "Confusion of pixels",
            "classes": list(names),
            "matrix": matrix.astype(int).tolist(),
            "cells": _collect_cells(names, matrix, scored),
            "unit": "pixels",
        },
        confused_pairs_block(names, matrix, "pixels"),
        _pictures("Worst images", worst, names, "lowest mean IoU first"),
        _pictures("Best images", best, names, "highest mean IoU first"),
        {
            **reliability_block(pixel_reliability(table)),
            "unit": "pixels",
            "independent": False,
            "note": "Of large samples, only some of the pixels are counted.",
        },
        postprocessing_block(post, ["fully connected CRF", _refinement(post)]),
    ]


def _collect_cells(
    names: Sequence[str], matrix: np.ndarray, rows: Sequence[Record]
) -> list[Mapping[str, Any]]:
    """The images with the most pixels in each cell of the confusion matrix, off its diagonal; the
    cell with the most pixels first."""
    size = len(names)
    wrong = np.where(np.eye(size, dtype=bool), 0, matrix).ravel()
    collected: list[Mapping[str, Any]] = []
    for place in np.argsort(-wrong, kind="stable")[: min(MAX_CELLS, int((wrong > 0).sum()))]:
        i, j = divmod(int(place), size)
        pixels = [dict(zip(row["cells"], row["counts"], strict=True)).get(place, 0) for row in rows]
        most = np.argsort(-np.array(pixels), kind="stable")[:MAX_CELL_ITEMS]
        items = [
            gallery_item(
                rows[n],
                f"{names[i]} predicted as {names[j]} in {pixels[n] / rows[n]['pixels']:.1%}",
                names[i],
                names[j],
                float(rows[n]["correct"]),
            )
            for n in most
            if pixels[n]
        ]
        collected.append({"truth": i, "answer": j, "items": items})
    return collected


def _refinement(post: Mapping[str, Any]) -> str:
    """Whether the CRF is used, and its gain if it was tried."""
    used = "used" if post.get("crf") else "not used"
    tried = post.get("tried", {}).get("crf")
    if tried is None:
        return used
    low, high = (100 * tried[key] for key in ("low", "high"))
    return (
        f"{used}: {100 * tried['value']:+.2f} points [{low:+.2f}, {high:+.2f}] of mean IoU on "
        f"{tried['n']} validation images"
    )


def _class_table(
    names: Sequence[str],
    colours: Sequence[Sequence[int]],
    matrix: np.ndarray,
    boundaries: np.ndarray,
) -> Mapping[str, Any]:
    hit, truth, answer = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    iou, total = intersection_over_union(matrix), max(matrix.sum(), 1)
    return {
        "kind": "table",
        "title": "By class, weakest first",
        "columns": [
            {"name": "class", "format": "text"},
            {"name": "IoU", "format": "estimate"},
            {"name": "precision", "format": "percent"},
            {"name": "recall", "format": "percent"},
            {"name": "boundary F1", "format": "percent"},
            {"name": "of all pixels", "format": "percent"},
            {"name": "drawn in", "format": "colour"},
        ],
        "rows": [
            [
                names[k],
                f"iou:{names[k]}",  # the metric of that name, with its interval
                float(hit[k] / answer[k]) if answer[k] else None,
                float(hit[k] / truth[k]) if truth[k] else None,
                _number(boundaries[k]),
                float(truth[k] / total),
                "#" + "".join(f"{part:02x}" for part in colours[k]),
            ]
            for k in np.argsort(iou, kind="stable")  # NaN last
        ],
        "note": "IoU: intersection over union of target and prediction. Boundary F1: how much of "
        "the outlines lies within 0.75 % of the diagonal of the true ones (Csurka 2013). A class "
        "in neither targets nor predictions has no value.",
    }


def _pictures(
    title: str, rows: Sequence[Record], names: Sequence[str], order: str
) -> Mapping[str, Any]:
    items = []
    for row in rows:
        size = len(names)
        matrix = np.bincount(
            np.asarray(row["cells"], np.int64), weights=row["counts"], minlength=size * size
        ).reshape(size, size)
        iou = intersection_over_union(matrix)
        lowest = [int(k) for k in np.argsort(np.where(np.isnan(iou), 2, iou))[:2] if iou[k] < 0.5]
        weak = f"; weakest: {', '.join(names[k] for k in lowest)}" if lowest else ""
        items.append(
            gallery_item(
                row,
                f"mean IoU {100 * mean_without_nan(iou):.0f} %{weak}",
                _top_classes(names, matrix.sum(axis=1)),
                _top_classes(names, matrix.sum(axis=0)),
                float(row["correct"]),
            )
        )
    note = f"The image, then the target and the prediction drawn over it; {order}."
    return {"kind": "gallery", "title": title, "items": items, "note": note, "wide": True}


def _top_classes(names: Sequence[str], pixels: np.ndarray) -> str:
    """Names of the classes with the most pixels."""
    order = [int(k) for k in np.argsort(-pixels, kind="stable") if pixels[k]]
    more = f" and {len(order) - 4} more" if len(order) > 4 else ""
    return ", ".join(names[k] for k in order[:4]) + more


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
