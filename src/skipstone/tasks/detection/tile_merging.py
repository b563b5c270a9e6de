"""Boxes of overlapping tiles, merged into those of the photo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skipstone.tasks.detection.boxes import Detections

#: A side within this share of a tile's side from its border may be cut by it.
BORDER_SHARE = 0.02
#: Share of a box cut by a border that another one covers if both are of one object.
COVERED_SHARE = 0.6


def merge_tile_boxes(
    parts: Sequence[Detections],
    windows: Sequence[tuple[int, int, int, int]],
    size: Sequence[int],
    iou: float,
) -> Detections:
    """The boxes of a photo, highest score first.

    Non-maximum suppression within each class over the boxes of all tiles. A box that ends at a
    tile's border inside the photo may be a part of its object: it comes after all boxes that do not,
    and is dropped if one of them, or a better one, covers most of it.

    Args:
        parts: of each tile, in its pixels.
        windows: (left, top, right, bottom) of each tile in the photo.
        size: (height, width) of the photo.
        iou: overlap above which the box of the lower score is dropped.
    """
    placed, cut = [np.zeros((0, 4))], [np.zeros(0, bool)]
    for part, (left, top, right, bottom) in zip(parts, windows, strict=True):
        placed.append(part.boxes + np.array([left, top, left, top]))
        margin = BORDER_SHARE * max(right - left, bottom - top)
        is_near = np.abs(placed[-1] - (left, top, right, bottom)) <= margin  # (n, 4)
        is_inner = np.array([left > 0, top > 0, right < size[1], bottom < size[0]])
        cut.append((is_near & is_inner).any(axis=1))
    boxes, is_cut = np.concatenate(placed), np.concatenate(cut)
    scores = np.concatenate([np.zeros(0), *(part.scores for part in parts)])
    codes = np.concatenate([np.zeros(0, np.int64), *(part.codes for part in parts)])
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    pending = np.lexsort((-scores, is_cut))
    kept: list[int] = []
    while len(pending):
        best, rest = pending[0], pending[1:]
        kept.append(int(best))
        corner1 = np.maximum(boxes[best, :2], boxes[rest, :2])
        corner2 = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        common = np.prod(np.maximum(corner2 - corner1, 0), axis=1)
        union = np.maximum(area[best] + area[rest] - common, 1e-9)
        is_covered = is_cut[rest] & (common > COVERED_SHARE * area[rest])
        is_same = (codes[rest] == codes[best]) & ((common > iou * union) | is_covered)
        pending = rest[~is_same]
    order = np.array(kept, np.int64)[np.argsort(-scores[kept], kind="stable")]
    return Detections(boxes[order], scores[order], codes[order])
