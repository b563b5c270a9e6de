"""Images for a report's galleries: the network's input, with true and predicted labels."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from skipstone.core.errors import DataError
from skipstone.data.sources import FileRef, Inline, Source
from skipstone.image.preview import to_display
from skipstone.inference.open_model import open_model
from skipstone.inference.predictor import Failure, Predictor
from skipstone.inputs.base import Playable, TokenSplitter
from skipstone.inputs.multi_input import list_inputs
from skipstone.report.data_uris import (
    MAX_GALLERY_CHARACTERS,
    MAX_WIDE_SIDE,
    encode_data_uri,
    encode_sound_uri,
)
from skipstone.tasks.base import PredictionDrawing
from skipstone.training.plan import TrainContext

#: Tokens of a text that are tested; the rest of a longer text is shown without marks.
MAX_TOKENS = 150
#: Log-odds that are negligible: below it, no word is marked at full strength.
_LEAST = 0.05


def compute_word_importance(
    predictor: Predictor,
    pieces: Callable[[Source], tuple[list[str], list[int]]],
    source: Source,
    *,
    code: int | None = None,
    is_present: bool = True,
) -> list[list[Any]]:
    """[piece of the text, weight] in order; the weight is the decrease of the prediction's log-odds
    without it ("weight of evidence", Robnik-Šikonja and Kononenko 2008, IEEE TKDE 20(5)).

    Occlusion (Zeiler and Fergus 2014, arXiv:1311.2901, for images; Li et al. 2016, arXiv:1612.08220,
    for words) needs only the model's outputs, so it works for every model. Probabilities would hide
    the effect: if two words mean the same, the one without the other may still be 1.

    Weights are scaled to -1..1; negative ones speak against the prediction. Spaces have 0.

    Args:
        pieces: splits a source's text, and says which pieces are tokens (`TextInput.pieces`).
        code: index of a tag, taken by itself; by default the most probable of exclusive classes.
        is_present: whether the tag was predicted to be present (True) or absent.
    """
    parts, tokens = pieces(source)
    tested = tokens[:MAX_TOKENS]
    without = ["".join(part for n, part in enumerate(parts) if n != token) for token in tested]
    sources = [source, *(Inline(text.encode(), name=source.name) for text in without)]
    answers = predictor.predict(sources)
    shares = [
        None if isinstance(answer, Failure) else np.asarray(answer.scores["probability"])
        for answer in answers
    ]
    weights = np.zeros(len(parts))
    full = shares[0]
    if full is not None:
        answer, sign = int(full.argmax()) if code is None else code, 1 if is_present else -1
        before = _log_odds(full, answer, alone=code is not None)
        for token, share in zip(tested, shares[1:], strict=True):
            if share is not None:
                weights[token] = sign * (before - _log_odds(share, answer, alone=code is not None))
    most = max(float(np.abs(weights).max(initial=0.0)), _LEAST)
    return [[part, round(float(w) / most, 3)] for part, w in zip(parts, weights, strict=True)]


def _log_odds(share: np.ndarray, answer: int, *, alone: bool) -> float:
    """log p - log q for probabilities (K,): p is that of `answer`, q that of all other classes or,
    with `alone`, 1 - p."""
    p = float(share[answer])
    q = 1 - p if alone else float(np.delete(share, answer).sum())  # the sum is exact near p = 1
    least = np.finfo(np.float64).eps if alone else np.finfo(np.float64).tiny
    return float(np.log(max(p, least)) - np.log(max(q, least)))


class GalleryDrawer:
    """Draws rows of a manifest; a `PredictionDrawing` task draws target and prediction over them.

    Args:
        bundle: the folder of the model that predicts.
    """

    def __init__(self, given: TrainContext, bundle: Path) -> None:
        self.context = given
        self.bundle = bundle
        self._rows = {id: row for row, id in enumerate(given.manifest.column_values("id"))}
        self._names = given.manifest.row_names()
        self._load_target = given.task.target_loader(given.manifest)

    @cached_property
    def _predictor(self) -> Predictor:
        return open_model(self.bundle, "torch")

    def draw_galleries(self, sections: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The task's blocks; the items of galleries and of a confusion's cells get their image or
        text, their path in the data folder, and a link."""
        drawn = []
        for block in sections:
            if block.get("kind") == "gallery":
                block = {**block, "items": self._draw_items([block["items"]], weighted=True)[0]}
            elif "cells" in block:
                galleries = self._draw_items([cell["items"] for cell in block["cells"]])
                cells = [
                    {**cell, "items": items}
                    for cell, items in zip(block["cells"], galleries, strict=True)
                ]
                block = {**block, "cells": cells}
            drawn.append(dict(block))
        return drawn

    def _draw_items(
        self, galleries: Sequence[Sequence[Mapping[str, Any]]], *, weighted: bool = False
    ) -> list[list[dict[str, Any]]]:
        """Galleries with one limit for all their images; `weighted` texts show which words count."""
        budget = MAX_GALLERY_CHARACTERS
        results: list[list[dict[str, Any]]] = []
        for items in galleries:
            results.append([])
            for item in items:
                drawn_item = self._draw_item(item, weighted)
                for key in ("picture", "sound"):
                    content = drawn_item.get(key, "")
                    if len(content) > budget:
                        drawn_item[key] = content = ""
                    budget -= len(content)
                results[-1].append(drawn_item)
        return results

    def _draw_item(self, item: Mapping[str, Any], weighted: bool) -> dict[str, Any]:
        row = self._rows[item["id"]]
        source = self.context.manifest.source_at(row)
        drawn_item = {**item, "name": self._names[row], "link": self._link_to(source)}
        input = list_inputs(self.context.input)[0]  # an ensemble's members split texts alike
        if isinstance(input, Playable):
            with contextlib.suppress(DataError):
                record = input.decode(source).value
                drawn_item["picture"] = encode_data_uri(input.draw_record(record)) or ""
                drawn_item["sound"] = encode_sound_uri(input.encode_wav(record))
        elif not isinstance(input, TokenSplitter):
            with contextlib.suppress(DataError):  # readable when it was scored, but not any more
                drawn_item["picture"] = self._draw_row(row) or ""
        elif weighted:
            decision = item.get("decision", {})
            drawn_item["words"] = compute_word_importance(
                self._predictor, input.split_tokens, source, **decision
            )
        else:
            drawn_item["words"] = [[part, 0.0] for part in input.split_tokens(source)[0]]
        return drawn_item

    def _link_to(self, source: FileRef) -> str:
        """The sample's own file, relative to the run folder; "" for a part of a file."""
        if source.member is not None:
            return ""
        path = os.path.relpath(source.path.absolute(), self.bundle.parent.absolute())
        return "./" * (not path.startswith("..")) + quote(os.fsencode(path))

    def _draw_row(self, row: int) -> str | None:
        """A row as a data URI; None if it is not an image. DataError if it cannot be read."""
        source = self.context.manifest.source_at(row)
        record = self.context.input.decode(source).value
        task = self.context.task
        if not isinstance(task, PredictionDrawing):
            return encode_data_uri(record)
        (answer,) = self._predictor.predict([source])
        if isinstance(answer, Failure):
            raise DataError(answer.error)
        truth = self._load_target(self.context.manifest.table["target"][row].as_py())
        return encode_data_uri(
            task.draw_prediction(to_display(record), answer, truth), MAX_WIDE_SIDE
        )
