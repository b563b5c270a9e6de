"""Predictions for large photos with small objects: overlapping tiles, and the whole photo, merged.

A network sees a photo at its own few hundred pixels, where small objects vanish. A tile of about the
size of the training photos shows them as in training (Akyon et al. 2022, "Slicing Aided Hyper
Inference", arXiv:2202.06934). The whole photo shows objects that are larger than the overlap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from skipstone.core.errors import DataError, UsageError
from skipstone.data.sources import Inline, Source
from skipstone.inference.predictor import (
    DEFAULT_BATCH_SIZE,
    Failure,
    Predictor,
    SourceLike,
    as_source,
)
from skipstone.inputs.base import FullSize
from skipstone.tasks.base import Prediction, TileMerging

#: Share of a tile's side that the next tile repeats, at least.
OVERLAP = 0.25
#: Least side of a tile.
MIN_TILE = 32


class TiledPredictor(Predictor):
    """A Predictor that also predicts overlapping tiles of photos that are larger than one.

    Args:
        predictor: gives input, runtime, task and post-processing.
        side: of a tile, in pixels of the photo.

    Raises:
        UsageError: a side below MIN_TILE, or a model whose predictions cannot be merged.
    """

    def __init__(self, predictor: Predictor, side: int) -> None:
        super().__init__(predictor.input, predictor.runtime, predictor.task, predictor.post)
        if side < MIN_TILE:
            raise UsageError(f"tiles of {side} pixels; allowed: {MIN_TILE} or more.")
        if not isinstance(self.task, TileMerging) or not isinstance(self.input, FullSize):
            raise UsageError(
                f"--tiles is for models that predict boxes in photos; this one is for "
                f"{self.task.name!r}.",
                hint="Leave --tiles out.",
            )
        self.side = side

    def stream_predictions(
        self, sources: Sequence[SourceLike], batch_size: int = DEFAULT_BATCH_SIZE
    ) -> Iterator[Prediction | Failure]:
        for index, source in enumerate(sources):
            answer = self._predict_photo(as_source(source), batch_size)
            if isinstance(answer, Failure):
                yield replace(answer, index=index)
            else:
                yield replace(answer, meta=replace(answer.meta, id=index))

    def _predict_photo(self, source: Source, batch_size: int) -> Prediction | Failure:
        assert isinstance(self.input, FullSize)
        assert isinstance(self.task, TileMerging)
        try:
            pixels = self.input.read_full_size(source)
        except (DataError, OSError) as error:
            return Failure(source.name, str(error))
        windows = list_windows(pixels.shape[0], pixels.shape[1], self.side)
        tiles = [
            Inline(pixels[top:bottom, left:right], f"{source.name} at {left},{top}")
            for left, top, right, bottom in windows
        ]
        whole, *parts = super().stream_predictions([source, *tiles], batch_size)
        failures = [answer for answer in (whole, *parts) if isinstance(answer, Failure)]
        if failures or isinstance(whole, Failure):
            return replace(failures[0], name=source.name)
        predictions = [answer for answer in parts if isinstance(answer, Prediction)]
        return self.task.merge_tiles(whole, predictions, windows, self.post) if parts else whole


def list_windows(height: int, width: int, side: int) -> list[tuple[int, int, int, int]]:
    """(left, top, right, bottom) of tiles that cover a photo at equal steps; [] if one is enough.

    A photo that is shorter than `side` in one direction has tiles of its own length there.

    >>> list_windows(100, 250, 100)
    [(0, 0, 100, 100), (75, 0, 175, 100), (150, 0, 250, 100)]
    >>> list_windows(100, 90, 100)
    []
    """
    if max(height, width) <= side:
        return []

    def list_starts(length: int) -> list[int]:
        if length <= side:
            return [0]
        step = side * (1 - OVERLAP)
        count = 1 + int(np.ceil((length - side) / step - 1e-9))
        starts: list[float] = np.linspace(0, length - side, count).tolist()
        return [round(start) for start in starts]

    return [
        (left, top, min(left + side, width), min(top + side, height))
        for top in list_starts(height)
        for left in list_starts(width)
    ]
