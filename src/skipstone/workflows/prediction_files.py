"""Write predictions: masks and overlays for each image, or one table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from skipstone.bundle.output_paths import reject_nonempty_folder
from skipstone.core import storage
from skipstone.core.errors import UsageError
from skipstone.data.sources import Source
from skipstone.image.preview import to_display
from skipstone.inference.predictor import Failure, Predictor
from skipstone.tasks.base import FileRendering, Prediction, Task
from skipstone.workflows.partial_predictions import PartialPredictions


def prepare_output_folder(out: str | Path, task: Task) -> Path:
    """The output folder. UsageError if the task predicts no files, or if it is not empty."""
    if not isinstance(task, FileRendering):
        raise UsageError(
            "--out FOLDER is for predicted files, such as masks; "
            f"{task.name!r} predicts labels and numbers.",
            hint="For a table of the predictions: --out answers.csv",
        )
    folder = Path(out)
    reject_nonempty_folder(folder)
    return folder


def write_predictions(
    predictor: Predictor,
    named: Sequence[tuple[Source, Path]],
    folder: Path,
    kept: PartialPredictions,
) -> list[Prediction | Failure]:
    """Predict each file and write its output files under its relative path in `folder`. The folder
    appears only when all of them are written.

    Args:
        kept: predictions from an interrupted call; those files are not predicted again.

    Returns the predictions without their arrays; their fields name the output files.
    """
    task = predictor.task
    assert isinstance(task, FileRendering), task.name  # see `prepare_output_folder`
    stems = _stems([below for _, below in named])
    with kept, storage.write_folder(folder, must_be_new=True, temporary_folder=kept.folder) as new:
        rest = list(zip(named, stems, strict=True))[len(kept.predictions) :]
        stream = predictor.stream_predictions([source for (source, _), _ in rest])
        for ((source, _), stem), answer in zip(rest, stream, strict=True):
            if isinstance(answer, Failure):
                kept.add_prediction(answer)
                continue
            picture = to_display(predictor.input.decode(source).value)
            fields = dict(answer.fields)
            for name, (ending, content) in task.render_files(picture, answer).items():
                path = stem.with_name(stem.name + ending)
                storage.make_folder((new / path).parent)
                storage.write_bytes(new / path, content)
                fields[name] = str(folder / path)
            kept.add_prediction(replace(answer, fields=fields))
    kept.discard()
    return kept.predictions


def _stems(paths: Sequence[Path]) -> list[Path]:
    """Unique paths without their endings: a.jpg and a.png may be in one folder, and two folders may
    contain the same names."""
    taken: dict[Path, None] = {}
    for path in paths:
        stem, number = path.with_suffix(""), 1
        while stem in taken:
            number += 1
            stem = path.with_name(f"{path.stem}-{number}")
        taken[stem] = None
    return list(taken)


def is_table_path(out: str | Path) -> bool:
    """Whether `--out` names a table of predictions."""
    return Path(out).suffix.lower() == ".csv"


def prepare_output_table(out: str | Path) -> Path:
    """The table's path. UsageError if it exists."""
    path = Path(out)
    if path.exists():
        raise UsageError(f"--out {path} exists; nothing is overwritten.", hint="Name another file.")
    return path


def write_prediction_table(path: Path, predictions: Sequence[Mapping[str, Any]]) -> None:
    """One line per prediction; several labels are separated by semicolons. File names that are not
    UTF-8 are written with escapes."""
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
    """Several values are joined by semicolons, a label and its probability by "="."""
    if isinstance(value, Mapping):
        return "=".join(str(_cell(item)) for item in value.values())
    return ";".join(str(_cell(v)) for v in value) if isinstance(value, (list, tuple)) else value
