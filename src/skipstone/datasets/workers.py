"""Batches from worker processes: torch's DataLoader, with errors that name the file.

A worker writes the row that it is loading to shared memory. The parent reads it there to name the
file of a worker that was killed or hangs, and to tell a hang from slow files. Workers ignore Ctrl-C
and SIGTERM: the parent decides when to stop, and no worker outlives it.

Arrays, not tensors, cross the process boundary. They take the queue's pipe; tensors would take
/dev/shm, which containers limit to 64 MB, and open a socket per worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import multiprocessing.util
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from skipstone.core.errors import SkipstoneError, WorkerFailed
from skipstone.data.samples import Batch

ReportRow = Callable[[int], None]
#: Makes the batch of a step and reports each row before it opens the row's file.
MakeBatch = Callable[[int, ReportRow], Batch]

#: Seconds between two checks for workers that died or hang.
CHECK_INTERVAL = 1.0
_PR_SET_PDEATHSIG = 1
_RESUME = "The same command resumes from the last checkpoint."


class _EpochBatches(Dataset[Batch | SkipstoneError]):
    """Item `step` is the batch of that step, or the error that making it raised."""

    def __init__(self, make: MakeBatch, name_row: Callable[[int], str], workers: int) -> None:
        self.make, self.name_row, self.workers = make, name_row, workers
        self.rows = multiprocessing.RawArray("q", [-1] * workers)  # -1: none yet

    def __getitem__(self, step: int) -> Batch | SkipstoneError:
        info = get_worker_info()
        assert info is not None
        worker = info.id

        def report_row(row: int) -> None:
            self.rows[worker] = row

        try:
            return _convert(self.make(step, report_row), Tensor.numpy)
        except SkipstoneError as error:
            return error
        except Exception as error:
            failure = self.failure(
                worker, os.getpid(), f"raised {type(error).__name__}", f": {error}", "See --debug."
            )
            failure.add_note(traceback.format_exc())
            return failure

    def failure(self, worker: int, pid: int, event: str, detail: str, hint: str) -> WorkerFailed:
        row = self.rows[worker]
        file = self.name_row(row) if row >= 0 else ""
        place = f"while loading {file}" if file else "before its first file"
        message = f"worker {worker + 1} of {self.workers} (pid {pid}) {event} {place}{detail}"
        return WorkerFailed(f"{message.removesuffix('.')}.", file=file, hint=hint)


def load_in_workers(
    make: MakeBatch, count: int, *, name_row: Callable[[int], str], workers: int, patience: float
) -> Iterator[Batch]:
    """Batches 0, 1, ..., `count - 1` in order, made by `workers` processes.

    Args:
        name_row: the file of a row.
        patience: seconds without a new row after which a worker counts as hanging.

    Raises:
        WorkerFailed: a worker was killed, hangs, or raised; names the file that it was loading.
        SkipstoneError: as the worker raised it.
    """
    if not count:
        return
    items = _EpochBatches(make, name_row, min(workers, count))
    interval = min(CHECK_INTERVAL, patience / 4)
    iterator = _start_workers(items, count, interval)
    # At exit, Python waits for workers that ignore its SIGTERM; this ends them before.
    kill = multiprocessing.util.Finalize(None, _kill, (iterator._workers,), exitpriority=10)
    try:
        for step in range(count):
            item = _next_item(iterator, items, step, patience, interval)
            if isinstance(item, SkipstoneError):
                raise item
            yield _convert(item, torch.from_numpy)
    except WorkerFailed:
        kill()  # a graceful end would wait for it
        raise
    finally:
        iterator._shutdown_workers()
        kill()


def _start_workers(items: _EpochBatches, count: int, interval: float) -> Any:
    linux = sys.platform.startswith("linux")
    loader = DataLoader(
        items,
        batch_size=None,  # an item is a batch
        sampler=range(count),
        collate_fn=_unchanged,
        num_workers=items.workers,
        timeout=interval,
        worker_init_fn=partial(_init_worker, os.getpid()),
        # fork: spawn would read the data's table again in every worker of every epoch
        multiprocessing_context="fork" if linux else "spawn",
        generator=torch.Generator(),  # the default one belongs to training
    )
    if threading.current_thread() is not threading.main_thread() or not linux:
        return iter(loader)
    # torch's handler raises in whatever the main thread does when a worker dies, also in a save.
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        return iter(loader)
    finally:
        signal.signal(signal.SIGCHLD, handler)


@contextlib.contextmanager
def _raise_on_death(processes: list[Any]) -> Iterator[None]:
    """Raise ChildProcessError when a worker ends in the block, also in the middle of a read: the
    rest of a message that it was writing would never come."""

    def check(*_: object) -> None:
        if not all(process.is_alive() for process in processes):
            raise ChildProcessError

    if threading.current_thread() is not threading.main_thread():
        check()
        yield
        return
    handler = signal.signal(signal.SIGCHLD, check)
    try:
        check()
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler)


def _next_item(
    iterator: Any, items: _EpochBatches, step: int, patience: float, interval: float
) -> Batch | SkipstoneError:
    """The item of `step`. Time is counted in checks: a stopped job (Ctrl-Z) that continues does
    not look like a hang."""
    waited, rows = 0.0, list(items.rows)
    while True:
        try:
            with _raise_on_death(iterator._workers):
                item: Batch | SkipstoneError = next(iterator)
            return item
        except Exception as error:
            timed_out = "timed out" in str(error)
            _raise_if_dead(iterator._workers, items, 0 if timed_out else interval)
            if not timed_out:
                raise
        waited = waited + interval if list(items.rows) == rows else 0.0
        rows = list(items.rows)
        if waited >= patience:
            worker = step % items.workers
            raise items.failure(
                *(worker, iterator._workers[worker].pid, "hangs or is stopped"),
                f": nothing happened for {patience:g} s",
                f"If the files are slow, increase --worker-patience (seconds). {_RESUME}",
            )


def _raise_if_dead(processes: list[Any], items: _EpochBatches, timeout: float) -> None:
    ended = multiprocessing.connection.wait([p.sentinel for p in processes], timeout)
    for worker, process in enumerate(processes):
        if process.sentinel not in ended:
            continue
        process.join()
        code, hint = process.exitcode, _RESUME
        event = f"ended with exit code {code}"
        if code < 0:
            event = f"was killed by {signal.Signals(-code).name}"
        if code == -signal.SIGKILL:
            hint = f"If memory is full, use fewer --workers. {_RESUME}"
        raise items.failure(worker, process.pid, event, "", hint) from None


def _init_worker(parent: int, worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _die_with(parent)


def _die_with(parent: int) -> None:
    """Let the system kill this process when the parent ends, even if it is stopped (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def _kill(processes: list[Any]) -> None:
    for process in processes:
        with contextlib.suppress(ValueError):  # closed
            process.kill()
            process.join()


def _convert(batch: Batch, convert: Callable[[Any], Any]) -> Batch:
    """`batch` with each array converted."""
    y = {
        name: [convert(item) for item in value] if isinstance(value, list) else convert(value)
        for name, value in batch.y.items()
    }
    return replace(batch, x={name: convert(value) for name, value in batch.x.items()}, y=y)


def _unchanged(item: Any) -> Any:
    return item
