"""Every error that skipstone raises on purpose, as a tree.

    SkipstoneError              exit code 1
    ├── UsageError (ValueError) exit code 2: what the user gave cannot be used
    │   ├── DataError           ... because of a file or a row of their data
    │   └── MissingExtra        ... because an optional package is not installed
    ├── Refusal                 exit code 1: understood, and honestly declined
    ├── DamagedError            exit code 1: a stored file does not hold what was written
    ├── StorageError (OSError)  exit code 1: a file could not be written; what was there is intact
    ├── Diverged                exit code 1: the loss became NaN or infinite
    ├── WorkerFailed            exit code 1: a loading process died, hangs, or raised
    ├── OutOfMemory             exit code 1: not even the smallest part of a batch fits
    └── Interrupted             exit code 130 or 143: stopped by a signal, work saved

A message says what was wrong and where, what is allowed, and what to type next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SkipstoneError(Exception):
    """Root of the tree. `hint` is the next thing to type, shown on its own line."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} {self.hint}"


class UsageError(SkipstoneError, ValueError):
    """What the user gave cannot be used as it is."""

    exit_code = 2


class DataError(UsageError):
    """A file or a row of the user's data cannot be used; the message names it."""


class MissingExtra(UsageError):
    """An optional package is needed; the message names the extra to install."""


class Refusal(SkipstoneError):
    """The request was understood and is declined, with the reason; nothing was changed."""


class DamagedError(SkipstoneError):
    """A stored file is not what was written: cut, flipped, or not ours."""


class StorageError(SkipstoneError, OSError):
    """The operating system refused a read or a write; `errno` is its number (ENOSPC, EIO)."""

    def __init__(self, message: str, *, number: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.errno = number


class Diverged(SkipstoneError):
    """Training reached a loss that is no number; `step` and `files` say where."""

    def __init__(
        self, message: str, *, step: int, files: tuple[str, ...] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.files = files


class WorkerFailed(SkipstoneError):
    """A loading process was killed, is stopped, hangs, or raised; `file` is the one it was on."""

    def __init__(self, message: str, *, file: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.file = file


class OutOfMemory(SkipstoneError):
    """Memory is used up, and nothing is left to halve."""


class Interrupted(SkipstoneError):
    """A signal stopped the work after it was saved. The exit code is 128 + the signal's number."""

    def __init__(self, message: str, *, signal_number: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = 128 + signal_number


_MEMORY_WORDS = (
    *("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc"),
    # oneDNN, whose buffers are not torch's
    *("could not create a memory", "could not create a primitive"),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory is used up: of Python, of torch on any device.

    torch has a type of its own only for accelerators (torch.OutOfMemoryError); its CPU allocator
    and MPS raise RuntimeError with words.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    if "primitive descriptor" in text:  # oneDNN lacks such an operation
        return False
    return isinstance(error, RuntimeError) and any(words in text for words in _MEMORY_WORDS)


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A sentence that names the nearest of `choices`, or all of them when few, or nothing.

    >>> did_you_mean("resent18", ["resnet18", "vgg16"])
    "Did you mean 'resnet18'?"
    """
    known = list(choices)
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    if near:
        return "Did you mean " + " or ".join(repr(name) for name in near) + "?"
    if 0 < len(known) <= 12:
        return "Allowed: " + ", ".join(sorted(known)) + "."
    return ""
