"""Drawing on the terminal: progress from events, tables from results, and nothing that a file
name could abuse (markup and control characters are shown, never obeyed)."""

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

from skipstone.events import Advanced, Event, Finished, LinePrinter, Note, Started

#: Characters in a line of a table that goes to a file or a pipe.
_NO_LIMIT = 10_000


def plain(value: object) -> str:
    """`value` as one line of text in which control characters are visible and powerless."""
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
        self.err = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self.quiet_output = quiet_output

    def print_line(self, text: object = "", style: str | None = None) -> None:
        if not self.quiet_output:
            self.out.print(Text(plain(text), style=style or ""))

    def print_error(self, message: str, hint: str | None) -> None:
        self.err.print(Text("error: ", style="bold red") + Text(plain(message)))
        if hint:
            self.err.print(Text("       " + plain(hint), style="bold"))

    def print_table(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None
    ) -> None:
        """Left-aligned text, right-aligned numbers; nothing is ever cut off.

        On a terminal long cells are folded; elsewhere lines are as long as they need to be.
        """
        if self.quiet_output:
            return
        table = Table(title=Text(plain(title)) if title else None, title_justify="left", box=None)
        numeric = [
            bool(rows) and all(_is_figure(row[index]) for row in rows)
            for index in range(len(columns))
        ]
        widest = max((len(plain(row[0])) for row in rows), default=0)
        for index, (name, right) in enumerate(zip(columns, numeric, strict=True)):
            table.add_column(
                Text(name, style="bold"),
                justify="right" if right else "left",
                overflow="fold",
                no_wrap=index == 0 and 2 * widest < self.out.width,
            )
        for row in rows:
            table.add_row(*(Text(plain(cell)) for cell in row))
        self.out.print(table)


def _is_figure(cell: Any) -> bool:
    text = str(cell).strip()
    return text == "" or text[0].isdigit() or text[0] in "-+±–"


class Drawing:
    """A listener that draws stages as progress bars with ETA; where no one looks (a log, a pipe)
    they are `LinePrinter`."""

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

    def __enter__(self) -> Drawing:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Note) or not self._interactive:
            self._lines(event)
            return
        match event:
            case Started(stage, total, _):
                self._tasks[stage] = self._progress.add_task(plain(stage), total=total, text="")
            case Advanced(stage, amount, text) if stage in self._tasks:
                self._progress.update(self._tasks[stage], advance=amount, text=plain(text))
            case Finished(stage) if stage in self._tasks:
                self._progress.remove_task(self._tasks.pop(stage))

    def _line(self, text: str, kind: str) -> None:
        style = {"warning": "yellow", "stage": "dim"}.get(kind, "")
        self._console.print(Text(plain(text), style=style))
