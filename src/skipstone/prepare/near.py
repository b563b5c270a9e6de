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
from skipstone.inputs.thumbnail import SIDE, SMALL_SIDE, Thumbnail
from skipstone.prepare.lookalikes import ALIKE, Candidates, lookalikes
from skipstone.prepare.registration import align, shrunk
from skipstone.prepare.together import Link

Array = np.ndarray

#: A source with a shorter side below this has too few pixels to be told apart by what it shows.
FEWEST_PIXELS = 24
_FLAT = 4.0  # standard deviation of grey levels; below it a thumbnail shows nothing
_PAIRS = 256  # aligned together


@dataclass(frozen=True)
class Bar:
    """What a pair has to reach: a cosine to be looked at, and then what `registration.Alignment`
    measures. `coarse` is detail at 32 pixels, below which a pair is not looked at any closer.
    """

    alike: float
    coarse: float
    detail: float
    mismatch: float
    windows: int
    overlap: float = 0.75
    chroma: float = 14.0


#: For thumbnails of 96 pixels, and of 32: these show less, so that small pictures of one kind of
#: thing (trousers, digits) come near to each other, and only good copies are told from them.
BAR = Bar(alike=ALIKE, coarse=0.5, detail=0.91, mismatch=0.003, windows=20)
SMALL_BAR = Bar(alike=0.97, coarse=0.985, detail=0.985, mismatch=0.0, windows=24)


def near_links(thumbnails: Sequence[Thumbnail | None]) -> list[Link]:
    """Links between positions in `thumbnails`; None and what shows too little have none.

    Pictures are compared with those whose thumbnails are as large.
    """
    links = []
    for side, bar in ((SIDE, BAR), (SMALL_SIDE, SMALL_BAR)):
        rows = [
            n
            for n, thumb in enumerate(thumbnails)
            if thumb is not None and len(thumb.grey) == side and _shows(thumb)
        ]
        thumbs = [thumb for n in rows if (thumb := thumbnails[n]) is not None]
        links += [
            Link(rows[link.first], rows[link.second], link.score, link.mirrored)
            for link in _search(thumbs, bar)
        ]
    return links


def _search(thumbs: list[Thumbnail], bar: Bar) -> list[Link]:
    """Links between thumbnails of one size."""
    if len(thumbs) < 2:
        return []
    small = np.concatenate([_small(thumb.grey) for thumb in thumbs])  # (N, 32, 32)
    pairs = lookalikes(small, alike=bar.alike)
    links = []
    with events.stage("comparing look-alikes", total=len(pairs), unit="pairs") as advance:
        for at in range(0, len(pairs), _PAIRS):
            part = pairs.part(slice(at, at + _PAIRS))
            found = align(small[part.first], _mirror(small[part.second], part.mirrored), part.start)
            near = np.flatnonzero(found.detail >= bar.coarse)
            if len(near):
                links += _links(thumbs, part.part(near), found.warp[near], bar)
            advance(len(part))
    return links


def _shows(thumb: Thumbnail) -> bool:
    return thumb.pixels >= FEWEST_PIXELS and float(thumb.grey.std()) >= _FLAT


def _small(grey: Array) -> Array:
    return shrunk(grey[None], grey.shape[0] // SMALL_SIDE)


def _links(thumbs: list[Thumbnail], pairs: Candidates, start: Array, bar: Bar) -> list[Link]:
    """The pairs that show the same, laid over each other at the thumbnails' own size."""
    first, second = ([thumbs[row] for row in rows] for rows in (pairs.first, pairs.second))
    found = align(
        np.stack([thumb.grey for thumb in first]),
        _mirror(np.stack([thumb.grey for thumb in second]), pairs.mirrored),
        start,
    )
    colours = _colour_gap(
        np.stack([thumb.chroma for thumb in first]),
        _mirror(np.stack([thumb.chroma for thumb in second]), pairs.mirrored),
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
