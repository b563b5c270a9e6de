"""Every error that skipstone raises on purpose, as a tree.

    SkipstoneError              exit code 1
    ├── UsageError (ValueError) exit code 2: an argument, an option or the data cannot be used
    │   ├── DataError           ... because of a file or a row of the data
    │   ├── WrongTypeError (TypeError) ... because a value has the wrong type
    │   ├── FinishedAlready     exit code 0: ... because the same command wrote this output before
    │   └── MissingExtra        ... because an optional package is not installed
    ├── Refusal                 exit code 1: valid, but declined, with the reason
    ├── DamagedError            exit code 1: a stored file was changed or cut
    ├── StorageError (OSError)  exit code 1: a file could not be written; the old one is intact
    ├── Diverged                exit code 1: the loss became NaN or infinite
    ├── WorkerFailed            exit code 1: a loading process died, hangs, or raised
    ├── OutOfMemory             exit code 1: not even the smallest part of a batch fits
    └── Interrupted             exit code 130 or 143: stopped by a signal, work saved

A message says what is wrong and where, what is allowed, and what to type next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SkipstoneError(Exception):
    """Root of the tree. `hint` says what to type next, on a line of its own."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} {self.hint}"


class UsageError(SkipstoneError, ValueError):
    """An argument, an option or the data cannot be used."""

    exit_code = 2


class DataError(UsageError):
    """A file or a row of the user's data cannot be used; the message names it."""


class WrongTypeError(UsageError, TypeError):
    """A value from Python has a type that is not allowed."""


class FinishedAlready(UsageError):
    """The output exists, and the same command wrote it from the same files: nothing is to do."""

    exit_code = 0

    def __init__(self, out: object) -> None:
        super().__init__(
            f"{out} is finished already: the same command wrote it from the same files.",
            hint="To make it again, remove it, or name another place with --out.",
        )


class MissingExtra(UsageError):
    """An optional package is needed; the message names the extra to install."""


class Refusal(SkipstoneError):
    """A valid request is declined, with the reason; nothing was changed."""


class DamagedError(SkipstoneError):
    """A stored file was changed or cut, or skipstone did not write it."""


class StorageError(SkipstoneError, OSError):
    """The operating system refused a read or a write; `errno` is its number (ENOSPC, EIO)."""

    def __init__(self, message: str, *, number: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.errno = number


class Diverged(SkipstoneError):
    """The loss became NaN or infinite; `step` and `files` say where."""

    def __init__(
        self, message: str, *, step: int, files: tuple[str, ...] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.files = files


class WorkerFailed(SkipstoneError):
    """A loading process was killed, stopped or hangs, or it raised; `file` is the file it read."""

    def __init__(self, message: str, *, file: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.file = file


class OutOfMemory(SkipstoneError):
    """Out of memory, and the batch cannot be halved further."""


class Interrupted(SkipstoneError):
    """A signal stopped the work, which is saved. The exit code is 128 + the signal's number."""

    def __init__(self, message: str, *, signal_number: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = 128 + signal_number


_OUT_OF_MEMORY_TEXTS = (
    *("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc"),
    # oneDNN, which allocates its own buffers
    *("could not create a memory", "could not create a primitive"),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` means out of memory: of Python, or of torch on any device.

    torch has an error type for it only on accelerators (torch.OutOfMemoryError); its CPU allocator
    and MPS raise RuntimeError, which only the text tells apart.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    if "primitive descriptor" in text:  # oneDNN has no such operation
        return False
    return isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY_TEXTS)


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A sentence with the nearest of `choices`, or with all of them if they are few; else "".

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
