"""The command line: parse, make one call, print."""

from __future__ import annotations

import contextlib
import errno
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

from skipstone.errors import SkipstoneError, is_out_of_memory

if TYPE_CHECKING:
    from skipstone.cli.parser import ParsedCommand

#: EX_SOFTWARE of sysexits.h: neither the user's fault (2) nor a refusal (1), but ours.
BUG = 70

#: What a file system refuses; whose fault it is, the path says.
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)


class Terminated(BaseException):
    """SIGTERM came. Like Ctrl-C it unwinds what is under way; nothing half-written stays."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code.

    0 done; 1 refused, failed, or some files were bad; 2 bad input; 70 a bug of ours; 130 stopped
    by Ctrl-C, 143 by SIGTERM. With `--json`, standard output is exactly one JSON object.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    _let_every_name_be_printed()
    if arguments[:1] == ["help"] and len(arguments) == 2:
        arguments = [arguments[1], "--help"]
    if arguments and arguments[0] in ("--version", "-V"):
        from skipstone import __version__

        print(f"skipstone {__version__}")
        return 0
    try:
        with _sigterm_unwinds():
            code = _run_or_report(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (`| head`) has seen enough
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run_or_report(arguments: list[str]) -> int:
    """The exit code; every error becomes one line on standard error."""
    as_json, debug = "--json" in arguments, "--debug" in arguments
    try:
        from skipstone.cli.parser import parse, top_level_help

        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(top_level_help(), end="")
            return 0 if arguments else 2
        return _run(parse(arguments))
    except SkipstoneError as error:
        return _report(error.message, error.hint, error.exit_code, as_json, debug)
    except KeyboardInterrupt:
        return _stopped("Ctrl-C", signal.SIGINT, as_json, debug)
    except Terminated:
        return _stopped("SIGTERM", signal.SIGTERM, as_json, debug)
    except SystemExit as stop:  # argparse has printed `skipstone VERB --help`
        return stop.code if isinstance(stop.code, int) else 0
    except BrokenPipeError:
        raise
    except Exception as error:
        path = getattr(error, "filename", None)
        if getattr(error, "errno", None) in _FORBIDDEN and isinstance(path, str | bytes):
            message = f"{os.fsdecode(path)}: {os.strerror(error.errno)}."  # type: ignore[attr-defined]
            hint = "Give yourself the right to it, or name another place."
            return _report(message, hint, 1, as_json, debug)
        if is_out_of_memory(error):
            hint = "Try a smaller --batch-size or --size, where the command has them."
            return _report("the machine's memory is used up.", hint, 1, as_json, debug)
        what = " ".join(f"{type(error).__name__}: {error}".split())
        message = f"this is a bug in skipstone ({what[:300]})."
        hint = "To see where, run it again with --debug; please report it with what that prints."
        return _report(message, hint, BUG, as_json, debug)


def _run(parsed: ParsedCommand) -> int:
    from skipstone.cli.terminal import Drawing, Terminal
    from skipstone.events import Note, listen

    terminal = Terminal(quiet_output=parsed.as_json)
    with Drawing(terminal) as drawing, listen(drawing):

        def print_warning(text: str) -> None:
            drawing(Note(text, "warning"))

        with contextlib.nullcontext() if parsed.debug else _warnings_as_notes(print_warning):
            result = parsed.run()
    if parsed.as_json:
        print(json_text(result.to_json()))
    else:
        parsed.render(result, terminal)
    return int(result.exit_code)


def json_text(value: Mapping[str, Any]) -> str:
    """One line of JSON in ASCII. A figure that is no number is null: JSON has no NaN."""
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _stopped(by: str, number: int, as_json: bool, debug: bool) -> int:
    message = f"Stopped by {by}; no file is left half-written."
    hint = "The same command goes on where it can, or begins again."
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
def _sigterm_unwinds() -> Iterator[None]:
    """Within the block SIGTERM raises Terminated once; what comes after it is not heard, because
    `timeout` sends it twice and cleaning up takes a moment. The training loop has a handling of its
    own, which saves. Python delivers signals to the main thread; in another one nothing is caught.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _warnings_as_notes(say: Callable[[str], None]) -> Iterator[None]:
    """Python warnings about a user's files are said once each; others are for developers.

    Pillow warns of odd files (damaged EXIF, huge pictures). Our own errors speak for the rest;
    `--debug` shows every warning.
    """
    said: set[str] = set()

    def show(message: Warning | str, category: type[Warning], filename: str, *_: Any) -> None:
        text = str(message)
        if f"{os.sep}PIL{os.sep}" in filename and text not in said:
            said.add(text)
            say(f"Pillow: {text}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def _let_every_name_be_printed() -> None:
    """File names may hold what the terminal's encoding lacks: it is escaped, not an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
