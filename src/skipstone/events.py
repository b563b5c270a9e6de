"""What the library says while it works. The library emits; whoever listens (the CLI) draws.

    with listen(draw):
        for photo in track(photos, "reading", unit="photos"):
            ...
        note("37 of 12,004 files are unreadable")

Nothing is printed by the library itself. Without a listener events go nowhere.
"""

from __future__ import annotations

import contextlib
import contextvars
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
