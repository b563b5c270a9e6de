"""Progress and notes: the library emits events, a listener (the command line) prints them.

    with listen(draw):
        for photo in track(photos, "reading", unit="photos"):
            ...
        note("37 of 12,004 files are unreadable")

The library itself prints nothing. Without a listener the events are dropped, except at Python's
prompt and in notebooks, where `skipstone.commands.base` listens with a `LinePrinter`.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import TypeVar

from skipstone.core.formatting import format_duration

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage of work has begun. `total` is None if its length is unknown."""

    stage: str
    total: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class StageAdvanced:
    """`amount` more units of `stage` are done; `text` may hold a current value (the loss)."""

    stage: str
    amount: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class StageFinished:
    stage: str


@dataclass(frozen=True, slots=True)
class Note:
    """One line a person should read. `level` is "info" or "warning"."""

    text: str
    level: str = "info"


Event = StageStarted | StageAdvanced | StageFinished | Note
Listener = Callable[[Event], None]

_listener: contextvars.ContextVar[Listener | None] = contextvars.ContextVar(
    "listener", default=None
)


def emit_event(event: Event) -> None:
    """Pass `event` to the current listener, if there is one."""
    listener = _listener.get()
    if listener is not None:
        listener(event)


@contextlib.contextmanager
def use_listener(listener: Listener) -> Iterator[None]:
    """Within the block, `listener` receives every event of this context."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def has_listener() -> bool:
    """Whether a listener receives the events of this context."""
    return _listener.get() is not None


class LinePrinter:
    """A listener that writes a line for each note, and one for each outermost stage that lasts
    longer than `PATIENCE` seconds.

    Args:
        write: function(text, kind), the kind being a note's level or "stage"; prints by default.
    """

    PATIENCE = 2.0

    def __init__(self, write: Callable[[str, str], None] | None = None) -> None:
        self._write = _print if write is None else write
        self._open: list[str] = []  # stages under way, outermost first
        self._start = 0.0  # of the outermost one
        self._is_printed = False  # whether the outermost one has its line

    def __call__(self, event: Event) -> None:
        match event:
            case Note(text, level):
                self._write(text, level)
            case StageStarted(progress_stage, _, _):
                if not self._open:
                    self._start, self._is_printed = time.monotonic(), False
                self._open.append(progress_stage)
            case StageAdvanced():
                self._print_if_long("...")
            case StageFinished(progress_stage):
                if self._open == [progress_stage]:
                    self._print_if_long(f"took {format_duration(time.monotonic() - self._start)}")
                if progress_stage in self._open:
                    self._open.remove(progress_stage)

    def _print_if_long(self, ending: str) -> None:
        seconds = time.monotonic() - self._start
        if self._open and not self._is_printed and seconds >= self.PATIENCE:
            self._is_printed = True
            self._write(f"{self._open[0]} {ending}", "stage")


def _print(text: str, kind: str) -> None:
    print(text, flush=True)


def emit_note(text: str) -> None:
    emit_event(Note(text))


def emit_warning(text: str) -> None:
    emit_event(Note(text, level="warning"))


@contextlib.contextmanager
def progress_stage(
    name: str, *, total: float | None = None, unit: str = ""
) -> Iterator[Callable[..., None]]:
    """A stage of work; call the yielded `advance(amount=1, text="")` for each part that is done."""
    emit_event(StageStarted(name, total, unit))

    def advance(amount: float = 1, text: str = "") -> None:
        emit_event(StageAdvanced(name, amount, text))

    try:
        yield advance
    finally:
        emit_event(StageFinished(name))


def track_progress(
    items: Iterable[T], name: str, *, total: int | None = None, unit: str = ""
) -> Iterator[T]:
    """Yield `items`, one step of progress each."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_stage(name, total=total, unit=unit) as advance:
        for item in items:
            yield item
            advance()
