"""Near-duplicate pictures: resized, compressed again, cropped a little, lighter, mirrored.

    thumbnails -> lookalikes: candidate pairs -> registration: pairs that agree in their details

Plain, dark and tiny pictures show too little detail: they are compared by their bytes only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skipstone.core import events
from skipstone.datasets.grouping import Link
from skipstone.image.candidate_search import MIN_COSINE, Candidate, find_candidates
from skipstone.image.registration import align_pairs, block_means
from skipstone.image.thumbnail import SIDE, SMALL_SIDE, Thumbnail

Array = np.ndarray

#: The least shorter side of a source that is compared by its pixels.
MIN_PIXELS = 24
_FLAT = 4.0  # a thumbnail with a lower standard deviation of grey levels shows nothing
_PAIRS = 256  # aligned together


@dataclass(frozen=True)
class NearDuplicateLimits:
    """Limits of a near duplicate, for the measures of `registration.Alignment`.

    Args:
        min_cosine: the least cosine of descriptors.
        min_coarse_detail: the least detail at 32 pixels; other pairs are not aligned at 96.
        max_chroma: the largest difference of colours, in levels.
    """

    min_cosine: float
    min_coarse_detail: float
    min_detail: float
    max_mismatch: float
    min_windows: int
    min_overlap: float = 0.75
    max_chroma: float = 14.0


#: For thumbnails of 96 pixels, and of 32: at 32, different pictures of one kind of thing (trousers,
#: digits) are similar, so only good copies pass.
LIMITS = NearDuplicateLimits(
    min_cosine=MIN_COSINE,
    min_coarse_detail=0.5,
    min_detail=0.91,
    max_mismatch=0.003,
    min_windows=20,
)
SMALL_LIMITS = NearDuplicateLimits(
    min_cosine=0.97, min_coarse_detail=0.985, min_detail=0.985, max_mismatch=0.0, min_windows=24
)


def find_near_duplicate_images(thumbnails: Sequence[Thumbnail | None]) -> list[Link]:
    """Links between positions in `thumbnails`; None and plain or tiny pictures have none.

    Only thumbnails of the same size are compared.
    """
    links = []
    for side, bar in ((SIDE, LIMITS), (SMALL_SIDE, SMALL_LIMITS)):
        rows = [
            row
            for row, thumb in enumerate(thumbnails)
            if thumb is not None and len(thumb.grey) == side and _has_detail(thumb)
        ]
        thumbs = [thumb for row in rows if (thumb := thumbnails[row]) is not None]
        links += [
            Link(rows[link.first], rows[link.second], link.score, link.mirrored)
            for link in _search(thumbs, bar)
        ]
    return links


def _has_detail(thumb: Thumbnail) -> bool:
    return thumb.pixels >= MIN_PIXELS and float(thumb.grey.std()) >= _FLAT


def _search(thumbs: list[Thumbnail], bar: NearDuplicateLimits) -> list[Link]:
    """Links between thumbnails of one size."""
    if len(thumbs) < 2:
        return []
    divisor = len(thumbs[0].grey) // SMALL_SIDE
    small = np.concatenate(
        [block_means(thumb.grey[None], divisor) for thumb in thumbs]
    )  # (N, 32, 32)
    pairs = find_candidates(small, min_cosine=bar.min_cosine)
    links: list[Link] = []
    with events.progress_stage("comparing look-alikes", total=len(pairs), unit="pairs") as advance:
        for at in range(0, len(pairs), _PAIRS):
            part = pairs[at : at + _PAIRS]
            first, second, mirrored, start = map(np.array, zip(*part, strict=True))
            aligned = align_pairs(small[first], _mirror(small[second], mirrored), start)
            near = np.flatnonzero(aligned.detail >= bar.min_coarse_detail)
            if len(near):
                links += _links(thumbs, [part[row] for row in near], aligned.warp[near], bar)
            advance(len(part))
    return links


def _links(
    thumbs: list[Thumbnail], pairs: list[Candidate], start: Array, bar: NearDuplicateLimits
) -> list[Link]:
    """The pairs that are near duplicates, aligned at the thumbnails' own size."""
    first = [thumbs[pair.first] for pair in pairs]
    second = [thumbs[pair.second] for pair in pairs]
    mirrored = np.array([pair.mirrored for pair in pairs])
    aligned = align_pairs(
        np.stack([thumb.grey for thumb in first]),
        _mirror(np.stack([thumb.grey for thumb in second]), mirrored),
        start,
    )
    colours = _colour_difference(
        np.stack([thumb.chroma for thumb in first]),
        _mirror(np.stack([thumb.chroma for thumb in second]), mirrored),
    )
    passed = (
        (aligned.detail >= bar.min_detail)
        & (aligned.mismatch <= bar.max_mismatch)
        & (aligned.windows >= bar.min_windows)
        & (aligned.overlap >= bar.min_overlap)
        & (colours <= bar.max_chroma)
    )
    return [
        Link(pair.first, pair.second, round(float(score), 4), pair.mirrored)
        for pair, score, is_near in zip(pairs, aligned.detail, passed, strict=True)
        if is_near
    ]


def _mirror(pictures: Array, mirrored: Array) -> Array:
    """A copy of (P, H, W, ...) in which the pictures of the mask `mirrored` (P,) are mirrored."""
    pictures = pictures.copy()
    pictures[mirrored] = pictures[mirrored][:, :, ::-1]
    return pictures


def _colour_difference(first: Array, second: Array) -> Array:
    """Root mean square in levels (P,) of chroma (P, 8, 8, 2), after matching the saturation.

    Light changes the saturation of all colours together; another hue is another picture.
    """
    a = first.reshape(len(first), -1).astype(np.float32) - 128
    b = second.reshape(len(second), -1).astype(np.float32) - 128
    saturation = (a * b).sum(1) / np.maximum((a * a).sum(1), 1)
    rest = b - np.clip(saturation, 0.5, 2)[:, None] * a
    difference: Array = np.sqrt((rest * rest).mean(1))
    return difference
