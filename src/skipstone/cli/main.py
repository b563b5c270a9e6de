"""The command line: parse, make one call, print."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from skipstone.errors import SkipstoneError

if TYPE_CHECKING:
    import argparse

    from skipstone.cli.terminal import Terminal


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code (0 done, 1 refused or failed, 2 bad input)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        from skipstone.cli.parser import top_level_help

        print(top_level_help(), end="")
        return 0 if arguments else 2
    if arguments[0] in ("--version", "-V"):
        from skipstone import __version__

        print(f"skipstone {__version__}")
        return 0
    as_json = "--json" in arguments
    try:
        from skipstone.cli.parser import parse

        return _run(parse(arguments))
    except SkipstoneError as error:
        if "--debug" in arguments:
            raise
        return _report(error, as_json)
    except BrokenPipeError:
        return 1


def _run(namespace: argparse.Namespace) -> int:
    from skipstone.cli.terminal import Drawing, Terminal
    from skipstone.cli.verbs import VERB_CALLS
    from skipstone.events import listen

    terminal = Terminal(quiet_output=namespace.json)
    call = VERB_CALLS[namespace.verb]
    with Drawing(terminal) as drawing, listen(drawing):
        outcome = call.run(namespace)
    if namespace.json:
        print(json.dumps(outcome.to_json(), ensure_ascii=False, allow_nan=False))
    else:
        call.show(outcome, terminal)
    return int(outcome.exit_code)


def _report(error: SkipstoneError, as_json: bool) -> int:
    from skipstone.cli.terminal import Terminal

    terminal: Terminal = Terminal()
    terminal.error(error.message, error.hint)
    if as_json:
        print(json.dumps({"error": error.message, "hint": error.hint}, ensure_ascii=False))
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
