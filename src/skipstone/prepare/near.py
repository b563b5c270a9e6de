"""Near duplicates: the same picture resized, compressed again, cropped a little, lighter, mirrored.

    thumbnails --lookalikes--> a short list of pairs --registration--> pairs that show the same

A pair counts only where there is enough to see: of plain, dark or tiny pictures nobody can say
whether they are copies, so they are compared by their bytes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skipstone import events
from skipstone.inputs.thumbnail import SMALL_SIDE, Thumbnail
from skipstone.prepare.lookalikes import Candidates, lookalikes
from skipstone.prepare.registration import align, shrunk

Array = np.ndarray

#: A source with a shorter side below this has too few pixels to be told apart by what it shows.
FEWEST_PIXELS = 24
_FLAT = 4.0  # standard deviation of grey levels; below it a thumbnail shows nothing
_PAIRS = 128  # aligned together
_COARSE_DETAIL = 0.5  # at 32 pixels: below it a pair is not looked at any closer


@dataclass(frozen=True)
class Bar:
    """What a pair has to reach. See `registration.Alignment` for the words."""

    detail: float
    mismatch: float
    windows: int
    overlap: float = 0.75
    chroma: float = 14.0


#: For thumbnails of 96 pixels, and of 32, which show less.
BAR = Bar(detail=0.88, mismatch=0.02, windows=20)
SMALL_BAR = Bar(detail=0.95, mismatch=0.0, windows=24)


@dataclass(frozen=True, slots=True)
class Link:
    """Two rows that show the same. `score` is in 0..1: how well their details agree."""

    first: int
    second: int
    score: float
    mirrored: bool


def near_links(thumbnails: Sequence[Thumbnail | None]) -> list[Link]:
    """Links between positions in `thumbnails`; None and what shows too little have none."""
    rows = [n for n, thumb in enumerate(thumbnails) if thumb is not None and _shows(thumb)]
    if len(rows) < 2:
        return []
    kept = [thumb for n in rows if (thumb := thumbnails[n]) is not None]
    small = np.concatenate([_small(thumb.grey) for thumb in kept])  # (N, 32, 32)
    candidates = lookalikes(small)
    links = []
    with events.stage("comparing look-alikes", total=len(candidates), unit="pairs") as advance:
        for at in range(0, len(candidates), 4 * _PAIRS):
            part = _part(candidates, slice(at, at + 4 * _PAIRS))
            links += _judge(kept, small, part)
            advance(len(part))
    return [Link(rows[link.first], rows[link.second], link.score, link.mirrored) for link in links]


def _shows(thumb: Thumbnail) -> bool:
    return thumb.pixels >= FEWEST_PIXELS and float(thumb.grey.std()) >= _FLAT


def _small(grey: Array) -> Array:
    return shrunk(grey[None], grey.shape[0] // SMALL_SIDE)


def _part(pairs: Candidates, which: slice | Array) -> Candidates:
    return Candidates(
        pairs.first[which],
        pairs.second[which],
        pairs.mirrored[which],
        pairs.start[which],
        pairs.likeness[which],
    )


def _judge(thumbs: list[Thumbnail], small: Array, pairs: Candidates) -> list[Link]:
    """The pairs of this part that show the same: first at 32 pixels, then at 96 where both can."""
    coarse = align(small[pairs.first], _mirror(small[pairs.second], pairs.mirrored), pairs.start)
    large = np.array(
        [
            min(len(thumbs[a].grey), len(thumbs[b].grey)) > SMALL_SIDE
            for a, b in zip(pairs.first, pairs.second, strict=True)
        ]
    )
    near = coarse.detail >= np.where(large, _COARSE_DETAIL, SMALL_BAR.detail)
    links = []
    for is_large, bar in ((False, SMALL_BAR), (True, BAR)):
        chosen = np.flatnonzero(near & (large == is_large))
        for at in range(0, len(chosen), _PAIRS):
            rows = chosen[at : at + _PAIRS]
            links += _links(thumbs, _part(pairs, rows), coarse.warp[rows], bar, is_large=is_large)
    return links


def _links(
    thumbs: list[Thumbnail], pairs: Candidates, start: Array, bar: Bar, *, is_large: bool
) -> list[Link]:
    def stack(rows: Array) -> Array:
        greys = [thumbs[row].grey for row in rows]
        return np.stack(greys) if is_large else np.concatenate([_small(grey) for grey in greys])

    found = align(stack(pairs.first), _mirror(stack(pairs.second), pairs.mirrored), start)
    colours = _colour_gap(
        np.stack([thumbs[row].chroma for row in pairs.first]),
        _mirror(np.stack([thumbs[row].chroma for row in pairs.second]), pairs.mirrored),
    )
    same = (
        (found.detail >= bar.detail)
        & (found.mismatch <= bar.mismatch)
        & (found.windows >= bar.windows)
        & (found.overlap >= bar.overlap)
        & (colours <= bar.chroma)
    )
    return [
        Link(
            int(pairs.first[n]),
            int(pairs.second[n]),
            round(float(found.detail[n]), 4),
            bool(pairs.mirrored[n]),
        )
        for n in np.flatnonzero(same)
    ]


def _mirror(pictures: Array, which: Array) -> Array:
    """A copy with those of (P, H, W, ...) mirrored that `which` says."""
    pictures = pictures.copy()
    pictures[which] = pictures[which][:, :, ::-1]
    return pictures


def _colour_gap(first: Array, second: Array) -> Array:
    """How far colours lie apart, root mean square in levels, however strong they are. (P, 8, 8, 2)

    Light changes the strength of all colours together; another hue is another picture.
    """
    a = first.reshape(len(first), -1).astype(np.float32) - 128
    b = second.reshape(len(second), -1).astype(np.float32) - 128
    strength = (a * b).sum(1) / np.maximum((a * a).sum(1), 1)
    rest = b - np.clip(strength, 0.5, 2)[:, None] * a
    gap: Array = np.sqrt((rest * rest).mean(1))
    return gap
