"""evaluate and predict: what a model says of data, with and without labels."""

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
from skipstone.verbs.seen import warn_of_seen
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
    warn_of_seen(model, folder, manifest, evaluation.rows)
    scores = score(predictor.task, evaluation, manifest, role=name, seed=seed)
    return EvaluateResult(scores, predictor.runtime.name, tuple(predictor.task.metrics()))


@dataclass(frozen=True)
class PredictResult:
    """One answer a source, in order; bad ones have an error. Exit code 1 when there are any.

    Args:
        rows: of a table, for each answer; None for what is no row.
        out: what was written: a folder of files, or a table of the answers.
    """

    answers: list[Prediction | Failure]
    runtime: str
    out: Path | None = None
    rows: tuple[int | None, ...] = ()

    @property
    def exit_code(self) -> int:
        return int(any(isinstance(answer, Failure) for answer in self.answers))

    def __repr__(self) -> str:
        answers = {f"answer {number}": answer for number, answer in enumerate(self.answers)}
        facts = {"written": self.out, "runtime": self.runtime}
        return told(self, {**first(answers, "answers"), **facts})

    def to_json(self) -> dict[str, Any]:
        return {
            "runtime": self.runtime,
            **({} if self.out is None else {"out": str(self.out)}),
            "predictions": [
                _told(answer, row)
                for answer, row in zip(
                    self.answers, self.rows or [None] * len(self.answers), strict=True
                )
            ],
        }


def _told(answer: Prediction | Failure, row: int | None) -> dict[str, Any]:
    name = answer.name if isinstance(answer, Failure) else answer.meta.name
    rest = {"error": answer.error} if isinstance(answer, Failure) else answer.fields
    return {"path": name, **({} if row is None else {"row": row}), **rest}


def predict(
    model: Path,
    sources: Sequence[str | Path] = (),
    *,
    texts: Sequence[str] = (),
    runtime: str = "auto",
    out: str | Path | None = None,
    settings: dict[str, Any] | None = None,
) -> PredictResult:
    """What `model` says of files, of every file in folders, and of every row of tables.

    Args:
        sources: "-" stands for the lines of standard input: texts, or paths.
        texts: as they are, for a model that reads texts.
        out: a `.csv` file for a table of the answers; or a folder for answers that are files
            themselves (masks); neither inside a source. Nothing is overwritten. What was answered
            when it is stopped is kept beside it, and the same call goes on.
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
    every = asked(
        sources,
        texts,
        input=entry.name,
        rows=facts.get("rows"),
        options=options,
        unfit=unfit,
    )
    good = [item for item in every if not item.problem]
    if out is None:
        stream = predictor.stream([item.source for item in good])
        return _result(predictor, every, map(_without_arrays, stream), None)
    to = question(bundle, predictor.runtime.name, [item.source for item in good])
    kept = KeptAnswers(Path(out), to, len(good), files=not is_table(out))
    if not is_table(out):
        folder = answer_folder(out, predictor.task)
        named = [(item.source, item.below) for item in good]
        return _result(predictor, every, write_answers(predictor, named, folder, kept), folder)
    table = new_table(out)
    with kept:
        for answer in predictor.stream([item.source for item in good[len(kept.answers) :]]):
            kept.add(answer)
        result = _result(predictor, every, kept.answers, table)
        write_table(table, result.to_json()["predictions"])
    kept.done()
    return result


def _result(
    predictor: Predictor,
    every: Sequence[Asked],
    answers: Iterable[Prediction | Failure],
    out: Path | None,
) -> PredictResult:
    """The answers to those that have no problem, among all."""
    left = iter(answers)
    whole = [Failure(a.source.name, a.problem) if a.problem else next(left) for a in every]
    return PredictResult(whole, predictor.runtime.name, out, tuple(item.row for item in every))


def _without_arrays(answer: Prediction | Failure) -> Prediction | Failure:
    return answer if isinstance(answer, Failure) else replace(answer, scores={})


def refuse_swapped(model: Path, data: Path) -> None:
    """`skipstone predict photo.jpg runs/001`: say what was probably meant."""
    if not names_model(model) and names_model(data):
        raise UsageError(
            f"{model} is no model, but {data} is: the two are swapped.",
            hint=f"The model comes first: {shlex.join([str(data), str(model)])}",
        )
