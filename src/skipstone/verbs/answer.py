"""evaluate and predict: what a model says of data, with and without labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.bundle.locate import names_model
from skipstone.data.file_types import passed_over_name
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.errors import UsageError, did_you_mean
from skipstone.events import note
from skipstone.proof.intervals import Estimate
from skipstone.runtime.open import open_model
from skipstone.runtime.predictor import Failure
from skipstone.settings import Settings
from skipstone.tasks.base import Prediction
from skipstone.verbs.answer_files import answer_folder, write_answers
from skipstone.verbs.scores import Scores, score


@dataclass(frozen=True)
class EvaluateResult:
    """Scores of a model on labelled data. Exit code 1 when files could not be read."""

    scores: Scores
    runtime: str
    titles: dict[str, str]

    @property
    def metrics(self) -> dict[str, Estimate]:
        return self.scores.metrics

    @property
    def exit_code(self) -> int:
        evaluation = self.scores.evaluation
        return 1 if evaluation is not None and evaluation.failures else 0

    def to_json(self) -> dict[str, Any]:
        evaluation = self.scores.evaluation
        assert evaluation is not None
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
    predictor = open_model(model, runtime)
    options = Settings(settings or {}).options(ReadOptions)
    manifest = read_manifest(data, options)
    for sentence in manifest.notes:
        note(sentence)
    name = "all rows"
    splits = sorted({given for given in manifest.column("split") if given})
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
        )
    scores = score(predictor.task, evaluation, manifest, role=name, seed=seed)
    titles = {metric.name: metric.title for metric in predictor.task.metrics()}
    return EvaluateResult(scores, predictor.runtime.name, titles)


@dataclass(frozen=True)
class PredictResult:
    """One answer a file, in order; bad files have an error. Exit code 1 when there are any."""

    answers: list[Prediction | Failure]
    runtime: str
    out: Path | None = None

    @property
    def exit_code(self) -> int:
        return int(any(isinstance(answer, Failure) for answer in self.answers))

    def to_json(self) -> dict[str, Any]:
        return {
            "runtime": self.runtime,
            **({} if self.out is None else {"out": str(self.out)}),
            "predictions": [
                {"path": answer.name, "error": answer.error}
                if isinstance(answer, Failure)
                else {"path": answer.meta.name, **answer.fields}
                for answer in self.answers
            ],
        }


def predict(
    model: Path,
    sources: Sequence[str | Path],
    *,
    runtime: str = "auto",
    out: str | Path | None = None,
) -> PredictResult:
    """What `model` says of files, and of every file in folders.

    Args:
        out: folder for answers that are files themselves (masks); nothing is overwritten.
    """
    for source in sources:
        refuse_swapped(model, Path(source))
    predictor = open_model(model, runtime)
    named = list(_files(sources))
    if out is None:
        return PredictResult(predictor.predict([file for file, _ in named]), predictor.runtime.name)
    folder = answer_folder(out, [Path(source) for source in sources], predictor.task)
    answers = write_answers(predictor, named, folder)
    return PredictResult(answers, predictor.runtime.name, folder)


def refuse_swapped(model: Path, data: Path) -> None:
    """`skipstone predict photo.jpg runs/001`: say what was probably meant."""
    if not names_model(model) and names_model(data):
        raise UsageError(
            f"{model} is no model, but {data} is: the two are swapped.",
            hint=f"The model comes first: {data} {model}",
        )


def _files(sources: Sequence[str | Path]) -> list[tuple[Path, Path]]:
    """Each file, and its path below the folder that was given (its name, where it was given)."""
    found: list[tuple[Path, Path]] = []
    for given in sources:
        path = Path(given)
        if path.is_dir():
            inside = sorted(_walk(path))
            if not inside:
                raise UsageError(f"{path} is an empty folder; there is nothing to predict.")
            found += [(file, file.relative_to(path)) for file in inside]
        elif not path.exists() and any(char in str(given) for char in "*?["):
            raise UsageError(
                f"no file matches {given}: the shell passed the pattern on as it is.",
                hint=f"See what is there: ls {path.parent}",
            )
        else:
            found.append(
                (path, Path(path.name))
            )  # a missing file is one error row; the rest goes on
    return found


def _walk(folder: Path) -> list[Path]:
    return [
        Path(root) / name
        for root, folders, names in os.walk(folder)
        for name in names
        if passed_over_name(name) is None and not _hidden(folders)
    ]


def _hidden(folders: list[str]) -> bool:
    folders[:] = sorted(name for name in folders if not name.startswith("."))
    return False
