"""Selective search: regions of a picture where an object may be, without learning (Uijlings et al.
2013, "Selective Search for Object Recognition", sections 3 and 4).

A picture is cut into small segments of one colour (Felzenszwalb and Huttenlocher 2004, by
scikit-image). The two most similar neighbours are joined, again and again, until the picture is one
segment. The box around each segment on the way is a region. Similar are segments with like colours
and textures that are small, and that fill the box around both. Fine and coarse segments of a picture
give different regions, so several scales are used.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np

from skipstone.core.errors import MissingExtra

#: Preferences for larger first segments, their blur in pixels, and their least pixels.
SCALES, BLUR, MIN_PIXELS = (50, 100, 200), 0.8, 20
#: Bins of the histograms of colours and of derivatives, and directions of the latter.
COLOUR_BINS, TEXTURE_BINS, DIRECTIONS = 25, 10, 8
#: Shorter regions, in pixels, are left out.
MIN_SIDE = 4


@dataclass(frozen=True)
class Segment:
    """A part of a picture.

    Args:
        pixels: number of its pixels.
        box: (x1, y1, x2, y2).
        colours, textures: histograms with a sum of 1.
    """

    pixels: int
    box: tuple[int, int, int, int]
    colours: np.ndarray
    textures: np.ndarray

    def join(self, other: Segment) -> Segment:
        """Both as one; a histogram is the mean of theirs, weighted by pixels."""
        share = self.pixels / (self.pixels + other.pixels)
        return Segment(
            self.pixels + other.pixels,
            _enclose_boxes(self.box, other.box),
            share * self.colours + (1 - share) * other.colours,
            share * self.textures + (1 - share) * other.textures,
        )


def search_regions(picture: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` regions (n, 4) float32 in pixels of the picture: those that join many segments
    come first, with some chance, which depends on the picture's size alone.

    Args:
        picture: (H, W, C) uint8, C 1 or 3.

    Raises:
        MissingExtra: scikit-image is not installed.
    """
    try:
        from skimage.color import rgb2hsv
        from skimage.segmentation import felzenszwalb
    except ImportError as error:
        raise MissingExtra(
            "selective search needs scikit-image.",
            hint="In skipstone's source folder: pip install '.[regions]'",
        ) from error
    colour = rgb2hsv(picture if picture.shape[2] == 3 else picture.repeat(3, axis=2))
    texture = measure_derivatives(picture)
    ranks: dict[tuple[int, int, int, int], float] = {}
    rng = np.random.default_rng(picture.shape[:2])
    for scale in SCALES:
        labels = felzenszwalb(picture, scale=scale, sigma=BLUR, min_size=MIN_PIXELS)
        boxes = group_segments(labels, describe_segments(labels, colour, texture))
        for position, box in enumerate(reversed(boxes), 1):
            rank = position * rng.random()
            ranks[box] = min(rank, ranks.get(box, rank))
    large = [box for box in ranks if min(box[2] - box[0], box[3] - box[1]) >= MIN_SIDE]
    best = sorted(large, key=lambda box: ranks[box])[:count]
    return np.array(best, np.float32).reshape(-1, 4)


def measure_derivatives(picture: np.ndarray) -> np.ndarray:
    """(H, W, C * DIRECTIONS) in 0..1: of each channel the Gaussian derivative along each direction,
    where it is positive."""
    from scipy.ndimage import gaussian_filter

    views = []
    for channel in np.moveaxis(picture.astype(np.float64) / 255, 2, 0):
        dy, dx = (
            gaussian_filter(channel, 1, order=(1, 0)),
            gaussian_filter(channel, 1, order=(0, 1)),
        )
        for angle in np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS:
            views.append(np.cos(angle) * dx + np.sin(angle) * dy)
    # a step from 0 to 1 has a derivative of 0.4 at sigma 1
    return np.clip(np.stack(views, axis=2) / 0.4, 0, 1)


def describe_segments(
    labels: np.ndarray, colour: np.ndarray, texture: np.ndarray
) -> dict[int, Segment]:
    """The segments of labels (H, W) by their number."""
    from scipy.ndimage import find_objects

    count = int(labels.max()) + 1
    pixels = np.bincount(labels.ravel(), minlength=count)
    colours = _count_values(labels, colour, COLOUR_BINS, count)
    textures = _count_values(labels, texture, TEXTURE_BINS, count)
    segments = {}
    for number, (rows, columns) in enumerate(find_objects(labels + 1)):
        box = (columns.start, rows.start, columns.stop, rows.stop)
        segments[number] = Segment(int(pixels[number]), box, colours[number], textures[number])
    return segments


def group_segments(
    labels: np.ndarray, segments: dict[int, Segment]
) -> list[tuple[int, int, int, int]]:
    """Boxes of the segments, then of each that joins the two most similar neighbours."""
    segments = dict(segments)
    boxes = [segment.box for segment in segments.values()]
    neighbours = _find_neighbours(labels, len(segments))
    area = labels.size

    def push(one: int, two: int) -> None:
        similarity = measure_similarity(segments[one], segments[two], area)
        heapq.heappush(queue, (-similarity, one, two))

    queue: list[tuple[float, int, int]] = []
    for one, others in neighbours.items():
        for two in others:
            if one < two:
                push(one, two)
    following = len(segments)
    while queue:
        _, one, two = heapq.heappop(queue)
        if one not in segments or two not in segments:
            continue
        segments[following] = segments.pop(one).join(segments.pop(two))
        boxes.append(segments[following].box)
        around = (neighbours.pop(one) | neighbours.pop(two)) - {one, two}
        neighbours[following] = around
        for other in around:
            neighbours[other] = (neighbours[other] - {one, two}) | {following}
            push(other, following)
        following += 1
    return boxes


def measure_similarity(one: Segment, two: Segment, area: int) -> float:
    """The sum of the similarities of colour, texture, size and fill (section 3.2), each in 0..1."""
    x1, y1, x2, y2 = _enclose_boxes(one.box, two.box)
    pixels = one.pixels + two.pixels
    colour = np.minimum(one.colours, two.colours).sum()
    texture = np.minimum(one.textures, two.textures).sum()
    return float(colour + texture + 1 - pixels / area + 1 - ((x2 - x1) * (y2 - y1) - pixels) / area)


def _count_values(labels: np.ndarray, values: np.ndarray, bins: int, count: int) -> np.ndarray:
    """(count, C * bins): histograms of values (H, W, C) in 0..1 per label, with a sum of 1."""
    codes = np.minimum((values * bins).astype(np.int64), bins - 1)
    parts: list[Any] = [
        np.bincount((labels * bins + channel).ravel(), minlength=count * bins).reshape(count, bins)
        for channel in np.moveaxis(codes, 2, 0)
    ]
    counts: np.ndarray = np.concatenate(parts, axis=1).astype(np.float64)
    counts /= counts.sum(axis=1, keepdims=True)
    return counts


def _find_neighbours(labels: np.ndarray, count: int) -> dict[int, set[int]]:
    """Labels that touch each label, above, below or beside it."""
    touching = [(labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])]
    pairs = np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in touching])
    neighbours: dict[int, set[int]] = {number: set() for number in range(count)}
    for one, two in np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0).tolist():
        neighbours[one].add(two)
        neighbours[two].add(one)
    return neighbours


def _enclose_boxes(
    one: tuple[int, int, int, int], two: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    (a, b, c, d), (e, f, g, h) = one, two
    return min(a, e), min(b, f), max(c, g), max(d, h)
