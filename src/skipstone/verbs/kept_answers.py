"""What `predict` has answered so far, kept beside what it will write: the same command goes on.

answers.csv.unfinished.jsonl   what is answered, then some answers a line
masks.unfinished/              the files, where answers are files
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from skipstone import storage
from skipstone.bundle.files import RECORD
from skipstone.data.samples import Meta
from skipstone.data.sources import FileRef, Inline, Source
from skipstone.errors import DamagedError, UsageError
from skipstone.events import note
from skipstone.runtime.predictor import Failure
from skipstone.tasks.base import Prediction

_EVERY = 5.0  # seconds between two lines


def question(bundle: Path, runtime: str, sources: Iterable[Source]) -> dict[str, str]:
    """What makes answers the same: the model, what runs it, and the sources, by their files' sizes
    and times of change."""
    digest, stats = hashlib.sha256(), dict[Path, str]()
    for source in sources:
        digest.update(_identity(source, stats) + b"\n")
    model = storage.file_sha256(bundle / RECORD)
    return {"model": model, "runtime": runtime, "sources": digest.hexdigest()}


def _identity(source: Source, stats: dict[Path, str]) -> bytes:
    if isinstance(source, Inline):
        data = source.data
        if isinstance(data, np.ndarray):
            data = f"{data.dtype.str} {data.shape}".encode() + data.tobytes()
        data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        return f"{source.name!r} {hashlib.sha256(data).hexdigest()}".encode()
    if source.path not in stats:
        stats[source.path] = _stamp(source.path)
    where = FileRef(source.path.absolute(), source.member, source.cells)
    return f"{where!r} {stats[source.path]}".encode()


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "not there"
    return f"{found.st_size} {found.st_mtime_ns}"


class KeptAnswers:
    """The answers to the first of some sources, in their order.

    A line says at which source it begins. So what two commands at once may write to one file is
    never taken for answers to other sources. A table that is soon answered leaves no line.

    Args:
        out: what will be written.
        to: what is answered, as `question` has it; answers to anything else are dropped.
        count: of sources.
        files: whether answers are files.
    """

    def __init__(self, out: Path, to: Mapping[str, str], count: int, *, files: bool) -> None:
        self._file = out.absolute().with_name(f"{out.absolute().name}.unfinished.jsonl")
        self._to, self._count = dict(to), count
        self._keeps = not out.exists()  # an empty folder is filled all at once, or stays empty
        #: Where files are kept. It never is there without the list of them.
        self.folder = self._file.with_suffix("") if files and self._keeps else None
        self.answers: list[Prediction | Failure] = []
        self._written = 0
        self._began = time.monotonic()

    def __enter__(self) -> KeptAnswers:
        """Raises DamagedError where what was kept is not as it was written, UsageError where
        something of another origin is in its place."""
        if not self._keeps:
            return self
        if self._file.exists():
            lost = self.folder is not None and not self.folder.is_dir()
            self.answers = [] if lost else self._read()
            self._written = len(self.answers)
            if self.answers:
                note(f"{self._said()} are there from before ({self._file.name}); going on")
            else:
                self.done()
        elif self.folder is not None and self.folder.exists():
            raise UsageError(
                f"{self.folder} is in the way: files are kept there until all are answered.",
                hint="Move it away, or name another folder: --out DIR",
            )
        if self.folder is not None and not self.answers:
            self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or not self._keeps:
            return
        with contextlib.suppress(OSError):  # the disk may be what is full
            self._write()
            if not self._written:
                self.done()
        if self._written:
            note(f"{self._said()} are kept ({self._file.name})")

    def add(self, answer: Prediction | Failure) -> None:
        """Without its arrays: masks of thousands of photos would fill the memory."""
        at = len(self.answers)
        if isinstance(answer, Failure):
            self.answers.append(replace(answer, index=at))
        else:
            self.answers.append(replace(answer, meta=replace(answer.meta, id=at), scores={}))
        if time.monotonic() - self._began > _EVERY:
            self._write()

    def done(self) -> None:
        """Nothing of it is needed any more."""
        if self._keeps:
            if self.folder is not None and self.folder.is_dir():
                shutil.rmtree(self.folder)
            storage.remove_file(self._file)

    def _said(self) -> str:
        return f"{self._written:,} of {self._count:,} answers"

    def _begin(self) -> None:
        storage.make_folder(self._file.parent)
        storage.append_line(self._file, json.dumps(self._to))

    def _write(self) -> None:
        if self._keeps and len(self.answers) > self._written:
            if self.folder is None and not self._written:
                self._begin()
            rows = [_row(answer) for answer in self.answers[self._written :]]
            storage.append_line(self._file, json.dumps({"from": self._written, "answers": rows}))
            self._written = len(self.answers)
        self._began = time.monotonic()

    def _read(self) -> list[Prediction | Failure]:
        found: list[Prediction | Failure] = []
        try:
            lines = [json.loads(line) for line in storage.read_lines(self._file)]
            if not lines:  # killed while the first was written
                return []
            first, *rest = lines
            if first.keys() != self._to.keys():
                raise KeyError("first line")
            if first != self._to:
                note(f"{self._file.name} answers something else, and is replaced")
                return []
            for line in rest:
                if line.get("from") == len(found):
                    found += [_answer(row, len(found) + n) for n, row in enumerate(line["answers"])]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(
                f"{self._file} is not as it was written.",
                hint="Remove it; the command begins anew.",
            ) from error
        return found


def _row(answer: Prediction | Failure) -> dict[str, Any]:
    if isinstance(answer, Failure):
        return {"name": answer.name, "error": answer.error}
    return {"name": answer.meta.name, "size": answer.meta.size, "fields": dict(answer.fields)}


def _answer(row: Mapping[str, Any], at: int) -> Prediction | Failure:
    if "error" in row:
        return Failure(row["name"], row["error"], at)
    return Prediction(Meta(at, row["name"], size=tuple(row["size"])), row["fields"], {})
