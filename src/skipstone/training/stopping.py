"""SIGTERM and Ctrl-C: finish the step, save, exit. A second Ctrl-C exits at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from skipstone.core import events


class StopNow(BaseException):
    """Raised inside `Stopping.may_raise` when a signal arrives."""


class Stopping:
    """Whether a signal asked to stop.

    Attributes:
        signal_number: of the first signal, or 0.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._raise = False

    @contextlib.contextmanager
    def may_raise(self) -> Iterator[None]:
        """For long work without side effects (evaluation): a signal ends it with StopNow."""
        if self.signal_number:
            raise StopNow
        self._raise = True
        try:
            yield
        finally:
            self._raise = False

    def handle_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number and number == signal.SIGINT:
            os._exit(128 + number)
        self.signal_number = self.signal_number or number
        events.emit_note("Stopping: saving after this step. Press Ctrl-C again to stop at once.")
        if self._raise:
            self._raise = False
            raise StopNow


@contextlib.contextmanager
def watch_signals() -> Iterator[Stopping]:
    """In the block SIGTERM and SIGINT set the flag instead of ending the process.

    Python delivers signals to the main thread; in other threads none is caught.
    """
    stopping = Stopping()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = {
        number: signal.signal(number, stopping.handle_signal)
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
