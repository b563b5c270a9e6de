"""Batches in a seeded order, resumable at any step.

    rows of an epoch -> threads: decode (or cache), augment, collate -> a few batches ahead -> mix

An epoch's order depends on (seed, epoch) and a row's augmentation on (seed, epoch, id, view), so
neither depends on threads, on processes, or on where a run was stopped.
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

from skipstone.data.manifest import Manifest
from skipstone.data.samples import Batch, Meta, Sample, collate
from skipstone.data.sources import FileRef
from skipstone.errors import DataError, UsageError
from skipstone.inputs.base import Input, Raw, ragged_arrays
from skipstone.prepare.augmentation import Augmentation
from skipstone.prepare.cache import RecordCache
from skipstone.prepare.mix import Mixing
from skipstone.prepare.options import LoadOptions
from skipstone.prepare.workers import Say, batches_from_workers
from skipstone.tasks.base import Task

S = TypeVar("S")
T = TypeVar("T")


def _silence(name: str) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Batching:
    """What the batches of a manifest's rows are. How they are loaded changes none of them.

    Args:
        batch_size: rows a batch; the last one of an epoch may be smaller.
        seed: decides order and augmentation, together with the epoch's number.
        shuffle: a new permutation each epoch; False keeps the manifest's order.
        augment: applied to each sample, keyed by (seed, epoch, id, view).
        mix: applied to each batch, keyed by (seed, epoch, step).
        drop_last: leave out a last batch that is not full (never the only one).
        balanced: draw rows with replacement, each class equally often (a row with several labels
            counts as its rarest one; having none is a class of its own). A row that comes again in
            an epoch is another view, augmented anew.
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
        loading: with processes, these use what the cache held when they started and add nothing
            to it.
        threads: threads that load when there are no worker processes.
        cache: keeps decoded records, so that later epochs do not decode.
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
        self._targets = manifest.column("target")
        self._open = task.opener(manifest)
        self._weights = _class_balance(self._targets) if batching.balanced else None
        self._rows = np.arange(len(manifest))
        if not len(self._rows):
            raise DataError("there are no rows to load: this part of the data is empty.")

    def __len__(self) -> int:
        """Steps an epoch."""
        full, rest = divmod(len(self._rows), self.batch_size)
        return full + bool(rest and not (self.batching.drop_last and full))

    def order(self, epoch: int) -> np.ndarray:
        """Positions in the manifest, in the order in which `epoch` visits them."""
        rng = np.random.Generator(
            np.random.PCG64(np.random.SeedSequence([self.batching.seed, epoch]))
        )
        if self._weights is not None:
            cumulative = np.cumsum(self._weights[self._rows])
            draws = rng.random(len(self._rows)) * cumulative[-1]
            chosen = np.searchsorted(cumulative, draws, side="right")
            drawn: np.ndarray = self._rows[np.minimum(chosen, len(self._rows) - 1)]
            return drawn
        rows: np.ndarray = rng.permutation(self._rows) if self.batching.shuffle else self._rows
        return rows

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Batches `start`, `start + 1`, ... of epoch `number`: the tail of `epoch(number)`."""
        order = self.order(number)
        views = _times_before(order) if self._weights is not None else np.zeros_like(order)
        drawn = np.stack([order, views], axis=1)  # (draws, 2): row and view
        steps = range(start, len(self))
        rows = [drawn[step * self.batch_size : (step + 1) * self.batch_size] for step in steps]
        make = self._in_processes if self.loading.workers else self._here
        batches = make(number, rows)
        for step, batch in zip(steps, batches, strict=True):
            if self.batching.mix is not None:
                batch = self.batching.mix(batch, seed=self.batching.seed, epoch=number, step=step)
            yield batch

    def sample(self, row: int, view: int = 0, *, epoch: int | None = None) -> Sample:
        """The row at this position as a sample, augmented as in `epoch` where that is given.

        Errors name the row's file.
        """
        source = self.manifest.source(row)
        raw, id = self._raw(source), int(self._ids[row])
        augment = None if epoch is None else self.batching.augment
        if augment is not None and epoch is not None:
            raw = augment.record(raw, id=id, view=view, seed=self.batching.seed, epoch=epoch)
        x = {name: _tensor(value) for name, value in self.input.encode(raw).items()}
        shape = tuple(np.shape(raw.value)[:2])
        meta = Meta(id, source.name, view, tuple(raw.size), raw.to_source, shape)
        sample = Sample(x, self.task.target(self._open(self._targets[row]), meta), meta)
        if augment is None or epoch is None:
            return sample
        return augment(sample, seed=self.batching.seed, epoch=epoch)

    def _raw(self, source: FileRef) -> Raw:
        if self.cache is None:
            return self.input.decode(source)
        return self.cache.decode(source, self.input)

    def _collate(self, samples: Sequence[Sample]) -> Batch:
        padded = ragged_arrays(self.input)
        return collate(samples, self.task.ragged, padded)

    def _build(self, rows: np.ndarray, epoch: int, say: Say = _silence) -> Batch:
        """The batch of these rows and views (N, 2); `say` hears the name of each file before it is
        touched."""
        samples = []
        for row, view in rows.tolist():
            say(self.manifest.source(row).name)
            samples.append(self.sample(row, view, epoch=epoch))
        return self._collate(samples)

    def _here(self, epoch: int, rows: Sequence[np.ndarray]) -> Iterator[Batch]:
        """Loaded in threads (Pillow releases the interpreter's lock), a few batches ahead."""
        augment = self.batching.augment
        if augment is None or augment.thread_safe:
            return ahead(lambda part: self._build(part, epoch), rows, self.threads)
        # It draws from the random state of the process, which belongs to the training thread.
        if augment.on_records:
            return (self._build(part, epoch) for part in rows)
        samples = ahead(
            lambda part: [self.sample(*drawn) for drawn in part.tolist()], rows, self.threads
        )
        return (
            self._collate(
                [augment(sample, seed=self.batching.seed, epoch=epoch) for sample in part]
            )
            for part in samples
        )

    def _in_processes(self, epoch: int, rows: Sequence[np.ndarray]) -> Iterator[Batch]:
        make = _Maker(self, epoch, rows)
        workers, patience = self.loading.workers, self.loading.worker_patience
        return batches_from_workers(make, len(rows), workers=workers, patience=patience)


def _tensor(value: np.ndarray) -> torch.Tensor:
    """torch computes next to nothing on uint16, so pixels of 16 bits are trained on as float32."""
    return torch.from_numpy(value.astype(np.float32) if value.dtype == np.uint16 else value)


@dataclass(frozen=True)
class _Maker:
    """Makes the batches of one epoch in a worker process."""

    loader: Loader
    epoch: int
    rows: Sequence[np.ndarray]

    def __call__(self, step: int, say: Say) -> Batch:
        return self.loader._build(self.rows[step], self.epoch, say)


def ahead(
    function: Callable[[S], T], items: Sequence[S], threads: int, window: int | None = None
) -> Iterator[T]:
    """`map` in threads, in order, with at most `window` (threads + 1) items in hand or ready."""
    with ThreadPoolExecutor(threads, thread_name_prefix="load") as pool:
        waiting: deque[Future[T]] = deque()
        rest = iter(items)
        try:
            waiting.extend(
                pool.submit(function, item) for item in islice(rest, window or threads + 1)
            )
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(rest, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()


def _times_before(order: np.ndarray) -> np.ndarray:
    """How often what stands at each place of `order` stood before it."""
    by_row = np.argsort(order, kind="stable")
    rows = order[by_row]
    first = np.append(True, rows[1:] != rows[:-1])[: len(rows)]
    begins = np.maximum.accumulate(np.where(first, np.arange(len(rows)), 0))
    times = np.empty_like(order)
    times[by_row] = np.arange(len(rows)) - begins
    return times


def _class_balance(targets: Sequence[Any]) -> np.ndarray:
    """A weight a row, so that each class is drawn equally often."""
    labels = [target if isinstance(target, list) else [target] for target in targets]
    if not all(isinstance(label, str) for row in labels for label in row):
        raise UsageError(
            "--balanced draws each class equally often, which means nothing where a sample shows "
            "several at once.",
            hint="Make rare classes count more instead: --class-weights effective",
        )
    labels = [row or [None] for row in labels]  # what shows none of the labels is learnt from, too
    counts = Counter(label for row in labels for label in row)
    return np.array([max(1 / counts[label] for label in row) for row in labels])
