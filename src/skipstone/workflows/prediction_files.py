"""Write predictions: masks and overlays for each image, or one table.

An unfinished `predict --out` keeps next to it, so that the same command resumes:

answers.csv.unfinished.jsonl   the key of the command, then a few predictions per line
masks.unfinished/              the files, for predictions that are files
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from skipstone.bundle.files import BUNDLE_JSON
from skipstone.bundle.output_paths import reject_nonempty_folder
from skipstone.core import disk, storage
from skipstone.core.errors import DamagedError, UsageError
from skipstone.core.events import emit_note
from skipstone.core.formatting import format_cell
from skipstone.data.samples import SampleMeta
from skipstone.data.sources import Inline, Source
from skipstone.image.preview import to_display
from skipstone.inference.predictor import Failure, Predictor
from skipstone.tasks.base import DocumentRendering, FileRendering, Prediction, Task

_SAVE_SECONDS = 5.0


def prediction_key(bundle: Path, runtime: str, sources: Iterable[Source]) -> dict[str, str]:
    """Two commands with the same key predict the same: it holds the model's and the sources' hash
    (of files: path, size and time of change)."""
    digest = hashlib.sha256()
    for source in sources:
        identity: tuple[Any, ...]
        if isinstance(source, Inline):
            data: Any = source.data
            array = isinstance(data, np.ndarray)
            identity = source.name, (data.dtype.str, data.shape, data.tobytes()) if array else data
        else:
            path = source.path.absolute()
            with contextlib.suppress(OSError):
                digest.update(f"{path.stat().st_size} {path.stat().st_mtime_ns} ".encode())
            identity = str(path), source.member, source.cells
        digest.update(f"{identity!r}\n".encode("utf-8", "surrogatepass"))
    model = storage.file_sha256(bundle / BUNDLE_JSON)
    return {"model": model, "runtime": runtime, "sources": digest.hexdigest()}


def _unfinished_file(out: Path) -> Path:
    return out.absolute().with_name(f"{out.absolute().name}.unfinished.jsonl")


def refuse_finished_predictions(out: Path, *, raw: bool, **key: str) -> str:
    """The key to mark `out` with. FinishedAlready if the same command has written it, which may have
    been killed since.

    Args:
        key: of `prediction_key`.
    """
    origin = storage.compute_origin(command="predict", raw=raw, **key)
    if disk.has_origin(out, origin):
        storage.remove_file(_unfinished_file(out))
    storage.refuse_finished(out, origin)
    return origin


class PartialPredictions:
    """Predictions of the first sources, in order; a context that saves them when it is left early.

    Each line states the index of its first prediction: lines of a second command that wrote to the
    same file are skipped.

    Args:
        out: the result. If it exists (an empty folder), nothing is kept.
        key: from `question`; predictions with another key are dropped.
        count: number of sources.
        files: whether predictions are files.
    """

    def __init__(self, out: Path, key: Mapping[str, str], count: int, *, files: bool) -> None:
        self._file = _unfinished_file(out)
        self._key, self._count = dict(key), count
        self._active = not out.exists()
        #: Never exists without `_file`.
        self.folder = self._file.with_suffix("") if files and self._active else None
        self.predictions: list[Prediction | Failure] = []
        self._saved = 0
        self._save_time = time.monotonic()

    def __enter__(self) -> PartialPredictions:
        """Raises DamagedError or UsageError if something of another origin is in the way."""
        if not self._active:
            return self
        if not self._file.exists() and self.folder is not None and self.folder.exists():
            raise UsageError(
                f"{self.folder} is in the way: unfinished predictions are kept there.",
                hint="Move it away, or name another folder: --out DIR",
            )
        self.predictions = self._read()
        self._saved = len(self.predictions)
        if self._saved:
            count = f"{self._saved:,} of {self._count:,}"
            emit_note(f"Resuming after {count} predictions ({self._file.name})")
        else:
            storage.make_folder(self._file.parent)
            self.discard()
            storage.append_line(self._file, json.dumps(self._key))
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or not self._active:
            return
        with contextlib.suppress(OSError):  # the disk may be full
            self._save()
            if not self._saved:
                self.discard()
        if self._saved:
            emit_note(
                f"{self._saved:,} of {self._count:,} predictions are kept ({self._file.name})"
            )

    def add_prediction(self, answer: Prediction | Failure) -> None:
        """Drops the arrays: masks of thousands of photos would fill the memory."""
        index = len(self.predictions)
        if isinstance(answer, Failure):
            self.predictions.append(replace(answer, index=index))
        else:
            self.predictions.append(replace(answer, meta=replace(answer.meta, id=index), scores={}))
        if time.monotonic() - self._save_time > _SAVE_SECONDS:
            self._save()

    def discard(self) -> None:
        """Remove what is kept."""
        if self._active:
            if self.folder is not None and self.folder.is_dir():
                shutil.rmtree(self.folder)
            storage.remove_file(self._file)

    def _save(self) -> None:
        rows = [_to_json(answer) for answer in self.predictions[self._saved :]]
        if self._active and rows:
            storage.append_line(self._file, json.dumps({"from": self._saved, "answers": rows}))
            self._saved = len(self.predictions)
        self._save_time = time.monotonic()

    def _read(self) -> list[Prediction | Failure]:
        lines = storage.read_lines(self._file)
        if not lines or (self.folder is not None and not self.folder.is_dir()):
            return []
        answers: list[Prediction | Failure] = []
        try:
            key, *parts = map(json.loads, lines)
            if key.keys() != self._key.keys():
                raise KeyError("the first line")
            if key != self._key:
                emit_note(f"{self._file.name} is of another model or other files: starting again")
                return []
            for part in parts:
                if part["from"] == len(answers):
                    answers += map(_from_json, part["answers"], range(len(answers), self._count))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(
                f"{self._file} is damaged.", hint="Remove it; the command then starts again."
            ) from error
        return answers


def _to_json(answer: Prediction | Failure) -> dict[str, Any]:
    if isinstance(answer, Failure):
        return {"name": answer.name, "error": answer.error}
    return {"name": answer.meta.name, "size": answer.meta.size, "fields": dict(answer.fields)}


def _from_json(row: Mapping[str, Any], index: int) -> Prediction | Failure:
    if "error" in row:
        return Failure(row["name"], row["error"], index)
    return Prediction(SampleMeta(index, row["name"], size=tuple(row["size"])), row["fields"], {})


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
    *,
    origin: str = "",
) -> list[Prediction | Failure]:
    """Predict each file and write its output files under its relative path in `folder`. The folder
    appears only when all of them are written.

    Args:
        kept: predictions from an interrupted call; those files are not predicted again.
        origin: of `storage.compute_origin`; the folder is marked with it, unless a file failed.

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
        if not any(isinstance(answer, Failure) for answer in kept.predictions):
            disk.write_origin(new, origin)
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


def is_document_path(out: str | Path, task: Task) -> bool:
    """Whether `--out` names a table of predictions, or another document of the task."""
    suffixes = task.document_suffixes if isinstance(task, DocumentRendering) else ()
    return Path(out).suffix.lower() in (".csv", *suffixes)


def prepare_output_table(out: str | Path) -> Path:
    """The table's path. UsageError if it exists."""
    path = Path(out)
    if path.exists():
        raise UsageError(f"--out {path} exists; nothing is overwritten.", hint="Name another file.")
    return path


def write_prediction_document(
    path: Path,
    task: Task,
    predictions: Sequence[Mapping[str, Any]],
    *,
    raw: bool = False,
    origin: str = "",
) -> None:
    """The task's document, or a table of the predictions; `origin` as for `storage.write_bytes`."""
    if isinstance(task, DocumentRendering):
        content = task.render_document(path.suffix.lower(), predictions)
    else:
        content = render_prediction_table(predictions, raw=raw)
    storage.make_folder(path.parent)
    storage.write_bytes(path, content, origin=origin)


def render_prediction_table(
    predictions: Sequence[Mapping[str, Any]], *, raw: bool = False
) -> bytes:
    """CSV with one line per prediction; see `_cell` for several values in one cell. File names that
    are not UTF-8 are written with escapes, and so are formulas (`format_cell`) unless `raw`."""
    format_text = str if raw else format_cell
    names = list(dict.fromkeys(name for row in predictions for name in row))
    names = [name for name in names if name != "error"] + ["error"] * ("error" in names)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in predictions:
        cells = [_cell(row.get(name, "")) for name in names]
        writer.writerow([format_text(cell) if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> Any:
    """Several values are joined by semicolons, a name and its number by "=": red=0.9;round=0.1."""
    if isinstance(value, Mapping):
        return ";".join(f"{_quoted(name)}={_quoted(number)}" for name, number in value.items())
    return ";".join(map(_item, value)) if isinstance(value, (list, tuple)) else value


def _item(value: Any) -> str:
    """One of several values: a label, or a label with its probability, and its box."""
    if isinstance(value, Mapping):
        return "=".join(map(_quoted, value.values()))
    return _quoted(value)


def _quoted(value: Any) -> str:
    """A part of a cell, in double quotes where it holds a separator, as CSV quotes a cell."""
    text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    if any(mark in text for mark in ';="\r\n') or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text
