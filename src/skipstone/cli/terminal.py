"""The terminal: progress from events, tables from results. Markup and control characters in file
names are printed as text and never interpreted."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from skipstone.core.events import (
    Event,
    LinePrinter,
    Note,
    StageAdvanced,
    StageFinished,
    StageStarted,
)

#: Characters per line of a table in a file or a pipe.
_NO_LIMIT = 10_000


def escape_text(value: object) -> str:
    """`value` as one line of text with control characters as visible escapes."""
    text = str(value)
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


class Terminal:
    """Results go to standard output; progress, notes and errors to standard error."""

    def __init__(self, *, quiet_output: bool = False) -> None:
        self.out = Console(
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=True,
            width=None if sys.stdout.isatty() else _NO_LIMIT,
        )
        self.err = Console(
            file=sys.stderr, highlight=False, markup=False, emoji=False, soft_wrap=True
        )
        self.quiet_output = quiet_output

    def print_line(self, text: object = "", style: str | None = None) -> None:
        if not self.quiet_output:
            self.out.print(Text(escape_text(text), style=style or ""))

    def print_error(self, message: str, hint: str | None) -> None:
        self.err.print(Text("error: ", style="bold red") + Text(escape_text(message)))
        if hint:
            self.err.print(Text("       " + escape_text(hint), style="bold"))

    def print_table(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None
    ) -> None:
        """Print a table: text left-aligned, numbers right-aligned, nothing truncated.

        On a terminal long cells are wrapped; elsewhere lines are as long as necessary.
        """
        if self.quiet_output:
            return
        table = Table(
            title=Text(escape_text(title)) if title else None, title_justify="left", box=None
        )
        numeric = [
            bool(rows) and all(_is_number(row[index]) for row in rows)
            for index in range(len(columns))
        ]
        widest = max((len(escape_text(row[0])) for row in rows), default=0)
        for index, (name, right) in enumerate(zip(columns, numeric, strict=True)):
            table.add_column(
                Text(name, style="bold"),
                justify="right" if right else "left",
                overflow="fold",
                no_wrap=index == 0 and 2 * widest < self.out.width,
            )
        for row in rows:
            table.add_row(*(Text(escape_text(cell)) for cell in row))
        self.out.print(table)


def _is_number(cell: Any) -> bool:
    text = str(cell).strip()
    return text == "" or text[0].isdigit() or text[0] in "-+±–"


class ProgressDisplay:
    """A listener that shows stages as progress bars with ETA on a terminal, and prints lines with
    `LinePrinter` into a log or a pipe."""

    def __init__(self, terminal: Terminal) -> None:
        self._console = terminal.err
        self._interactive = self._console.is_terminal
        self._lines = LinePrinter(self._line)
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=self._console,
            transient=True,
            disable=not self._interactive,
        )

    def __enter__(self) -> ProgressDisplay:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Note) or not self._interactive:
            self._lines(event)
            return
        match event:
            case StageStarted(stage, total, _):
                self._tasks[stage] = self._progress.add_task(
                    escape_text(stage), total=total, text=""
                )
            case StageAdvanced(stage, amount, text) if stage in self._tasks:
                self._progress.update(self._tasks[stage], advance=amount, text=escape_text(text))
            case StageFinished(stage) if stage in self._tasks:
                self._progress.remove_task(self._tasks.pop(stage))

    def _line(self, text: str, kind: str) -> None:
        style = {"warning": "yellow", "stage": "dim"}.get(kind, "")
        self._console.print(Text(escape_text(text), style=style))
