"""What the library says while it works. The library emits; whoever listens (the CLI) draws.

    with listen(draw):
        for photo in track(photos, "reading", unit="photos"):
            ...
        note("37 of 12,004 files are unreadable")

Nothing is printed by the library itself. Without a listener events go nowhere, but for calls from
Python's prompt or a notebook (`skipstone.commands.base`), which get a `LinePrinter`.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Started:
    """A stage of work begins. `total` is None when its length is unknown."""

    stage: str
    total: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class Advanced:
    """`amount` more units of `stage` are done; `text` may carry a live figure (a loss)."""

    stage: str
    amount: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    stage: str


@dataclass(frozen=True, slots=True)
class Note:
    """One line a person should read. `level` is "info" or "warning"."""

    text: str
    level: str = "info"


Event = Started | Advanced | Finished | Note
Listener = Callable[[Event], None]

_listener: contextvars.ContextVar[Listener | None] = contextvars.ContextVar(
    "listener", default=None
)


def emit(event: Event) -> None:
    """Hand `event` to the current listener, if any."""
    listener = _listener.get()
    if listener is not None:
        listener(event)


@contextlib.contextmanager
def listen(listener: Listener) -> Iterator[None]:
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
    """A listener that writes lines: each note, and one for the outermost stage once it has lasted
    `PATIENCE` seconds; stages within another get none.

    Args:
        write: function(text, kind), the kind being a note's level or "stage"; prints by default.
    """

    PATIENCE = 2.0

    def __init__(self, write: Callable[[str, str], None] | None = None) -> None:
        self._write = _print if write is None else write
        self._open: list[str] = []  # stages under way, outermost first
        self._began = 0.0  # of the outermost one
        self._said = False  # whether the outermost one has had its line

    def __call__(self, event: Event) -> None:
        match event:
            case Note(text, level):
                self._write(text, level)
            case Started(stage, _, _):
                if not self._open:
                    self._began, self._said = time.monotonic(), False
                self._open.append(stage)
            case Advanced():
                self._say_if_long("...")
            case Finished(stage):
                if self._open == [stage]:
                    self._say_if_long(f"took {time.monotonic() - self._began:.0f} s")
                if stage in self._open:
                    self._open.remove(stage)

    def _say_if_long(self, how: str) -> None:
        lasted = time.monotonic() - self._began
        if self._open and not self._said and lasted >= self.PATIENCE:
            self._said = True
            self._write(f"{self._open[0]} {how}", "stage")


def _print(text: str, kind: str) -> None:
    print(text, flush=True)


def note(text: str) -> None:
    emit(Note(text))


def warn(text: str) -> None:
    emit(Note(text, level="warning"))


@contextlib.contextmanager
def stage(
    name: str, *, total: float | None = None, unit: str = ""
) -> Iterator[Callable[..., None]]:
    """A stage of work; call the yielded `advance(amount=1, text="")` as it proceeds."""
    emit(Started(name, total, unit))

    def advance(amount: float = 1, text: str = "") -> None:
        emit(Advanced(name, amount, text))

    try:
        yield advance
    finally:
        emit(Finished(name))


def track(
    items: Iterable[T], name: str, *, total: int | None = None, unit: str = ""
) -> Iterator[T]:
    """Yield `items`, one step of progress each."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with stage(name, total=total, unit=unit) as advance:
        for item in items:
            yield item
            advance()
