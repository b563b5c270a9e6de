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

from skipstone.events import Advanced, Event, Finished, Note, Started


def plain(value: object) -> str:
    """`value` as text in which control characters are visible and powerless."""
    text = str(value)
    return "".join(
        char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}" for char in text
    )


class Terminal:
    """Results go to standard output; progress, notes and errors to standard error."""

    def __init__(self, *, quiet_output: bool = False) -> None:
        self.out = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self.quiet_output = quiet_output

    def line(self, text: object = "", style: str | None = None) -> None:
        if not self.quiet_output:
            self.out.print(Text(plain(text), style=style or ""))

    def error(self, message: str, hint: str | None) -> None:
        self.err.print(Text("error: ", style="bold red") + Text(plain(message)))
        if hint:
            self.err.print(Text("       " + plain(hint), style="bold"))

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None
    ) -> None:
        """Left-aligned text, right-aligned numbers."""
        if self.quiet_output:
            return
        table = Table(title=Text(title) if title else None, title_justify="left", box=None)
        numeric = [
            bool(rows) and all(_is_figure(row[index]) for row in rows)
            for index in range(len(columns))
        ]
        for name, right in zip(columns, numeric, strict=True):
            table.add_column(Text(name, style="bold"), justify="right" if right else "left")
        for row in rows:
            table.add_row(*(Text(plain(cell)) for cell in row))
        self.out.print(table)


def _is_figure(cell: Any) -> bool:
    text = str(cell).strip()
    return text == "" or text[0].isdigit() or text[0] in "-+±–"


class Drawing:
    """A listener that draws stages as progress bars with ETA, or as lines where no one looks."""

    def __init__(self, terminal: Terminal) -> None:
        self._console = terminal.err
        self._interactive = self._console.is_terminal
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
        match event:
            case Note(text, level):
                style = "yellow" if level == "warning" else ""
                self._console.print(Text(plain(text), style=style))
            case Started(stage, total, _):
                self._tasks[stage] = self._progress.add_task(plain(stage), total=total, text="")
                if not self._interactive:
                    self._console.print(Text(plain(stage) + " ...", style="dim"))
            case Advanced(stage, amount, text):
                if stage in self._tasks:
                    self._progress.update(self._tasks[stage], advance=amount, text=plain(text))
            case Finished(stage):
                if stage in self._tasks:
                    self._progress.remove_task(self._tasks.pop(stage))


def flush() -> None:
    """Push out what was printed, before the process may be replaced or killed."""
    sys.stdout.flush()
    sys.stderr.flush()
