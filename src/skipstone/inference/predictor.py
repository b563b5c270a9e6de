"""The Predictor: sources in, predictions out, in four steps that a server can also drive itself.

    source --encode--> Encoded --batch--> arrays (N, ...) --run--> outputs --decode--> predictions

Validation while training, `predict`, `evaluate`, `verify` and INT8 calibration all go through it.
They differ only in the runtime they pass and in what they do with the result.
"""

from __future__ import annotations

import io
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Union

import numpy as np

from skipstone.core import events
from skipstone.core.errors import DataError, WrongTypeError
from skipstone.data.manifest import Manifest
from skipstone.data.samples import SampleMeta
from skipstone.data.sources import FileRef, Inline, Source
from skipstone.inputs.base import Input, TokenSplitter
from skipstone.inputs.multi_input import list_inputs
from skipstone.tasks.base import Post, Prediction, Record, Task


class Runtime(Protocol):
    """A program or a network, ready to run.

    Args:
        name: such as "torch-f32", "onnxruntime-f32", "openvino-bf16", "openvino-int8".
    """

    name: str

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Batched inputs (N, ...) by name to outputs (N, ...) by name, float32."""

    def runtime_info(self) -> Mapping[str, Any]:
        """For receipts: version, precision that was really used, threads, device. Where the
        runtime knows what decides its rounding, also the processor's `features` and the `kernels`
        {name: number of layers} (see `load_reference_outputs`)."""

    # A runtime may also have `bound(arrays)`: it returns a function without arguments that computes
    # the outputs of these arrays, without copying them again. Latencies are measured with it.


if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_BATCH_SIZE = 32
#: Values in one batch at most (32 photos at 224): larger samples come in smaller batches.
MAX_BATCH_VALUES = 32 * 224 * 224 * 3
#: Dimensions of a batch of images: (N, H, W, C).
_BATCH_DIMENSIONS = 4
DECODE_THREADS = min(4, os.cpu_count() or 1)

#: What a user may pass: a path, a file's bytes, an array (H, W, C), a PIL image, or a Source.
SourceLike = Union[Source, Path, str, bytes, np.ndarray, "Image"]
#: Modes of PIL images that a PNG holds as they are.
_PNG_MODES = ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")


@dataclass(frozen=True, slots=True)
class Failure:
    """A source that could not be read. `index` is its position among the sources."""

    name: str
    error: str
    index: int = -1


class Encoded(NamedTuple):
    """One source, ready for a batch.

    Args:
        arrays: the runtime's inputs by name, without the batch dimension.
        meta: where it came from; `id` is its position among the sources.
    """

    arrays: dict[str, np.ndarray]
    meta: SampleMeta


@dataclass(frozen=True)
class RawOutputs:
    """Outputs of the readable sources, in order; metas[i].id is a source's position."""

    outputs: dict[str, np.ndarray]
    metas: list[SampleMeta]
    failures: list[Failure]


@dataclass(frozen=True)
class Evaluation:
    """Records of the readable rows whose labels the model knows, in order.

    Args:
        rows: each record's position in the manifest.
        groups: each record's group in the manifest, for intervals.
        unknown_labels: labels that the model does not know, with their number of rows.
    """

    records: list[Record]
    failures: list[Failure]
    rows: list[int] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)
    unknown_labels: dict[str, int] = field(default_factory=dict)


class Predictor:
    """An input, a runtime, a task and its post-processing together.

    It decodes files in threads, which start on first use and end with `close` or with the object.
    """

    def __init__(self, input: Input, runtime: Runtime, task: Task, post: Post) -> None:
        self.input = input
        self.runtime = runtime
        self.task = task
        self.post = post
        self._pool: ThreadPoolExecutor | None = None

    def __repr__(self) -> str:
        return f"Predictor({self.task.name}, {self.runtime.name})"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pool": None}  # threads are neither copied nor pickled

    def close(self) -> None:
        """End the decoding threads. The Predictor stays usable and starts new ones on demand."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    # --- the four steps: encode, batch, run, decode ---------------------------------------------

    def encode(self, source: SourceLike) -> Encoded:
        """Read, decode and encode one source; its position is 0.

        Raises:
            DataError: it cannot be decoded; names the file. OSError: it cannot be read.
        """
        source = as_source(source)
        raw = self.input.decode(source)
        shape = tuple(np.shape(raw.value)[:2])
        meta = SampleMeta(0, source.name, size=raw.size, to_source=raw.to_source, shape=shape)
        return Encoded(self.input.encode(raw), meta)

    def batch(self, encoded: Sequence[Encoded]) -> dict[str, np.ndarray]:
        """Arrays (N, ...) of one or more samples of the same shapes; ragged ones are zero-padded.

        Raises:
            ValueError: the shapes differ.
        """
        return stack_arrays([item.arrays for item in encoded], self.input.ragged_arrays)

    def run(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The runtime's outputs (N, ...), and the inputs that post-processing reads as well."""
        required = self.task.required_inputs(self.post)
        return self.runtime.run(batch) | {name: batch[name] for name in required}

    def decode(
        self, outputs: Mapping[str, np.ndarray], metas: Sequence[SampleMeta]
    ) -> list[Prediction]:
        """Predictions of a batch, from what `run` returned and the samples' metas."""
        return self.task.predict(outputs, metas, self.post)

    # --- many sources at once ---------------------------------------------------------------------

    def compute_outputs(
        self, sources: Sequence[SourceLike], batch_size: int = DEFAULT_BATCH_SIZE
    ) -> RawOutputs:
        """Raw outputs by name, each (readable sources, ...)."""
        parts: list[Mapping[str, np.ndarray]] = []
        answers = RawOutputs({}, [], [])
        for outputs, metas, failures in self._run_batches(sources, batch_size):
            if metas:
                parts.append(outputs)
            answers.metas.extend(metas)
            answers.failures.extend(failures)
        return replace(answers, outputs=concatenate_outputs(parts))

    def collect_calibration_sample(
        self, manifest: Manifest, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> tuple[dict[str, np.ndarray], list[Any]]:
        """Outputs and loaded targets of every readable row, as `Task.calibrate` takes them."""
        load_target, values = self.task.target_loader(manifest), manifest.column_values("target")
        output_parts: list[Mapping[str, np.ndarray]] = []
        targets: list[Any] = []
        lost: list[Failure] = []
        for outputs, metas, failures in self._run_batches(manifest.list_sources(), batch_size):
            lost += failures
            if metas:
                batch_targets = [load_target(values[meta.id]) for meta in metas]
                sampled, sampled_targets = self.task.calibration_sample(
                    outputs, metas, batch_targets
                )
                output_parts.append(sampled)
                targets += sampled_targets
        if lost:
            count = f"{len(lost):,} of {len(manifest):,} rows for calibration cannot be read"
            if not targets:
                raise DataError(f"{count}. The first: {lost[0].name}: {lost[0].error}")
            events.emit_warning(f"{count}. The first: {lost[0].name}: {lost[0].error}")
        return concatenate_outputs(output_parts), targets

    def stream_predictions(
        self, sources: Sequence[SourceLike], batch_size: int = DEFAULT_BATCH_SIZE
    ) -> Iterator[Prediction | Failure]:
        """One prediction per source, in their order, as soon as its batch is done. An unreadable
        file gives a Failure, and the others continue."""
        for outputs, metas, failures in self._run_batches(sources, batch_size):
            answers: dict[int, Prediction | Failure] = {bad.index: bad for bad in failures}
            for prediction in self.decode(outputs, metas) if metas else []:
                answers[prediction.meta.id] = prediction
            yield from (answers[index] for index in sorted(answers))

    def predict(
        self, sources: SourceLike | Iterable[SourceLike], batch_size: int = DEFAULT_BATCH_SIZE
    ) -> list[Prediction | Failure]:
        """All of `stream_predictions`; for one source a list of one. Of a table (a DataFrame) each
        row is a source: a text or the path of a file, as the model reads.

        Raises:
            WrongTypeError: a source of another type; or it is unclear which column of a table to read.
        """
        source_list = _as_list(
            sources, is_text=isinstance(list_inputs(self.input)[0], TokenSplitter)
        )
        answers = list(self.stream_predictions(source_list, batch_size))
        assert len(answers) == len(source_list), "one prediction or failure per source"
        return answers

    def evaluate(self, manifest: Manifest, batch_size: int = DEFAULT_BATCH_SIZE) -> Evaluation:
        """Score every row whose label the model knows; count and report the other rows."""
        targets = manifest.column_values("target")
        ids, groups = manifest.column_values("id"), manifest.column_values("group")
        known = [row for row, target in enumerate(targets) if self.task.accepts_target(target)]
        unknown = _count_labels(targets, set(known))
        if unknown:
            labels = ", ".join(f"{name} ({count:,})" for name, count in list(unknown.items())[:5])
            events.emit_warning(
                f"{len(targets) - len(known):,} of {len(targets):,} rows have labels that the "
                f"model does not know, and are not scored: {labels}"
                + (f" and {len(unknown) - 5} more labels" if len(unknown) > 5 else "")
            )
        evaluation = Evaluation([], [], unknown_labels=unknown)
        load_target = self.task.target_loader(manifest)
        all_sources = manifest.list_sources()
        sources = [all_sources[row] for row in known]
        for outputs, metas, failures in self._run_batches(sources, batch_size):
            for prediction in self.decode(outputs, metas) if metas else []:
                row = known[prediction.meta.id]
                prediction = replace(prediction, meta=replace(prediction.meta, id=ids[row]))
                try:
                    target = load_target(targets[row])
                    record = self.task.score_prediction(prediction, target)
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

    def fit_postprocessing(self, manifest: Manifest) -> dict[str, Any]:
        """Post-processing fitted to these rows; unreadable files are left out with a warning. Of more rows than the
        task can hold in memory (`max_calibration_rows`) it takes evenly spaced ones."""
        most = self.task.max_calibration_rows
        if most is not None and len(manifest) > most:
            manifest = manifest.take_rows(np.linspace(0, len(manifest) - 1, most).astype(np.int64))
        outputs, targets = self.collect_calibration_sample(manifest)
        return dict(self.task.fit_postprocessing(outputs, targets)) if targets else {}

    def _run_batches(
        self, sources: Sequence[SourceLike], batch_size: int
    ) -> Iterator[tuple[dict[str, np.ndarray], list[SampleMeta], list[Failure]]]:
        """Batch by batch: outputs and metas of the readable sources, and the failures."""
        with events.progress_stage("predicting", total=len(sources), unit="samples") as advance:
            items = self._encode_all(sources, 3 * batch_size)
            for group in _in_batches(items, batch_size, self.input.ragged_arrays):
                failures = [item for item in group if isinstance(item, Failure)]
                encoded = [item for item in group if not isinstance(item, Failure)]
                outputs = self.run(self.batch(encoded)) if encoded else {}
                yield outputs, [item.meta for item in encoded], failures
                advance(len(group))

    def _encode_all(
        self, sources: Sequence[SourceLike], prefetch: int
    ) -> Iterator[Encoded | Failure]:
        """Encode in threads, in order, at most `prefetch` sources ahead of the consumer."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode")
        pool = self._pool
        pending: deque[Future[Encoded | Failure]] = deque()
        try:
            for index, source in enumerate(sources):
                pending.append(pool.submit(self._encode_or_fail, index, source))
                if len(pending) >= prefetch:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:  # no file is read any more once the consumer has stopped
            wait([future for future in pending if not future.cancel()])

    def _encode_or_fail(self, index: int, source: SourceLike) -> Encoded | Failure:
        source = as_source(source)
        try:
            encoded = self.encode(source)
        except (DataError, OSError) as error:
            return Failure(source.name, str(error), index)
        return encoded._replace(meta=replace(encoded.meta, id=index))


def stack_arrays(
    arrays: Sequence[Mapping[str, np.ndarray]], ragged: frozenset[str] = frozenset()
) -> dict[str, np.ndarray]:
    """Arrays of samples as batches (N, ...); the ragged ones are padded with zeros at the end."""
    batch = {}
    for name in arrays[0]:
        values = [item[name] for item in arrays]
        if name in ragged and len({len(value) for value in values}) > 1:
            longest = max(len(value) for value in values)
            padded = np.zeros((len(values), longest, *values[0].shape[1:]), values[0].dtype)
            for row, value in zip(padded, values, strict=True):
                row[: len(value)] = value
            batch[name] = padded
        else:
            batch[name] = np.stack(values)
    return batch


def _as_list(sources: Any, *, is_text: bool = False) -> list[SourceLike]:
    """Sources as a list. One path (an iterable of letters) or one image (of rows) is one source."""
    if isinstance(sources, np.ndarray):
        return list(sources) if sources.ndim == _BATCH_DIMENSIONS else [sources]
    if hasattr(sources, "columns"):
        return _read_frame(sources, is_text)
    if not isinstance(sources, Iterable) or isinstance(
        sources, FileRef | Inline | Path | str | bytes
    ):
        return [sources]
    return list(sources)


def _read_frame(frame: Any, is_text: bool) -> list[SourceLike]:
    """The rows of a table in memory (pandas, polars, Arrow): texts, or paths of files."""
    import pyarrow as pa

    table = frame if isinstance(frame, pa.Table) else pa.table(frame)
    kinds = {name: table.schema.field(name).type for name in table.column_names}
    strings = [name for name, kind in kinds.items() if _is_string(kind)]
    usual = ("text", "texts") if is_text else ("path", "file", "filename", "image")
    named = [name for name in strings if name.lower() in usual]
    if len(named or strings) != 1:
        what = "the texts" if is_text else "the paths"
        raise WrongTypeError(
            f"it is unclear which column holds {what}: {', '.join(table.column_names)}.",
            hint=f"Give that one alone, such as frame[[{(strings or ['text'])[0]!r}]].",
        )
    cells = table[(named or strings)[0]].to_pylist()
    if is_text:
        return [Inline("" if cell is None else cell, f"row {n}") for n, cell in enumerate(cells)]
    return [Path(cell or "") for cell in cells]


def _is_string(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def concatenate_outputs(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Batches of outputs by name, concatenated; {} for no batches."""
    names = parts[0] if parts else ()
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def as_source(source: SourceLike) -> Source:
    """A path, bytes, array or PIL image as a Source. WrongTypeError for anything else."""
    from PIL import Image, ImageOps

    if isinstance(source, FileRef | Inline):
        return source
    if isinstance(source, str | Path):
        return FileRef(Path(source))
    if isinstance(source, bytes | np.ndarray):
        return Inline(source)
    if isinstance(source, Image.Image):  # as a file, so that every mode is decoded as in training
        picture = ImageOps.exif_transpose(source)
        if picture.mode not in _PNG_MODES:
            picture = picture.convert("RGB")
        content = io.BytesIO()
        picture.save(content, "PNG")
        return Inline(content.getvalue(), "picture")
    raise WrongTypeError(
        f"cannot predict for a value of type {type(source).__name__}.",
        hint="Allowed: paths, bytes of files, arrays (height, width, channels), PIL images, and "
        "tables (DataFrame) of texts or paths.",
    )


def _in_batches(
    items: Iterable[Encoded | Failure], size: int, ragged: frozenset[str]
) -> Iterator[list[Encoded | Failure]]:
    """Groups of at most `size` neighbours with equal shapes and at most MOST_VALUES values."""
    group: list[Encoded | Failure] = []
    shapes: Any = None
    total = 0
    for item in items:
        item_shapes, values = shapes, 0
        if not isinstance(item, Failure):
            arrays = item.arrays
            item_shapes = {name: v.shape for name, v in arrays.items() if name not in ragged}
            values = sum(value.size for value in arrays.values())
        differs = shapes is not None and item_shapes != shapes
        if group and (differs or len(group) == size or total + values > MAX_BATCH_VALUES):
            yield group
            group, total = [], 0
        group.append(item)
        shapes, total = item_shapes, total + values
    if group:
        yield group


def _count_labels(targets: Sequence[Any], known: set[int]) -> dict[str, int]:
    unknown = Counter(str(target) for row, target in enumerate(targets) if row not in known)
    return dict(unknown.most_common())
