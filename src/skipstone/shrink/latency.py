"""How long one answer takes, measured so that the comparison is fair.

- Interleaved: every round times each candidate once, in an order drawn anew, so that whatever
  slows the machine for a while slows all alike. Ratios are taken within rounds.
- Warm: each timed call follows an untimed one of the same candidate.
- Equal: batch 1, the same number of threads, on the same processors, with the input in place.
- Alone: Python's garbage collector is off, and nothing else of ours runs.
- Spread: medians with the 10th and 90th percentile; ratios with a 95 % interval from a bootstrap
  over blocks of neighbouring rounds, which are not independent (Politis and Romano 1992). Where
  the interval holds 1, or the ratio is within 2 % of it, the answer is "no difference": the same
  program, loaded twice, differs by as much through where its memory happens to lie.
"""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skipstone import events
from skipstone.runtime.base import Runtime

Call = Callable[[], Any]
LEAST_ROUNDS, MOST_ROUNDS = 10, 300
#: Above this share of the processors, what others do shows in the figures.
BUSY = 0.1
SAME = "no difference"
#: Ratios this close to 1 are no difference, however sure they are.
ALIKE = 0.02
#: Where two equal candidates differ by more than this, no figure of the race is worth much.
UNSTEADY = 0.05
#: More threads do not help one picture, and a benchmark that takes a whole server is none.
MOST_THREADS = 4


@dataclass(frozen=True, slots=True)
class Ratio:
    """`value` times faster, with its interval."""

    value: float
    low: float
    high: float

    @property
    def differs(self) -> bool:
        """Whether it is sure, and large enough to be worth a word."""
        return not self.low <= 1 <= self.high and abs(np.log(self.value)) > np.log1p(ALIKE)

    @property
    def words(self) -> str:
        if not self.differs:
            return SAME
        if self.value >= 1:
            return f"{self.value:.2f}× faster"
        return f"{1 / self.value:.2f}× slower"

    @property
    def steady(self) -> bool:
        """Of two equal candidates: whether the machine told them apart by no more than 5 %."""
        return not self.differs or abs(self.value - 1) <= UNSTEADY

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "low": self.low, "high": self.high, "words": self.words}


@dataclass(frozen=True)
class Race:
    """Seconds of each candidate by name, (rounds,); element i of all is from round i.

    Args:
        threads: of each candidate.
        processors: that the process was held to; None where the system has no such call.
        others: share of all processors that other programs used meanwhile; None where unknown.
    """

    seconds: Mapping[str, np.ndarray]
    threads: int
    processors: tuple[int, ...] | None = None
    others: float | None = None

    @property
    def rounds(self) -> int:
        return len(next(iter(self.seconds.values())))

    def median(self, name: str) -> float:
        """Milliseconds."""
        return float(np.median(self.seconds[name])) * 1e3

    def fastest(self, *names: str) -> str:
        return min(names, key=self.median)

    def ratio(
        self, slow: str, fast: str, *, confidence: float = 0.95, resamples: int = 2000
    ) -> Ratio:
        """How many times faster `fast` is: the median over rounds of slow / fast."""
        from scipy.special import ndtr, stdtrit

        pairs = self.seconds[slow] / self.seconds[fast]
        n = len(pairs)
        rng = np.random.default_rng(0)
        length = max(1, round(n**0.5))
        starts = rng.integers(0, n, (resamples, -(-n // length)))
        rows = (starts[:, :, None] + np.arange(length)) % n  # (resamples, blocks, length)
        drawn = np.median(pairs[rows.reshape(resamples, -1)[:, :n]], axis=1)
        # few blocks know little of their own spread: percentiles as far out as Student's quantile
        # (Hesterberg 2015, sec. 3.5)
        blocks = max(n / length, 2.0)
        few = float(stdtrit(blocks - 1, (1 + confidence) / 2)) * (blocks / (blocks - 1)) ** 0.5
        tail = float(ndtr(-few))
        low, high = np.quantile(drawn, [tail, 1 - tail])
        return Ratio(float(np.median(pairs)), float(low), float(high))

    def to_json(self) -> dict[str, Any]:
        rows = []
        for name, seconds in self.seconds.items():
            low, middle, high = np.percentile(seconds * 1e3, [10, 50, 90]).tolist()
            rows.append({"name": name, "median_ms": middle, "p10_ms": low, "p90_ms": high})
        return {
            "batch": 1,
            "rounds": self.rounds,
            "threads": self.threads,
            "processors": None if self.processors is None else list(self.processors),
            "used_by_others": self.others,
            "rows": rows,
        }


def race(
    calls: Mapping[str, Call],
    *,
    seconds: float = 8.0,
    threads: int | None = None,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Race:
    """Time candidates against each other; see the top of this file.

    Args:
        calls: one answer each. Make them with `threads` threads (`usual_threads()` is the default).
        seconds: to spend, within 10 to 300 rounds.
    """
    threads = threads or usual_threads()
    names = list(calls)
    rng = np.random.default_rng(seed)
    with _alone(threads) as processors:
        for name in names * 3:
            calls[name]()
        started = clock()
        for name in names:
            calls[name]()
        once = max(clock() - started, 1e-9)
        rounds = int(min(max(seconds / (2 * once), LEAST_ROUNDS), MOST_ROUNDS))
        taken: dict[str, list[float]] = {name: [] for name in names}
        load, began = _Load(), clock()
        with events.stage("measuring latency", total=rounds, unit="rounds") as advance:
            for number in range(rounds):
                if number >= LEAST_ROUNDS and clock() - began > seconds:
                    break  # calls take longer now than when their number was planned
                for index in rng.permutation(len(names)):
                    call = calls[names[index]]
                    call()
                    before = clock()
                    call()
                    taken[names[index]].append(clock() - before)
                advance()
        others = load.of_others()
    if others is not None and others > BUSY:
        events.warn(
            f"Other programs used {others:.0%} of the processors while latency was measured; "
            "measure again on a quiet machine."
        )
    found = {name: np.array(values) for name, values in taken.items()}
    return Race(found, threads, processors, others)


def usual_threads() -> int:
    """The processors that this process may use, at most four."""
    return max(1, min(len(_processors()), MOST_THREADS))


def bind(runtime: Runtime, arrays: Mapping[str, np.ndarray]) -> Call:
    """One answer of a runtime to these arrays (batch 1), with nothing left to do but compute, where
    it has a way to that (`bound`)."""
    bound: Callable[[Mapping[str, np.ndarray]], Call] | None = getattr(runtime, "bound", None)
    return partial(runtime.run, arrays) if bound is None else bound(arrays)


# --- a quiet machine, as far as a process can make it -------------------------------------------


@contextlib.contextmanager
def _alone(threads: int) -> Iterator[tuple[int, ...] | None]:
    """No garbage collection; torch at `threads`; every thread of ours on the same processors."""
    from skipstone.runtime.threads import torch_threads  # brings torch

    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        with torch_threads(threads), _pinned(threads) as processors:
            yield processors
    finally:
        if collecting:
            gc.enable()


@contextlib.contextmanager
def _pinned(count: int) -> Iterator[tuple[int, ...] | None]:
    """Hold the process to `count` processors, where the system can.

    The call moves one thread; the runtimes' pools exist already, so each of their threads is moved.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    usual = os.sched_getaffinity(0)
    chosen = tuple(sorted(usual)[:count])
    moved = {thread: mask for thread in _threads() if (mask := _move(thread, set(chosen)))}
    try:
        yield chosen
    finally:
        for thread in _threads():  # threads made meanwhile have inherited the narrow set
            _move(thread, moved.get(thread, usual))


class _Load:
    """How much of the machine other programs use from now on (Linux: /proc/stat)."""

    def __init__(self) -> None:
        self._start = self._now()

    def of_others(self) -> float | None:
        now = self._now()
        if self._start is None or now is None:
            return None
        busy, total, own = (b - a for a, b in zip(self._start, now, strict=True))
        return float(min(max((busy - own) / total, 0.0), 1.0)) if total > 0 else None

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds since start: of all processors busy, of all, of this process."""
        stat = Path("/proc/stat")
        if not stat.is_file():
            return None
        ticks = [int(word) for word in stat.read_text().split("\n", 1)[0].split()[1:9]]
        idle, second = ticks[3] + ticks[4], os.sysconf("SC_CLK_TCK")
        times = os.times()
        return (sum(ticks) - idle) / second, sum(ticks) / second, times.user + times.system


def _threads() -> list[int]:
    folder = Path("/proc/self/task")
    return [int(entry.name) for entry in folder.iterdir()] if folder.is_dir() else [0]


def _move(thread: int, processors: set[int]) -> set[int] | None:
    """Returns where the thread was; None for one that has ended."""
    try:
        before = os.sched_getaffinity(thread)
        os.sched_setaffinity(thread, processors)
    except OSError:
        return None
    return before


def _processors() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
