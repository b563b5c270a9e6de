"""evaluate and predict: score a model on labelled data, and predict without labels."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skipstone.bundle.files import read_bundle_json
from skipstone.bundle.locate import resolve_bundle, resolves_to_bundle
from skipstone.bundle.output_paths import reject_path_inside_data
from skipstone.core.errors import DataError, UsageError, did_you_mean
from skipstone.core.events import emit_note
from skipstone.core.registry import INPUTS
from skipstone.core.results import TableResult
from skipstone.core.settings import Settings
from skipstone.data.options import TABLE_SOURCE_OPTIONS, ReadOptions
from skipstone.data.predict_inputs import STANDARD_INPUT, PredictItem, list_predict_items
from skipstone.data.read import read_manifest
from skipstone.datasets.leakage import warn_of_leakage
from skipstone.datasets.options import count_allowed
from skipstone.evaluation.intervals import Estimate
from skipstone.evaluation.scores import Scores, compute_scores, limit_unreadable
from skipstone.inference.open_model import open_model
from skipstone.inference.predictor import Failure, Predictor
from skipstone.inference.tiled_predictor import TiledPredictor
from skipstone.inputs.base import Input, Windowed
from skipstone.inputs.multi_input import list_inputs
from skipstone.tasks.base import Metric, Prediction, Task
from skipstone.workflows.prediction_files import (
    PartialPredictions,
    is_document_path,
    prediction_key,
    prepare_output_folder,
    prepare_output_table,
    refuse_finished_predictions,
    write_prediction_document,
    write_predictions,
)
from skipstone.workflows.run_result import (
    format_metrics,
    format_result,
    format_skill,
    limit_facts,
    metric_table_rows,
    skill_to_json,
)


@dataclass(frozen=True)
class EvaluateResult(TableResult):
    """Scores of a model on labelled data; `measures` says what they are. Exit code 1 when files
    could not be read."""

    scores: Scores
    runtime: str
    measures: tuple[Metric, ...]

    @property
    def metrics(self) -> dict[str, Estimate]:
        return self.scores.metrics

    @property
    def exit_code(self) -> int:
        return 1 if self.scores.evaluation.failures else 0

    def __repr__(self) -> str:
        failed, unknown = (
            len(self.scores.evaluation.failures),
            self.scores.evaluation.unknown_labels,
        )
        metrics = format_metrics(self.metrics, self.measures)
        facts = {"on": self.scores.split, **metrics, **format_skill(self.scores)}
        counts = {"unreadable": failed or None, "unknown labels": sum(unknown.values()) or None}
        return format_result(self, {**facts, **counts, "runtime": self.runtime})

    def table_rows(self) -> list[dict[str, Any]]:
        return metric_table_rows(self.metrics)

    def to_json(self) -> dict[str, Any]:
        evaluation = self.scores.evaluation
        return {
            "split": self.scores.split,
            "runtime": self.runtime,
            "metrics": {name: value.to_json() for name, value in self.metrics.items()},
            **skill_to_json(self.scores),
            "errors": [{"path": bad.name, "error": bad.error} for bad in evaluation.failures],
            "unknown_labels": evaluation.unknown_labels,
        }


def evaluate(
    model: Path,
    data: Path,
    *,
    split: str | None = None,
    runtime: str = "auto",
    seed: int = 0,
    max_bad: str | None = None,
    settings: dict[str, Any] | None = None,
) -> EvaluateResult:
    """Score `model` on labelled data, with or without split folders; labels match by name.

    Raises:
        DataError: more rows than `max_bad` cannot be read; None allows any number.
    """
    reject_swapped_arguments(model, data)
    given = Settings(settings)
    options = given.make_options(ReadOptions)
    given.reject_unknown_for_command("evaluate")
    folder = resolve_bundle(model)
    predictor = open_model(folder, runtime)
    manifest = read_manifest(data, options)
    for sentence in manifest.notes:
        emit_note(sentence)
    name = "all rows"
    splits = sorted({word for word in manifest.column_values("split") if word})
    if split is not None:
        wanted = {"val": "validation", "valid": "validation"}.get(split.lower(), split.lower())
        if wanted not in splits:
            raise UsageError(
                f"{data} has no split {split!r}"
                + (f"; it has {', '.join(splits)}." if splits else "; it has none."),
                hint=did_you_mean(split, splits) if splits else "Leave --split out.",
            )
        manifest, name = manifest.filter_rows("split", wanted), wanted
    elif splits:
        name = " + ".join(splits)
        emit_note(f"Scoring all splits ({name}); --split NAME scores one.")
    evaluation = predictor.evaluate(manifest)
    if not evaluation.records:
        raise UsageError(
            f"no row of {data} could be scored: "
            f"{len(evaluation.failures)} unreadable, "
            f"{sum(evaluation.unknown_labels.values())} with labels that the model does not know "
            f"(it knows {', '.join(map(str, predictor.task.schema.get('classes', ())))}).",
            hint="Labels match by name: rename those of the data, or learn them: skipstone train "
            "DATA --from MODEL. Without labels: "
            + shlex.join(["skipstone", "predict", str(model), str(data)]),
        )
    warn_of_leakage(model, folder, manifest, evaluation.rows)
    unread = limit_unreadable(evaluation, len(manifest), count_allowed(max_bad, len(manifest)))
    scores = compute_scores(
        predictor.task, evaluation, manifest, role=name, seed=seed, split=name + unread
    )
    return EvaluateResult(scores, predictor.runtime.name, tuple(predictor.task.list_metrics()))


@dataclass(frozen=True)
class PredictResult(TableResult):
    """One prediction or failure per source, in order. Exit code 1 if there are failures.

    Args:
        rows: for each prediction its row of a table, or None.
        windows: for each prediction the (begin, end) in seconds of its part of a recording, or
            None.
        out: the folder or table that was written.
    """

    predictions: list[Prediction | Failure]
    runtime: str
    out: Path | None = None
    rows: tuple[int | None, ...] = ()
    windows: tuple[tuple[float, float] | None, ...] = ()

    @property
    def exit_code(self) -> int:
        return int(any(isinstance(answer, Failure) for answer in self.predictions))

    def __repr__(self) -> str:
        answers = {f"answer {index}": answer for index, answer in enumerate(self.predictions)}
        facts = {"written": self.out, "runtime": self.runtime}
        return format_result(self, {**limit_facts(answers, "answers"), **facts})

    def table_rows(self) -> list[dict[str, Any]]:
        """Without the lists of candidates."""
        return [
            {
                name: ", ".join(map(str, value)) if isinstance(value, list) else value
                for name, value in row.items()
                if name not in ("top", "probabilities")
            }
            for row in self.to_json()["predictions"]
        ]

    def to_json(self) -> dict[str, Any]:
        empty = [None] * len(self.predictions)
        return {
            "runtime": self.runtime,
            **({} if self.out is None else {"out": str(self.out)}),
            "predictions": [
                _to_json(answer, row, window)
                for answer, row, window in zip(
                    self.predictions, self.rows or empty, self.windows or empty, strict=True
                )
            ],
        }


def _to_json(
    answer: Prediction | Failure, row: int | None, window: tuple[float, float] | None
) -> dict[str, Any]:
    name = answer.name if isinstance(answer, Failure) else answer.meta.name
    fields = {"error": answer.error} if isinstance(answer, Failure) else answer.fields
    place = {} if window is None else {"begin": window[0], "end": window[1]}
    return {"path": name, **({} if row is None else {"row": row}), **place, **fields}


def predict(
    model: Path,
    sources: Sequence[str | Path] = (),
    *,
    texts: Sequence[str] = (),
    runtime: str = "auto",
    out: str | Path | None = None,
    raw_cells: bool = False,
    tiles: int | None = None,
    settings: dict[str, Any] | None = None,
) -> PredictResult:
    """Predict for files, for every file in folders, and for every row of tables.

    Args:
        sources: "-" stands for the lines of standard input: texts, or paths.
        texts: texts themselves, for a model whose input is text.
        out: a `.csv` file for a table of predictions, or a folder for predictions that are files
            (masks); not inside a source. Nothing is overwritten. If it is stopped, finished
            predictions are kept next to it, and the same call resumes; once it is finished, the same
            call raises FinishedAlready.
        raw_cells: whether a table has labels and paths as they are, also where a spreadsheet would
            run them as formulas.
        tiles: side in pixels of overlapping tiles, for boxes in photos that are larger.
        settings: how tables are read, by the names in `TABLE_SOURCE_OPTIONS`.
    """
    _reject_wrong_paths(model, sources, out)
    given = Settings(settings)
    given.reject_unknown_for_command("predict", TABLE_SOURCE_OPTIONS)
    options = given.make_options(ReadOptions, bad_bytes="replace")
    bundle = resolve_bundle(model)
    predictor = open_model(bundle, runtime)
    if tiles is not None:
        predictor = TiledPredictor(predictor, tiles)
    entry = INPUTS[read_bundle_json(bundle)["input"]["name"]]
    items = list_predict_items(sources, texts, input=entry, options=options)
    items = _split_long_items(items, list_inputs(predictor.input)[0])
    readable = [item for item in items if not item.problem]
    sources_to_read = [item.source for item in readable]
    if out is None:
        stream = predictor.stream_predictions(sources_to_read)
        without_arrays = (a if isinstance(a, Failure) else replace(a, scores={}) for a in stream)
        return _result(predictor, items, without_arrays, None)
    method = predictor.runtime.name if tiles is None else f"{predictor.runtime.name}, tiles {tiles}"
    key = prediction_key(bundle, method, sources_to_read)
    origin = refuse_finished_predictions(Path(out), raw=raw_cells, **key)
    is_document = is_document_path(out, predictor.task)
    partial = PartialPredictions(Path(out), key, len(readable), files=not is_document)
    if not is_document:
        folder = prepare_output_folder(out, predictor.task)
        named = [(item.source, item.relative_path) for item in readable]
        answers = write_predictions(predictor, named, folder, partial, origin=origin)
        return _result(predictor, items, answers, folder)
    table = prepare_output_table(out)
    with partial:
        for answer in predictor.stream_predictions(sources_to_read[len(partial.predictions) :]):
            partial.add_prediction(answer)
        result = _result(predictor, items, partial.predictions, table)
        _write_document(table, predictor.task, result, origin, raw=raw_cells)
    partial.discard()
    return result


def _reject_wrong_paths(model: Path, sources: Sequence[str | Path], out: str | Path | None) -> None:
    """UsageError for a source that is the model, and for `out` inside a source."""
    for source in sources:
        if str(source) != STANDARD_INPUT:
            reject_swapped_arguments(model, Path(source))
            if out is not None:
                reject_path_inside_data(Path(out), Path(source), "--out")


def _write_document(
    table: Path, task: Task, result: PredictResult, origin: str, *, raw: bool
) -> None:
    """The table, which is not marked as finished if a file failed: the command may be repeated."""
    rows, mark = result.to_json()["predictions"], "" if result.exit_code else origin
    write_prediction_document(table, task, rows, raw=raw, origin=mark)


def _split_long_items(items: Sequence[PredictItem], input: Input) -> list[PredictItem]:
    """The items, with one for each window of a source that is longer than the model's window."""
    if not isinstance(input, Windowed):
        return list(items)
    parts: list[PredictItem] = []
    for item in items:
        try:
            windows = [] if item.problem else input.list_windows(item.source)
        except DataError:  # predicting reports it
            windows = []
        parts += [
            replace(item, source=window.source, window=(window.begin, window.end))
            for window in windows
        ] or [item]
    return parts


def _result(
    predictor: Predictor,
    items: Sequence[PredictItem],
    answers: Iterable[Prediction | Failure],
    out: Path | None,
) -> PredictResult:
    """Put failures of items with a problem between `answers` to the others."""
    remaining = iter(answers)
    merged = [
        Failure(item.source.name, item.problem) if item.problem else next(remaining)
        for item in items
    ]
    rows = tuple(item.row for item in items)
    windows = tuple(item.window for item in items)
    return PredictResult(merged, predictor.runtime.name, out, rows, windows)


def reject_swapped_arguments(model: Path, data: Path) -> None:
    """Refuse `skipstone predict photo.jpg runs/001` and print the right order."""
    if not resolves_to_bundle(model) and resolves_to_bundle(data):
        raise UsageError(
            f"{model} is not a model, but {data} is: model and data are swapped.",
            hint=f"The model comes first: {shlex.join([str(data), str(model)])}",
        )
