"""Loading processes, watched: one that dies, is stopped, hangs or raises is reported by its file.

    worker w makes batches w, w + W, w + 2 W, ...  ->  its pipe  ->  taken in turns, in order

A worker says which file it is on before it opens it. The pipe is all that connects it: it runs
ahead until the pipe is full, and ends when the pipe's other end is closed. Ctrl-C and SIGTERM are
the parent's business (a terminal and a batch system send them to every process of a job). What the
parent leaves in any way takes its workers with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import multiprocessing.util
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

import torch

from skipstone import errors
from skipstone.data.samples import Batch
from skipstone.errors import SkipstoneError, WorkerFailed
from skipstone.prepare.frames import BATCH, ERROR, HEAD, ON, Frame, pack, pack_batch, unpack_batch

Say = Callable[[str], None]
#: Makes batch number `step`, calling `say` with the name of each file before it is touched.
Make = Callable[[int, Say], Batch]

#: A pipe holds this much where the system lets it (Linux).
PIPE_BYTES = 1 << 20
#: A wait is cut into pieces of at most this (seconds): while the whole job is stopped (Ctrl-Z),
#: a piece grows at will and still counts once.
SLICE = 0.25
_F_SETPIPE_SZ, _PR_SET_PDEATHSIG = 1031, 1


def batches_from_workers(
    make: Make, count: int, *, workers: int, patience: float
) -> Iterator[Batch]:
    """Batches 0, 1, ..., `count - 1` in order, made by `workers` processes.

    Args:
        patience: seconds without a sign of life from a worker whose batch is waited for.

    Raises:
        WorkerFailed: a worker was killed, is stopped, hangs, or raised; names the file it was on.
        DataError: as the worker raised it, and so for any SkipstoneError.
    """
    pool = _Pool(make, count, min(workers, count), patience)
    try:
        for step in range(count):
            yield pool.batch(step)
    finally:
        pool.close()


class _Pool:
    def __init__(self, make: Make, count: int, workers: int, patience: float) -> None:
        # Not the parent's choice of "forkserver" or "spawn" on Linux: both talk through sockets or
        # read the data's table again in every worker of every epoch.
        context: Any = multiprocessing.get_context(
            "fork" if sys.platform.startswith("linux") else "spawn"
        )
        self._patience = patience
        self._ends: list[int] = []
        self._processes: list[BaseProcess] = []
        self._on = [""] * workers
        self._finalize = multiprocessing.util.Finalize(
            self, _end, (self._processes, self._ends), exitpriority=10
        )
        try:
            for number in range(workers):
                reader, writer = context.Pipe(duplex=False)
                with contextlib.suppress(OSError):
                    _widen(writer.fileno())
                self._ends.append(os.dup(reader.fileno()))
                reader.close()
                inherited = list(self._ends) if context.get_start_method() == "fork" else []
                process = context.Process(
                    target=_work,
                    args=(make, range(number, count, workers), writer, os.getpid(), inherited),
                    name=f"skipstone-load-{number}",
                    daemon=True,
                )
                process.start()
                self._processes.append(process)
                writer.close()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """No worker is left after this, whatever state it was in."""
        self._finalize()

    def batch(self, step: int) -> Batch:
        number = step % len(self._processes)
        while True:
            frame = self._frame(number)
            if frame.kind == ON:
                self._on[number] = str(frame.text)
            elif frame.kind == BATCH:
                return unpack_batch(frame)
            else:
                raise self._raised(number, frame.text)

    def _frame(self, number: int) -> Frame:
        kind, words, length = HEAD.unpack(self._read(number, HEAD.size))
        text = json.loads(self._read(number, words))
        return Frame(kind, text, self._read(number, length) if kind == BATCH else None)

    def _read(self, number: int, length: int) -> bytearray:
        """`length` bytes of a worker's; a worker that gives no sign of life is given up."""
        data = bytearray(length)
        view, end = memoryview(data), self._ends[number]
        poll = select.poll()
        poll.register(end, select.POLLIN)
        waited = 0.0
        while len(view):
            begin = time.monotonic()
            if poll.poll(1000 * min(SLICE, self._patience)):
                got = os.readv(end, [view])
                if not got:
                    self._died(number)
                view, waited = view[got:], 0.0
            else:
                waited += min(time.monotonic() - begin, 2 * SLICE)
                if waited >= self._patience:
                    self._silent(number)
        return data

    # --- what is said -----------------------------------------------------------------------

    def _who(self, number: int) -> str:
        process = self._processes[number]
        return f"loading process {number + 1} of {len(self._processes)} (pid {process.pid})"

    def _where(self, number: int) -> str:
        return f"while on {self._on[number]}" if self._on[number] else "before its first file"

    def _died(self, number: int) -> NoReturn:
        process = self._processes[number]
        process.join(self._patience)
        code = process.exitcode
        how, hint = f"ended with exit code {code}", ""
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                hint = "Where nobody did that, memory was used up: take fewer --workers. "
        raise WorkerFailed(
            f"{self._who(number)} {how} {self._where(number)}.",
            file=self._on[number],
            hint=hint + "The same command goes on from the last checkpoint.",
        )

    def _silent(self, number: int) -> NoReturn:
        stopped = _is_stopped(self._processes[number].pid)
        what = "is stopped (by SIGSTOP or a debugger)" if stopped else "hangs"
        raise WorkerFailed(
            f"{self._who(number)} {what} {self._where(number)}: "
            f"no sign of life for {self._patience:g} s.",
            file=self._on[number],
            hint="Where that is only slow, --worker-patience waits longer (seconds). "
            "The same command goes on from the last checkpoint.",
        )

    def _raised(self, number: int, text: dict[str, Any]) -> SkipstoneError:
        ours = getattr(errors, text["kind"], None)
        if text["ours"] and ours in _PLAIN_ERRORS:
            error: SkipstoneError = ours(text["message"], hint=text["hint"])
            return error
        failed = WorkerFailed(
            f"{self._who(number)} raised {text['kind']} {self._where(number)}: {text['message']}",
            file=self._on[number],
            hint="With --debug the place is shown.",
        )
        failed.add_note(text["trace"])
        return failed


#: Errors that a worker's message and hint make whole again.
_PLAIN_ERRORS = (
    *(errors.SkipstoneError, errors.UsageError, errors.DataError, errors.MissingExtra),
    *(errors.Refusal, errors.DamagedError),
)


# --- in the worker --------------------------------------------------------------------------


def _work(make: Make, steps: range, pipe: Any, parent: int, inherited: list[int]) -> None:
    """A worker's life. `inherited` are the parent's ends of pipes that came along with fork."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for end in inherited:
        os.close(end)
    _die_with(parent)
    torch.set_num_threads(1)

    def send(pieces: list[memoryview]) -> None:
        for piece in pieces:
            while len(piece):
                piece = piece[os.write(pipe.fileno(), piece) :]

    def say(name: str) -> None:
        send(pack(ON, name))

    try:
        for step in steps:
            send(pack_batch(make(step, say)))
    except BrokenPipeError:
        return  # nobody wants more
    except BaseException as error:
        ours = isinstance(error, SkipstoneError)
        text = {
            "kind": type(error).__name__,
            "ours": ours,
            "message": error.message if isinstance(error, SkipstoneError) else str(error),
            "hint": error.hint if isinstance(error, SkipstoneError) else None,
            "trace": traceback.format_exc(),
        }
        with contextlib.suppress(BrokenPipeError):
            send(pack(ERROR, text))


def _die_with(parent: int) -> None:
    """Whatever ends the parent ends this process, also one that is stopped (Linux).

    Elsewhere a worker ends at its next write to the pipe.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the call
        os._exit(1)


# --- parts ----------------------------------------------------------------------------------


def _end(processes: list[BaseProcess], ends: list[int]) -> None:
    """SIGKILL, which a stopped process obeys as well, and wait for each."""
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
        process.close()
    processes.clear()
    while ends:
        os.close(ends.pop())


def _is_stopped(pid: int | None) -> bool:
    """Whether the system says so; where it does not tell (no /proc), False."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in ("T", "t")


def _widen(descriptor: int) -> None:
    if sys.platform.startswith("linux"):
        import fcntl

        fcntl.fcntl(descriptor, _F_SETPIPE_SZ, PIPE_BYTES)
