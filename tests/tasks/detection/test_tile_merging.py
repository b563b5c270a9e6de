"""Boxes of tiles, merged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from skipstone.inference.tiled_predictor import OVERLAP, list_windows
from skipstone.tasks.detection.boxes import Detections
from skipstone.tasks.detection.tile_merging import merge_tile_boxes

SIZE = (100, 175)
LEFT, RIGHT = (0, 0, 100, 100), (75, 0, 175, 100)


def detections(*rows: tuple[Sequence[float], float, int]) -> Detections:
    """Of (box, score, code)."""
    boxes = np.array([row[0] for row in rows], np.float64).reshape(-1, 4)
    scores, codes = np.array([row[1] for row in rows]), np.array([row[2] for row in rows], np.int64)
    return Detections(boxes, scores, codes)


def merge(left: Detections, right: Detections) -> Detections:
    return merge_tile_boxes([left, right], [LEFT, RIGHT], SIZE, 0.6)


@pytest.mark.parametrize("shape", [(100, 100), (40, 1000), (333, 257), (5000, 101)])
def test_windows_cover_the_photo_and_overlap(shape: tuple[int, int]) -> None:
    height, width = shape
    windows = list_windows(height, width, 100)
    if max(shape) <= 100:
        assert windows == []
        return
    seen = np.zeros(shape, bool)
    for left, top, right, bottom in windows:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert (bottom - top, right - left) == (min(100, height), min(100, width))
        seen[top:bottom, left:right] = True
    assert seen.all()
    starts = sorted({window[0] for window in windows})
    assert (np.diff(starts) <= 100 * (1 - OVERLAP) + 1).all()


def test_an_object_in_two_tiles_is_one_box() -> None:
    merged = merge(
        detections(([78, 20, 96, 40], 0.8, 0), ([10, 10, 30, 30], 0.7, 1)),
        detections(([3, 20, 22, 40], 0.9, 0)),
    )
    assert merged.boxes.tolist() == [[78, 20, 97, 40], [10, 10, 30, 30]]
    assert merged.scores.tolist() == [0.9, 0.7]
    assert merged.codes.tolist() == [0, 1]


def test_a_box_cut_by_a_border_gives_way_to_the_whole_one() -> None:
    """Also where the cut one has the higher score and an IoU below the limit."""
    merged = merge(
        detections(([80, 20, 100, 60], 0.95, 0)),  # cut at x = 100
        detections(([5, 20, 55, 60], 0.6, 0)),  # 80..130
    )
    assert merged.boxes.tolist() == [[80, 20, 130, 60]]
    assert merged.scores.tolist() == [0.6]


def test_small_boxes_inside_a_large_one_stay_unless_cut() -> None:
    merged = merge(detections(([80, 20, 95, 40], 0.9, 0)), detections(([2, 10, 70, 90], 0.8, 0)))
    assert len(merged.scores) == 2


def test_the_border_of_the_photo_cuts_nothing() -> None:
    """Boxes at the photo's own border are as good as others; other classes are left alone."""
    merged = merge(
        detections(([0, 0, 20, 100], 0.9, 0), ([1, 2, 98, 98], 0.8, 0), ([80, 0, 100, 40], 0.7, 1)),
        detections(([5, 0, 60, 40], 0.6, 0)),
    )
    assert len(merged.scores) == 4
    assert merged.scores.tolist() == sorted(merged.scores, reverse=True)


def test_no_boxes() -> None:
    merged = merge(detections(), detections())
    assert merged.boxes.shape == (0, 4)
    assert merged.codes.dtype == np.int64
