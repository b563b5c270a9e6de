"""Benchmark the latency of one prediction, with candidates interleaved for a fair comparison.

- Interleaved: every round times each candidate once, in a new random order, so that a slow phase of
  the machine slows all of them. Ratios are taken within rounds.
- Warm: each timed call follows an untimed one of the same candidate.
- Equal: batch 1, the same number of threads, the same processors, the input in memory.
- Quiet: Python's garbage collector is off, and nothing else of this process runs.
- Spread: medians with the 10th and 90th percentile; ratios with a 95 % interval from a bootstrap
  over blocks of neighbouring rounds, which are not independent (Politis and Romano 1992). If the
  interval contains 1, or the ratio is within 2 % of 1, the result is "no difference": the memory
  layout alone makes two copies of one program differ by as much.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from skipstone.core import events
from skipstone.inference.predictor import Runtime

Call = Callable[[], Any]
MIN_ROUNDS, MAX_ROUNDS = 10, 300
#: Above this share of the processors, other programs distort the latencies.
BUSY_SHARE = 0.1
NO_DIFFERENCE = "no difference"
#: Ratios this close to 1 count as no difference, also if they are significant.
MIN_DIFFERENCE = 0.02
NOT_COMPARABLE = "not comparable"
#: If the interval of the ratio of two equal candidates reaches further from 1 than this, the
#: benchmark is not reliable.
MAX_CONTROL_DIFFERENCE = 0.1
#: More threads do not help with a batch of one.
MAX_THREADS = 4


@runtime_checkable
class BindsInputs(Protocol):
    """A runtime that can keep an input in place, so that a call does nothing but compute."""

    def bind_inputs(self, arrays: Mapping[str, np.ndarray]) -> Call: ...


@dataclass(frozen=True, slots=True)
class SpeedRatio:
    """`value` times faster, with its interval."""

    value: float
    low: float
    high: float

    @property
    def is_different(self) -> bool:
        """Whether it is significant and larger than ALIKE."""
        return not self.low <= 1 <= self.high and abs(np.log(self.value)) > np.log1p(MIN_DIFFERENCE)

    @property
    def description(self) -> str:
        if not self.is_different:
            return NO_DIFFERENCE
        if self.value >= 1:
            return f"{self.value:.2f}× faster"
        return f"{1 / self.value:.2f}× slower"

    @property
    def is_steady(self) -> bool:
        """For two equal candidates: whether the interval is narrow and includes no more than a
        difference of 10 %."""
        furthest = 1 + MAX_CONTROL_DIFFERENCE
        return 1 / furthest <= self.low <= self.high <= furthest

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "low": self.low, "high": self.high, "words": self.description}


@dataclass(frozen=True)
class BenchmarkResult:
    """Seconds of each candidate by name, (rounds,); element i is from round i.

    Args:
        threads: of each candidate.
        processors: that the process was pinned to; None if the system does not support it.
        used_by_others: share of all processors that other programs used meanwhile; None if unknown.
    """

    seconds: Mapping[str, np.ndarray]
    threads: int
    processors: tuple[int, ...] | None = None
    used_by_others: float | None = None

    @property
    def rounds(self) -> int:
        return len(next(iter(self.seconds.values())))

    def median_ms(self, name: str) -> float:
        """Milliseconds."""
        return float(np.median(self.seconds[name])) * 1e3

    def fastest_of(self, *names: str) -> str:
        return min(names, key=self.median_ms)

    def speed_ratio(
        self, slow: str, fast: str, *, confidence: float = 0.95, resamples: int = 2000
    ) -> SpeedRatio:
        """Speedup of `fast`: the median over rounds of slow / fast."""
        from scipy.special import ndtr, stdtrit

        pairs = self.seconds[slow] / self.seconds[fast]
        n = len(pairs)
        rng = np.random.default_rng(0)
        length = max(1, round(n**0.5))
        starts = rng.integers(0, n, (resamples, -(-n // length)))
        rows = (starts[:, :, None] + np.arange(length)) % n  # (resamples, blocks, length)
        drawn = np.median(pairs[rows.reshape(resamples, -1)[:, :n]], axis=1)
        # expanded percentiles for few blocks, by Student's quantile (Hesterberg 2015, sec. 3.5)
        blocks = max(n / length, 2.0)
        quantile = float(stdtrit(blocks - 1, (1 + confidence) / 2))
        tail = float(ndtr(-(quantile * (blocks / (blocks - 1)) ** 0.5)))
        low, high = np.quantile(drawn, [tail, 1 - tail])
        return SpeedRatio(float(np.median(pairs)), float(low), float(high))

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
            "used_by_others": self.used_by_others,
            "rows": rows,
        }


def interleaved_benchmark(
    calls: Mapping[str, Call],
    *,
    seconds: float = 8.0,
    threads: int | None = None,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> BenchmarkResult:
    """Time candidates against each other; see the module's docstring.

    Args:
        calls: one prediction each, made with `threads` threads (default: `default_threads()`).
        seconds: to spend, within 10 to 300 rounds.
    """
    threads = threads or default_threads()
    names = list(calls)
    rng = np.random.default_rng(seed)
    with _quiet_process(threads) as processors:
        for name in names * 3:
            calls[name]()
        started = clock()
        for name in names:
            calls[name]()
        once = max(clock() - started, 1e-9)
        rounds = int(min(max(seconds / (2 * once), MIN_ROUNDS), MAX_ROUNDS))
        timings: dict[str, list[float]] = {name: [] for name in names}
        load, began = _Load(), clock()
        with events.progress_stage("measuring latency", total=rounds, unit="rounds") as advance:
            for number in range(rounds):
                if number >= MIN_ROUNDS and clock() - began > seconds:
                    break  # calls have become slower
                for index in rng.permutation(len(names)):
                    call = calls[names[index]]
                    call()
                    before = clock()
                    call()
                    timings[names[index]].append(clock() - before)
                advance()
        others = load.of_others()
    if others is not None and others > BUSY_SHARE:
        events.emit_warning(
            f"Other programs used {others:.0%} of the processors while latency was measured; "
            "measure again on a quiet machine."
        )
    arrays = {name: np.array(values) for name, values in timings.items()}
    return BenchmarkResult(arrays, threads, processors, others)


def default_threads() -> int:
    """The number of processors that this process may use, at most four."""
    return max(1, min(len(_processors()), MAX_THREADS))


def make_timed_call(runtime: Runtime, arrays: Mapping[str, np.ndarray]) -> Call:
    """A call that runs a runtime on these arrays (batch 1), without copies if it can."""
    if isinstance(runtime, BindsInputs):
        return runtime.bind_inputs(arrays)
    return partial(runtime.run, arrays)


# --- a quiet process ----------------------------------------------------------------------------


@contextlib.contextmanager
def _quiet_process(threads: int) -> Iterator[tuple[int, ...] | None]:
    """No garbage collection; torch with `threads`; all threads on the same processors."""
    from skipstone.inference.backends.torch_backend import torch_threads  # imports torch

    gc_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        with torch_threads(threads), _pinned(threads) as processors:
            yield processors
    finally:
        if gc_enabled:
            gc.enable()


@contextlib.contextmanager
def _pinned(count: int) -> Iterator[tuple[int, ...] | None]:
    """Pin the process to `count` processors, on Linux.

    The system call pins one thread; the runtimes' thread pools already exist, so each thread is
    pinned.
    """
    if sys.platform != "linux":
        yield None
        return
    allowed = os.sched_getaffinity(0)
    pinned = tuple(sorted(allowed)[:count])
    previous = {thread: mask for thread in _threads() if (mask := _pin(thread, set(pinned)))}
    try:
        yield pinned
    finally:
        for thread in _threads():  # new threads have inherited the pinned set
            _pin(thread, previous.get(thread, allowed))


class _Load:
    """The share of the processors that other programs use from now on (Linux: /proc/stat)."""

    def __init__(self) -> None:
        self._start = self._now()

    def of_others(self) -> float | None:
        now = self._now()
        if self._start is None or now is None:
            return None
        busy, total, ours = (b - a for a, b in zip(self._start, now, strict=True))
        return float(min(max((busy - ours) / total, 0.0), 1.0)) if total > 0 else None

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds since boot: of all processors busy, of all in total, of this process."""
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


def _pin(thread: int, processors: set[int]) -> set[int] | None:
    """Returns the previous processors of the thread; None for one that has ended."""
    try:
        before = os.sched_getaffinity(thread)
        os.sched_setaffinity(thread, processors)
    except OSError:
        return None
    return before


def _processors() -> set[int]:
    if sys.platform == "linux":
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
