"""The command line: parse, call one command, print."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from skipstone.core.errors import FinishedAlready, SkipstoneError, is_out_of_memory

if TYPE_CHECKING:
    from skipstone.cli.parser import ParsedCommand

#: Exit code of a bug in skipstone: EX_SOFTWARE of sysexits.h.
BUG = 70

#: Errors of a file system that concern a path of the user, not a bug.
_PATH_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)


class SigtermReceived(BaseException):
    """Raised on SIGTERM, so that running work cleans up its temporary files, as on Ctrl-C."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code.

    0 success; 1 refused, failed, or some files could not be read; 2 wrong input; 70 a bug; 130
    stopped by Ctrl-C, 143 by SIGTERM. With `--json`, standard output is exactly one JSON object.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    _escape_unencodable_names()
    if arguments[:1] == ["help"] and len(arguments) == 2:
        arguments = [arguments[1], "--help"]
    if arguments and arguments[0] in ("--version", "-V"):
        from skipstone import __version__

        print(f"skipstone {__version__}")
        return 0
    try:
        with _raise_on_sigterm():
            code = _run_and_report(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (`| head`) has closed the pipe
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run_and_report(arguments: list[str]) -> int:
    """Run the command and return its exit code; an error becomes one line on standard error."""
    as_json, debug = "--json" in arguments, "--debug" in arguments
    try:
        from skipstone.cli.parser import parse_command_line, top_level_help

        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(top_level_help(), end="")
            return 0 if arguments else 2
        return _run(parse_command_line(arguments))
    except FinishedAlready as done:
        print(json_text({"finished": done.message, "hint": done.hint}) if as_json else done)
        return done.exit_code
    except SkipstoneError as error:
        return _report(error.message, error.hint, error.exit_code, as_json, debug)
    except KeyboardInterrupt:
        return _stopped("Ctrl-C", signal.SIGINT, as_json, debug)
    except SigtermReceived:
        return _stopped("SIGTERM", signal.SIGTERM, as_json, debug)
    except SystemExit as error:  # argparse has printed `skipstone COMMAND --help`
        return error.code if isinstance(error.code, int) else 0
    except BrokenPipeError:
        raise
    except Exception as error:
        message = _path_problem(error)
        if message is not None:
            hint = "Change its permissions, or choose another path."
            return _report(message, hint, 1, as_json, debug)
        if is_out_of_memory(error) or _is_refused_memory(error):
            reason = " ".join(str(error).split())[:200]
            hint = "Raise the limit (ulimit -v), close other programs, or try a smaller --size or "
            hint += "--batch-size, where the command has them."
            return _report(f"out of memory ({reason}).", hint, 1, as_json, debug)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        message = f"this is a bug in skipstone ({text[:300]})."
        hint = "Please report it with the output of the same command with --debug."
        return _report(message, hint, BUG, as_json, debug)


def _run(parsed: ParsedCommand) -> int:
    from skipstone.cli.terminal import ProgressDisplay, Terminal
    from skipstone.core.events import Note, use_listener

    terminal = Terminal(quiet_output=parsed.as_json)
    with ProgressDisplay(terminal) as display, use_listener(display):

        def print_warning(text: str) -> None:
            display(Note(text, "warning"))

        with contextlib.nullcontext() if parsed.debug else _warnings_as_notes(print_warning):
            result = parsed.run()
    if parsed.as_json:
        print(json_text(result.to_json()))
    else:
        parsed.print_result(result, terminal)
    return int(result.exit_code)


def json_text(value: Mapping[str, Any]) -> str:
    """One line of JSON in ASCII. NaN and infinity, which JSON lacks, become null."""
    return json.dumps(_replace_non_finite(value), allow_nan=False)


def _replace_non_finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _replace_non_finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replace_non_finite(item) for item in value]
    return value


def _stopped(by: str, number: int, as_json: bool, debug: bool) -> int:
    message = f"Stopped by {by}; no file is left half-written."
    hint = "The same command resumes where it can, or starts again."
    return _report(message, hint, 128 + number, as_json, debug)


def _report(message: str, hint: str | None, code: int, as_json: bool, debug: bool) -> int:
    from skipstone.cli.terminal import Terminal

    if debug:
        traceback.print_exc()
    Terminal().print_error(message, hint)
    if as_json:
        print(json_text({"error": message, "hint": hint}))
    return code


@contextlib.contextmanager
def _raise_on_sigterm() -> Iterator[None]:
    """Within the block SIGTERM raises SigtermReceived once. Later ones are ignored, because
    `timeout` sends two and the cleanup takes a moment. The training loop has its own handler, which
    saves. Python delivers signals to the main thread only; in another thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def raise_sigterm(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise SigtermReceived

    before = signal.signal(signal.SIGTERM, raise_sigterm)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _warnings_as_notes(print_warning: Callable[[str], None]) -> Iterator[None]:
    """Print Pillow's warnings about the user's files (damaged EXIF, huge images) once each.

    Other warnings are for developers; `--debug` shows all of them.
    """
    printed: set[str] = set()

    def show_warning(
        message: Warning | str, category: type[Warning], filename: str, *_: Any
    ) -> None:
        text = str(message)
        if f"{os.sep}PIL{os.sep}" in filename and text not in printed:
            printed.add(text)
            print_warning(f"Pillow: {text}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.showwarning = show_warning  # type: ignore[assignment]
        yield


def _path_problem(error: Exception) -> str | None:
    """A sentence about a path that cannot be read or written; None for another error."""
    if not isinstance(error, OSError) or error.errno not in _PATH_ERRORS:
        return None
    if not isinstance(error.filename, str | bytes):
        return None
    return f"{os.fsdecode(error.filename)}: {os.strerror(error.errno)}."


def _is_refused_memory(error: Exception) -> bool:
    """Whether the system refused memory to a library that it loads, or to a new thread."""
    text = str(error).lower()
    words = ("cannot allocate memory", "failed to map segment", "can't start new thread")
    is_refused = any(word in text for word in (*words, "resource temporarily unavailable"))
    return isinstance(error, OSError | ImportError | RuntimeError) and is_refused


def _escape_unencodable_names() -> None:
    """Characters of file names that the terminal's encoding lacks are escaped, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
