"""Answers that are files: masks and overlays, one set a picture, written as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from skipstone import storage
from skipstone.errors import UsageError
from skipstone.inputs.shown import shown
from skipstone.runtime.predictor import Failure, Predictor, as_source
from skipstone.tasks.base import Prediction, Task
from skipstone.verbs.places import output_folder


def answer_folder(out: str | Path, sources: Sequence[Path], task: Task) -> Path:
    """Where files go. UsageError where the task has none, where something is there already, or
    where that is inside a folder of pictures."""
    if not hasattr(task, "files"):
        raise UsageError(
            f"--out is for answers that are files, such as masks; those of {task.name!r} are "
            "words and numbers.",
            hint="Leave it out; --json gives them all.",
        )
    folder = Path(out)
    for source in sources:
        if source.is_dir():
            folder = output_folder(folder, default="masks", data=source)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"--out {folder} is there already and is not empty; nothing is overwritten.",
            hint="Name another folder.",
        )
    return folder


def write_answers(
    predictor: Predictor, named: Sequence[tuple[Path, Path]], folder: Path
) -> list[Prediction | Failure]:
    """Answer each file and write what the task makes of it under its path below `folder`.

    Returns the answers without their arrays; their fields tell the files.
    """
    taken: set[Path] = set()
    answers: list[Prediction | Failure] = []
    paths = [file for file, _ in named]
    for (file, below), answer in zip(named, predictor.stream(paths), strict=True):
        if isinstance(answer, Failure):
            answers.append(answer)
            continue
        stem, number = folder / below.with_suffix(""), 1
        while stem in taken:  # a.jpg beside a.png, or two folders that hold the same names
            number += 1
            stem = folder / below.with_name(f"{below.stem}-{number}")
        taken.add(stem)
        picture = shown(predictor.input.decode(as_source(file)).value)
        fields = dict(answer.fields)
        for name, (ending, content) in predictor.task.files(picture, answer).items():  # type: ignore[attr-defined]
            place = stem.with_name(stem.name + ending)
            storage.make_folder(place.parent)
            storage.write_bytes(place, content)
            fields[name] = str(place)
        answers.append(replace(answer, fields=fields, scores={}))
    return answers
