"""Batches in a seeded order, resumable at any step.

    rows of an epoch -> threads or processes: decode (or cache), augment, collate -> prefetch -> mix

An epoch's order depends on (seed, epoch) and a row's augmentation on (seed, epoch, id, view).
Neither depends on threads, on processes, or on where a run was stopped.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch

from skipstone.core.errors import DataError, UsageError
from skipstone.data.manifest import Manifest
from skipstone.data.samples import Batch, Sample, SampleMeta, collate_samples
from skipstone.data.sources import FileRef
from skipstone.datasets.augmentation import Augmentation
from skipstone.datasets.cache import RecordCache
from skipstone.datasets.mixing import Mixing
from skipstone.datasets.options import LoadOptions
from skipstone.datasets.workers import ReportRow, load_in_workers
from skipstone.inputs.base import DecodedSample, Input
from skipstone.tasks.base import Task

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Batching:
    """What the batches of a manifest's rows are. LoadOptions change none of them.

    Args:
        batch_size: rows per batch; the last batch of an epoch may be smaller.
        seed: decides order and augmentation, together with the epoch's number.
        shuffle: a new permutation per epoch; False keeps the manifest's order.
        augment: applied to each sample, keyed by (seed, epoch, id, view).
        mix: applied to each batch, keyed by (seed, epoch, step).
        drop_last: leave out an incomplete last batch (never the only one).
        balanced: draw rows with replacement, each class equally often. A row with several labels
            counts as its rarest one; rows without labels are a class. A row that is drawn again in
            an epoch is another view, with another augmentation.
    """

    batch_size: int
    seed: int
    shuffle: bool
    augment: Augmentation | None = None
    mix: Mixing | None = None
    drop_last: bool = False
    balanced: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"batch size is {self.batch_size}; allowed: 1 or more.")


class Loader:
    """Batches of a manifest's rows.

    Args:
        loading: worker processes read what the cache held when they started; they add nothing.
        threads: threads that load if there are no worker processes.
        cache: keeps decoded records, so that later epochs do not decode them again.
    """

    def __init__(
        self,
        manifest: Manifest,
        input: Input,
        task: Task,
        batching: Batching,
        *,
        loading: LoadOptions | None = None,
        threads: int = 2,
        cache: RecordCache | None = None,
    ) -> None:
        self.manifest = manifest
        self.input = input
        self.task = task
        self.batching = batching
        self.batch_size = batching.batch_size
        self.loading = loading or LoadOptions()
        self.threads = max(1, threads)
        self.cache = cache
        self._ids = manifest.table["id"].to_numpy()
        self._targets = manifest.column_values("target")
        self._open = task.target_loader(manifest)
        self._weights = _class_balance(self._targets) if batching.balanced else None
        self._rows = np.arange(len(manifest))
        if not len(self._rows):
            raise DataError("nothing to load: this part of the data has no rows.")

    def __len__(self) -> int:
        """Steps per epoch."""
        full, rest = divmod(len(self._rows), self.batch_size)
        return full + bool(rest and not (self.batching.drop_last and full))

    def epoch_order(self, epoch: int) -> np.ndarray:
        """Positions in the manifest, in the order in which `iterate_epoch` visits them."""
        rng = np.random.Generator(
            np.random.PCG64(np.random.SeedSequence([self.batching.seed, epoch]))
        )
        if self._weights is not None:
            cumulative = np.cumsum(self._weights[self._rows])
            draws = rng.random(len(self._rows)) * cumulative[-1]
            chosen = np.searchsorted(cumulative, draws, side="right")
            sampled: np.ndarray = self._rows[np.minimum(chosen, len(self._rows) - 1)]
            return sampled
        rows: np.ndarray = rng.permutation(self._rows) if self.batching.shuffle else self._rows
        return rows

    def iterate_epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Batches `start`, `start + 1`, ... of epoch `number`: the tail of `iterate_epoch(number)`."""
        order = self.epoch_order(number)
        views = _count_earlier(order) if self._weights is not None else np.zeros_like(order)
        draws = np.stack([order, views], axis=1)  # (draws, 2): row and view
        steps = range(start, len(self))
        parts = [draws[step * self.batch_size : (step + 1) * self.batch_size] for step in steps]
        load = self._load_in_processes if self.loading.workers else self._load_in_threads
        batches = load(number, parts)
        for step, batch in zip(steps, batches, strict=True):
            if self.batching.mix is not None:
                batch = self.batching.mix(batch, seed=self.batching.seed, epoch=number, step=step)
            yield batch

    def load_sample(self, row: int, view: int = 0, *, epoch: int | None = None) -> Sample:
        """The row at this position as a sample, augmented as in `iterate_epoch` where that is given.

        Errors name the row's file.
        """
        source = self.manifest.source_at(row)
        raw, id = self._raw(source), int(self._ids[row])
        augment = None if epoch is None else self.batching.augment
        if augment is not None and epoch is not None:
            raw = augment.augment_record(
                raw, id=id, view=view, seed=self.batching.seed, epoch=epoch
            )
        x = {name: _tensor(value) for name, value in self.input.encode(raw).items()}
        shape = tuple(np.shape(raw.value)[:2])
        meta = SampleMeta(id, source.name, view, tuple(raw.size), raw.to_source, shape)
        sample = Sample(x, self.task.encode_target(self._open(self._targets[row]), meta), meta)
        if augment is None or epoch is None:
            return sample
        return augment(sample, seed=self.batching.seed, epoch=epoch)

    def _raw(self, source: FileRef) -> DecodedSample:
        if self.cache is None:
            return self.input.decode(source)
        return self.cache.decode(source, self.input)

    def _collate(self, samples: Sequence[Sample]) -> Batch:
        return collate_samples(samples, self.task.ragged, self.input.ragged_arrays)

    def _build(self, draws: np.ndarray, epoch: int, report: ReportRow | None = None) -> Batch:
        """The batch of these rows and views (N, 2); `report` is called before each row."""
        samples = []
        for row, view in draws.tolist():
            if report is not None:
                report(row)
            samples.append(self.load_sample(row, view, epoch=epoch))
        return self._collate(samples)

    def _load_in_threads(self, epoch: int, parts: Sequence[np.ndarray]) -> Iterator[Batch]:
        """Pillow releases the interpreter's lock, so threads of this process decode in parallel."""
        augment = self.batching.augment
        if augment is None or augment.is_thread_safe:
            return prefetch(lambda draws: self._build(draws, epoch), parts, self.threads)
        # It uses the random state of the process, which belongs to the training thread.
        if augment.augments_records:
            return (self._build(draws, epoch) for draws in parts)
        loaded = prefetch(
            lambda draws: [self.load_sample(*draw) for draw in draws.tolist()], parts, self.threads
        )
        return (
            self._collate(
                [augment(sample, seed=self.batching.seed, epoch=epoch) for sample in samples]
            )
            for samples in loaded
        )

    def _load_in_processes(self, epoch: int, parts: Sequence[np.ndarray]) -> Iterator[Batch]:
        return load_in_workers(
            _BatchMaker(self, epoch, parts),
            len(parts),
            name_row=self._name_row,
            workers=self.loading.workers,
            patience=self.loading.worker_patience,
        )

    def _name_row(self, row: int) -> str:
        return self.manifest.source_at(row).name


def _tensor(value: np.ndarray) -> torch.Tensor:
    """torch has few operations on uint16, so 16-bit pixels become float32."""
    return torch.from_numpy(value.astype(np.float32) if value.dtype == np.uint16 else value)


@dataclass(frozen=True)
class _BatchMaker:
    """Makes the batches of an epoch in a worker process (spawn needs it to be picklable)."""

    loader: Loader
    epoch: int
    parts: Sequence[np.ndarray]

    def __call__(self, step: int, report: ReportRow) -> Batch:
        return self.loader._build(self.parts[step], self.epoch, report)


def prefetch(
    function: Callable[[S], T], items: Sequence[S], threads: int, window: int | None = None
) -> Iterator[T]:
    """`map` in threads, in order; at most `window` (threads + 1) results are pending or ready."""
    with ThreadPoolExecutor(threads, thread_name_prefix="load") as pool:
        pending: deque[Future[T]] = deque()
        remaining = iter(items)
        try:
            pending.extend(
                pool.submit(function, item) for item in islice(remaining, window or threads + 1)
            )
            while pending:
                result = pending.popleft().result()
                pending.extend(pool.submit(function, item) for item in islice(remaining, 1))
                yield result
        finally:
            for future in pending:
                future.cancel()


def _count_earlier(order: np.ndarray) -> np.ndarray:
    """How often the row at each position of `order` occurs before it."""
    by_row = np.argsort(order, kind="stable")
    rows = order[by_row]
    is_first = np.append(True, rows[1:] != rows[:-1])[: len(rows)]
    starts = np.maximum.accumulate(np.where(is_first, np.arange(len(rows)), 0))
    counts = np.empty_like(order)
    counts[by_row] = np.arange(len(rows)) - starts
    return counts


def _class_balance(targets: Sequence[Any]) -> np.ndarray:
    """(N,) weights with which each class is drawn equally often."""
    labels = [target if isinstance(target, list) else [target] for target in targets]
    if not all(isinstance(label, str) for row in labels for label in row):
        raise UsageError(
            "--balanced draws each class equally often, which needs class labels: here a sample "
            "shows several classes at once.",
            hint="Give rare classes more weight instead: --class-weights effective",
        )
    labels = [row or [None] for row in labels]  # rows without labels count as a class
    counts = Counter(label for row in labels for label in row)
    return np.array([max(1 / counts[label] for label in row) for row in labels])
