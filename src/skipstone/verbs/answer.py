"""evaluate and predict: score a model on labelled data, and predict without labels."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skipstone.bundle.files import read_record
from skipstone.bundle.locate import bundle_of, names_model
from skipstone.data.asked import STANDARD_INPUT, Asked, asked
from skipstone.data.options import ASKED, ReadOptions
from skipstone.data.read import read_manifest
from skipstone.errors import UsageError, did_you_mean
from skipstone.events import note
from skipstone.proof.intervals import Estimate
from skipstone.registry import INPUTS, resolve_target
from skipstone.runtime.open import open_model
from skipstone.runtime.predictor import Failure, Predictor
from skipstone.settings import Settings
from skipstone.tasks.base import Metric, Prediction
from skipstone.train.leakage import warn_of_leakage
from skipstone.verbs.answer_files import (
    answer_folder,
    is_table,
    new_table,
    write_answers,
    write_table,
)
from skipstone.verbs.kept_answers import KeptAnswers, question
from skipstone.verbs.places import refuse_inside
from skipstone.verbs.scores import Scores, score
from skipstone.verbs.told import figures, first, told


@dataclass(frozen=True)
class EvaluateResult:
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
        failed, unknown = len(self.scores.evaluation.failures), self.scores.evaluation.unknown
        facts = {"on": self.scores.split, **figures(self.metrics, self.measures)}
        counts = {"unreadable": failed or None, "unknown labels": sum(unknown.values()) or None}
        return told(self, {**facts, **counts, "runtime": self.runtime})

    def to_json(self) -> dict[str, Any]:
        evaluation = self.scores.evaluation
        return {
            "split": self.scores.split,
            "runtime": self.runtime,
            "metrics": {name: value.to_json() for name, value in self.metrics.items()},
            "errors": [{"path": bad.name, "error": bad.error} for bad in evaluation.failures],
            "unknown_labels": evaluation.unknown,
        }


def evaluate(
    model: Path,
    data: Path,
    *,
    split: str | None = None,
    runtime: str = "auto",
    seed: int = 0,
    settings: dict[str, Any] | None = None,
) -> EvaluateResult:
    """Score `model` on labelled data, with or without split folders; labels match by name."""
    refuse_swapped(model, data)
    given = Settings(settings)
    options = given.options(ReadOptions)
    given.check_taken("evaluate")
    folder = bundle_of(model)
    predictor = open_model(folder, runtime)
    manifest = read_manifest(data, options)
    for sentence in manifest.notes:
        note(sentence)
    name = "all rows"
    splits = sorted({word for word in manifest.column("split") if word})
    if split is not None:
        wanted = {"val": "validation", "valid": "validation"}.get(split.lower(), split.lower())
        if wanted not in splits:
            raise UsageError(
                f"{data} has no split {split!r}"
                + (f"; it has {', '.join(splits)}." if splits else "; it has none."),
                hint=did_you_mean(split, splits) if splits else "Leave --split out.",
            )
        manifest, name = manifest.where("split", wanted), wanted
    elif splits:
        name = " + ".join(splits)
        note(f"Scoring all splits ({name}); --split NAME scores one.")
    evaluation = predictor.evaluate(manifest)
    if not evaluation.records:
        raise UsageError(
            f"no row of {data} could be scored: "
            f"{len(evaluation.failures)} unreadable, "
            f"{sum(evaluation.unknown.values())} with labels that the model does not know "
            f"(it knows {', '.join(map(str, predictor.task.schema.get('classes', ())))}).",
            hint="Labels match by name: rename those of the data, or learn them: skipstone train "
            "DATA --from MODEL. Without labels: "
            + shlex.join(["skipstone", "predict", str(model), str(data)]),
        )
    warn_of_leakage(model, folder, manifest, evaluation.rows)
    scores = score(predictor.task, evaluation, manifest, role=name, seed=seed)
    return EvaluateResult(scores, predictor.runtime.name, tuple(predictor.task.metrics()))


@dataclass(frozen=True)
class PredictResult:
    """One prediction or failure per source, in order. Exit code 1 if there are failures.

    Args:
        rows: for each prediction its row of a table, or None.
        out: the folder or table that was written.
    """

    answers: list[Prediction | Failure]
    runtime: str
    out: Path | None = None
    rows: tuple[int | None, ...] = ()

    @property
    def exit_code(self) -> int:
        return int(any(isinstance(answer, Failure) for answer in self.answers))

    def __repr__(self) -> str:
        answers = {f"answer {index}": answer for index, answer in enumerate(self.answers)}
        facts = {"written": self.out, "runtime": self.runtime}
        return told(self, {**first(answers, "answers"), **facts})

    def to_json(self) -> dict[str, Any]:
        return {
            "runtime": self.runtime,
            **({} if self.out is None else {"out": str(self.out)}),
            "predictions": [
                _to_json(answer, row)
                for answer, row in zip(
                    self.answers, self.rows or [None] * len(self.answers), strict=True
                )
            ],
        }


def _to_json(answer: Prediction | Failure, row: int | None) -> dict[str, Any]:
    name = answer.name if isinstance(answer, Failure) else answer.meta.name
    fields = {"error": answer.error} if isinstance(answer, Failure) else answer.fields
    return {"path": name, **({} if row is None else {"row": row}), **fields}


def predict(
    model: Path,
    sources: Sequence[str | Path] = (),
    *,
    texts: Sequence[str] = (),
    runtime: str = "auto",
    out: str | Path | None = None,
    settings: dict[str, Any] | None = None,
) -> PredictResult:
    """Predict for files, for every file in folders, and for every row of tables.

    Args:
        sources: "-" stands for the lines of standard input: texts, or paths.
        texts: texts themselves, for a model whose input is text.
        out: a `.csv` file for a table of predictions, or a folder for predictions that are files
            (masks); not inside a source. Nothing is overwritten. If it is stopped, finished
            predictions are kept next to it, and the same call resumes.
        settings: how tables are read, by the names in `ASKED`.
    """
    for source in sources:
        if str(source) != STANDARD_INPUT:
            refuse_swapped(model, Path(source))
            if out is not None:
                refuse_inside(Path(out), Path(source), "--out")
    given = Settings(settings)
    given.check_taken("predict", ASKED)
    options = given.options(ReadOptions, bad_bytes="replace")
    bundle = bundle_of(model)
    predictor = open_model(bundle, runtime)
    entry = INPUTS[read_record(bundle)["input"]["name"]]
    facts = entry.facts
    unfit = resolve_target(facts["unfit"]) if "unfit" in facts else None
    items = asked(
        sources,
        texts,
        input=entry.name,
        rows=facts.get("rows"),
        options=options,
        unfit=unfit,
    )
    readable = [item for item in items if not item.problem]
    sources_to_read = [item.source for item in readable]
    if out is None:
        stream = predictor.stream(sources_to_read)
        return _result(predictor, items, map(_without_arrays, stream), None)
    key = question(bundle, predictor.runtime.name, sources_to_read)
    partial = KeptAnswers(Path(out), key, len(readable), files=not is_table(out))
    if not is_table(out):
        folder = answer_folder(out, predictor.task)
        named = [(item.source, item.below) for item in readable]
        return _result(predictor, items, write_answers(predictor, named, folder, partial), folder)
    table = new_table(out)
    with partial:
        for answer in predictor.stream(sources_to_read[len(partial.answers) :]):
            partial.add(answer)
        result = _result(predictor, items, partial.answers, table)
        write_table(table, result.to_json()["predictions"])
    partial.done()
    return result


def _result(
    predictor: Predictor,
    items: Sequence[Asked],
    answers: Iterable[Prediction | Failure],
    out: Path | None,
) -> PredictResult:
    """Put failures of items with a problem between `answers` to the others."""
    remaining = iter(answers)
    merged = [
        Failure(item.source.name, item.problem) if item.problem else next(remaining)
        for item in items
    ]
    return PredictResult(merged, predictor.runtime.name, out, tuple(item.row for item in items))


def _without_arrays(answer: Prediction | Failure) -> Prediction | Failure:
    return answer if isinstance(answer, Failure) else replace(answer, scores={})


def refuse_swapped(model: Path, data: Path) -> None:
    """Refuse `skipstone predict photo.jpg runs/001` and print the right order."""
    if not names_model(model) and names_model(data):
        raise UsageError(
            f"{model} is not a model, but {data} is: model and data are swapped.",
            hint=f"The model comes first: {shlex.join([str(data), str(model)])}",
        )
