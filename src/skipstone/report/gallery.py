"""Images for a report's galleries: the network's input, with true and predicted labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from skipstone.core.errors import DataError
from skipstone.image.preview import to_display
from skipstone.inference.occlusion_importance import compute_word_importance
from skipstone.inference.open_model import open_model
from skipstone.inference.predictor import Failure, Predictor
from skipstone.inputs.base import TokenSplitter
from skipstone.inputs.multi_input import list_inputs
from skipstone.report.data_uris import MAX_GALLERY_CHARACTERS, MAX_WIDE_SIDE, encode_data_uri
from skipstone.tasks.base import PredictionDrawing
from skipstone.training.plan import TrainContext


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
        """The task's blocks; gallery items get their image and their path in the data folder."""
        return [
            self._with_pictures(block) if block.get("kind") == "gallery" else dict(block)
            for block in sections
        ]

    def _with_pictures(self, block: Mapping[str, Any]) -> dict[str, Any]:
        budget, items = MAX_GALLERY_CHARACTERS, []
        for item in block["items"]:
            row = self._rows[item["id"]]
            picture = ""
            input = list_inputs(self.context.input)[0]  # an ensemble's members split texts alike
            if isinstance(input, TokenSplitter):
                source = self.context.manifest.source_at(row)
                decision = item.get("decision", {})
                words = compute_word_importance(
                    self._predictor, input.split_tokens, source, **decision
                )
                item = {**item, "words": words}
            try:
                uri = None if isinstance(input, TokenSplitter) else self.draw_row(row)
            except DataError:  # readable when it was scored, but not any more
                uri = None
            if uri is not None and len(uri) <= budget:
                picture, budget = uri, budget - len(uri)
            items.append({**item, "name": self._names[row], "picture": picture})
        return {**block, "items": items}

    def draw_row(self, row: int) -> str | None:
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
