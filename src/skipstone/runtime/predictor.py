"""The Predictor: sources in, predictions out. Whatever answers, answers through here.

Evaluation while training, `predict`, `evaluate`, `verify` and calibration for INT8 differ in the
runtime they hand over and in what they do with the answers, and in nothing else.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from skipstone import events
from skipstone.data.manifest import Manifest
from skipstone.data.samples import Meta
from skipstone.data.sources import FileRef, Inline, Source
from skipstone.errors import DataError
from skipstone.inputs.base import Input, ragged_arrays
from skipstone.runtime.base import Runtime
from skipstone.tasks.base import Post, Prediction, Record, Task

BATCH = 32
#: Numbers in one batch at most (32 photos at 224): larger samples come in smaller batches.
MOST_VALUES = 32 * 224 * 224 * 3
#: Dimensions of an array of pictures: (N, H, W, C).
_SEVERAL = 4
DECODERS = min(4, os.cpu_count() or 1)

#: What a user may hand over: a path, a file's bytes, an array (H, W, C), or a Source.
Given = Source | Path | str | bytes | np.ndarray


@dataclass(frozen=True, slots=True)
class Failure:
    """A source that could not be read. `index` is its place among the sources."""

    name: str
    error: str
    index: int = -1


@dataclass(frozen=True)
class Answers:
    """Outputs of the sources that could be read, in order; metas[i].id is a source's place."""

    outputs: dict[str, np.ndarray]
    metas: list[Meta]
    failures: list[Failure]


@dataclass(frozen=True)
class Evaluation:
    """Records of the rows that could be read and whose labels the model knows, in order.

    Args:
        rows: positions in the manifest of the records.
        groups: the manifest's group of each record, for intervals.
        unknown: labels that the model does not know, with their number of rows.
    """

    records: list[Record]
    failures: list[Failure]
    rows: list[int] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=dict)


class Predictor:
    """An input, a runtime, a task and its post-processing together."""

    def __init__(self, input: Input, runtime: Runtime, task: Task, post: Post) -> None:
        self.input = input
        self.runtime = runtime
        self.task = task
        self.post = post

    def __repr__(self) -> str:
        return f"Predictor({self.task.name}, {self.runtime.name})"

    def outputs(self, sources: Sequence[Given], batch_size: int = BATCH) -> Answers:
        """Raw outputs by name, each (sources that could be read, ...)."""
        parts: list[Mapping[str, np.ndarray]] = []
        answers = Answers({}, [], [])
        for outputs, metas, failures in self._answer(sources, batch_size):
            if metas:
                parts.append(outputs)
            answers.metas.extend(metas)
            answers.failures.extend(failures)
        return replace(answers, outputs=joined(parts))

    def evidence(
        self, manifest: Manifest, batch_size: int = BATCH
    ) -> tuple[dict[str, np.ndarray], list[Any]]:
        """What `Task.calibrate` takes, from every row that can be read: outputs, opened targets."""
        opened, values = self.task.opener(manifest), manifest.column("target")
        parts: list[Mapping[str, np.ndarray]] = []
        targets: list[Any] = []
        for outputs, metas, _ in self._answer(manifest.sources(), batch_size):
            if metas:
                kept = [opened(values[meta.id]) for meta in metas]
                part, more = self.task.evidence(outputs, metas, kept)
                parts.append(part)
                targets += more
        return joined(parts), targets

    def stream(
        self, sources: Sequence[Given], batch_size: int = BATCH
    ) -> Iterator[Prediction | Failure]:
        """One answer a source, in their order, as they come; a bad file gives a Failure and the
        rest goes on."""
        for outputs, metas, failures in self._answer(sources, batch_size):
            answers: dict[int, Prediction | Failure] = {bad.index: bad for bad in failures}
            for prediction in self.task.predict(outputs, metas, self.post) if metas else []:
                answers[prediction.meta.id] = prediction
            yield from (answers[index] for index in sorted(answers))

    def predict(
        self, sources: Given | Iterable[Given], batch_size: int = BATCH
    ) -> list[Prediction | Failure]:
        """All of `stream`; for one source a list of one."""
        every = _listed(sources)
        answers = list(self.stream(every, batch_size))
        assert len(answers) == len(every), "a source went unanswered"
        return answers

    def evaluate(self, manifest: Manifest, batch_size: int = BATCH) -> Evaluation:
        """Score every row whose label the model knows; the others are counted and reported."""
        targets = manifest.column("target")
        ids, groups = manifest.column("id"), manifest.column("group")
        known = [row for row, target in enumerate(targets) if self.task.knows(target)]
        unknown = _count_labels(targets, set(known))
        if unknown:
            shown = ", ".join(f"{label} ({count:,})" for label, count in list(unknown.items())[:5])
            events.warn(
                f"{len(targets) - len(known):,} of {len(targets):,} rows have labels that the "
                f"model does not know, and are not scored: {shown}"
                + (f" and {len(unknown) - 5} more labels" if len(unknown) > 5 else "")
            )
        evaluation = Evaluation([], [], unknown=unknown)
        opened = self.task.opener(manifest)
        every = manifest.sources()
        sources = [every[row] for row in known]
        for outputs, metas, failures in self._answer(sources, batch_size):
            for prediction in self.task.predict(outputs, metas, self.post) if metas else []:
                row = known[prediction.meta.id]
                prediction = replace(prediction, meta=replace(prediction.meta, id=ids[row]))
                try:
                    target = opened(targets[row])
                    record = self.task.score(prediction, target)
                except DataError as error:
                    bad = Failure(prediction.meta.name, str(error), row)
                    evaluation.failures.append(bad)
                    continue
                evaluation.records.append(record)
                evaluation.rows.append(row)
                evaluation.groups.append(groups[row])
            evaluation.failures.extend(
                replace(failure, index=known[failure.index]) for failure in failures
            )
        return evaluation

    def calibrate(self, manifest: Manifest) -> dict[str, Any]:
        """Post-processing that suits these rows; unreadable files are left out. Of very many rows
        those are asked that the task can hold (`max_calibration_rows`), spread evenly."""
        most = self.task.max_calibration_rows
        if most is not None and len(manifest) > most:
            manifest = manifest.take(np.linspace(0, len(manifest) - 1, most).astype(np.int64))
        outputs, targets = self.evidence(manifest)
        return dict(self.task.calibrate(outputs, targets)) if targets else {}

    def encode(self, source: Given) -> tuple[dict[str, np.ndarray], Meta]:
        """One source's arrays, as the runtime gets them but without the batch dimension."""
        source = as_source(source)
        raw = self.input.decode(source)
        shape = tuple(np.shape(raw.value)[:2])
        meta = Meta(0, source.name, size=raw.size, to_source=raw.to_source, shape=shape)
        return self.input.encode(raw), meta

    def _answer(
        self, sources: Sequence[Given], batch_size: int
    ) -> Iterator[tuple[dict[str, np.ndarray], list[Meta], list[Failure]]]:
        """Batch by batch: outputs and metas of what could be read, and what could not."""
        with events.stage("predicting", total=len(sources), unit="samples") as advance:
            ragged = ragged_arrays(self.input)
            required = self.task.required_inputs(self.post)
            answers = self._encoded(sources, 3 * batch_size)
            for encoded in _in_batches(answers, batch_size, ragged):
                failures = [item for item in encoded if isinstance(item, Failure)]
                good = [item for item in encoded if not isinstance(item, Failure)]
                outputs: dict[str, np.ndarray] = {}
                if good:
                    arrays = [arrays for arrays, _ in good]
                    batch = stacked(arrays, ragged)
                    outputs = self.runtime.run(batch) | {name: batch[name] for name in required}
                yield outputs, [meta for _, meta in good], failures
                advance(len(encoded))

    def _encoded(
        self, sources: Sequence[Given], ahead: int
    ) -> Iterator[tuple[dict[str, np.ndarray], Meta] | Failure]:
        """Decoded in a few threads, in order, at most `ahead` of what was taken."""
        pending: deque[Future[tuple[dict[str, np.ndarray], Meta] | Failure]] = deque()
        with ThreadPoolExecutor(DECODERS, thread_name_prefix="decode") as pool:
            try:
                for index, source in enumerate(sources):
                    pending.append(pool.submit(self._encode_or_fail, index, source))
                    if len(pending) >= ahead:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _encode_or_fail(
        self, index: int, given: Given
    ) -> tuple[dict[str, np.ndarray], Meta] | Failure:
        source = as_source(given)
        try:
            arrays, meta = self.encode(source)
        except (DataError, OSError) as error:
            return Failure(source.name, str(error), index)
        return arrays, replace(meta, id=index)


def stacked(
    arrays: Sequence[Mapping[str, np.ndarray]], ragged: frozenset[str] = frozenset()
) -> dict[str, np.ndarray]:
    """Arrays of samples as batches (N, ...); ragged ones are filled up with zeros."""
    batch = {}
    for name in arrays[0]:
        values = [item[name] for item in arrays]
        if name in ragged and len({len(value) for value in values}) > 1:
            longest = max(len(value) for value in values)
            whole = np.zeros((len(values), longest, *values[0].shape[1:]), values[0].dtype)
            for row, value in zip(whole, values, strict=True):
                row[: len(value)] = value
            batch[name] = whole
        else:
            batch[name] = np.stack(values)
    return batch


def _listed(given: Given | Iterable[Given]) -> list[Given]:
    """Sources as a list; a lone one is a list of one, though the letters of a path and the rows of
    a picture can be walked through, too."""
    if isinstance(given, np.ndarray):
        return list(given) if given.ndim == _SEVERAL else [given]
    return [given] if isinstance(given, FileRef | Inline | Path | str | bytes) else list(given)


def joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Batches of outputs by name, one behind the other; {} of none."""
    names = parts[0] if parts else ()
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def as_source(given: Given) -> Source:
    """A path, bytes or array as a Source."""
    if isinstance(given, FileRef | Inline):
        return given
    if isinstance(given, str | Path):
        return FileRef(Path(given))
    return Inline(given)


def _in_batches(
    items: Iterable[tuple[dict[str, np.ndarray], Meta] | Failure],
    size: int,
    ragged: frozenset[str],
) -> Iterator[list[Any]]:
    """At most `size` neighbours whose arrays have one shape, and at most MOST_VALUES numbers."""
    batch: list[Any] = []
    shapes: Any = None
    values = 0
    for item in items:
        own, count = shapes, 0
        if not isinstance(item, Failure):
            own = {name: v.shape for name, v in item[0].items() if name not in ragged}
            count = sum(value.size for value in item[0].values())
        other = shapes is not None and own != shapes
        if batch and (other or len(batch) == size or values + count > MOST_VALUES):
            yield batch
            batch, values = [], 0
        batch.append(item)
        shapes, values = own, values + count
    if batch:
        yield batch


def _count_labels(targets: Sequence[Any], known: set[int]) -> dict[str, int]:
    unknown = Counter(str(target) for row, target in enumerate(targets) if row not in known)
    return dict(unknown.most_common())
