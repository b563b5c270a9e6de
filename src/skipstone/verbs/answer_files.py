"""Answers as files: masks and overlays, one set a picture, in place once all are there; or one
table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from skipstone import storage
from skipstone.data.sources import Source
from skipstone.errors import UsageError
from skipstone.inputs.shown import shown
from skipstone.runtime.predictor import Failure, Predictor
from skipstone.tasks.base import FileRendering, Prediction, Task
from skipstone.verbs.kept_answers import KeptAnswers
from skipstone.verbs.places import refuse_filled


def answer_folder(out: str | Path, task: Task) -> Path:
    """Where files go. UsageError where the task has none, or where something is there already."""
    if not isinstance(task, FileRendering):
        raise UsageError(
            f"--out is for answers that are files, such as masks; those of {task.name!r} are "
            "words and numbers.",
            hint="A table of them: --out answers.csv",
        )
    folder = Path(out)
    refuse_filled(folder)
    return folder


def write_answers(
    predictor: Predictor, named: Sequence[tuple[Source, Path]], folder: Path, kept: KeptAnswers
) -> list[Prediction | Failure]:
    """Answer each file and write what the task makes of it under its path below `folder`, which is
    there once all of them are written, and not before.

    Args:
        kept: those that were answered before; they are not answered again.

    Returns the answers without their arrays; their fields tell the files.
    """
    task = predictor.task
    assert isinstance(task, FileRendering), task.name  # see `answer_folder`
    stems = _stems([below for _, below in named])
    with kept, storage.write_folder(folder, fresh=True, kept=kept.folder) as new:
        rest = list(zip(named, stems, strict=True))[len(kept.answers) :]
        stream = predictor.stream([source for (source, _), _ in rest])
        for ((source, _), stem), answer in zip(rest, stream, strict=True):
            if isinstance(answer, Failure):
                kept.add(answer)
                continue
            picture = shown(predictor.input.decode(source).value)
            fields = dict(answer.fields)
            for name, (ending, content) in task.render_files(picture, answer).items():
                place = stem.with_name(stem.name + ending)
                storage.make_folder((new / place).parent)
                storage.write_bytes(new / place, content)
                fields[name] = str(folder / place)
            kept.add(replace(answer, fields=fields))
    kept.done()
    return kept.answers


def _stems(paths: Sequence[Path]) -> list[Path]:
    """Paths without their endings, each once: a.jpg may lie beside a.png, and two folders may hold
    the same names."""
    taken: dict[Path, None] = {}
    for path in paths:
        stem, number = path.with_suffix(""), 1
        while stem in taken:
            number += 1
            stem = path.with_name(f"{path.stem}-{number}")
        taken[stem] = None
    return list(taken)


def is_table(out: str | Path) -> bool:
    """Whether `--out` names a table of the answers."""
    return Path(out).suffix.lower() == ".csv"


def new_table(out: str | Path) -> Path:
    """UsageError where something is there already."""
    path = Path(out)
    if path.exists():
        raise UsageError(
            f"--out {path} is there already; nothing is overwritten.", hint="Name another file."
        )
    return path


def write_table(path: Path, predictions: Sequence[Mapping[str, Any]]) -> None:
    """One line an answer; several labels of one are separated by semicolons. What UTF-8 cannot hold
    (names of files that are no UTF-8) stands as escapes."""
    names = list(dict.fromkeys(name for row in predictions for name in row))
    names = [name for name in names if name != "error"] + ["error"] * ("error" in names)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in predictions:
        writer.writerow([_cell(row.get(name, "")) for name in names])
    storage.make_folder(path.parent)
    storage.write_bytes(path, text.getvalue().encode("utf-8", "backslashreplace"))


def _cell(value: Any) -> Any:
    """Several values are separated by semicolons; of a label and its probability by "="."""
    if isinstance(value, Mapping):
        return "=".join(str(_cell(item)) for item in value.values())
    return ";".join(str(_cell(v)) for v in value) if isinstance(value, (list, tuple)) else value
