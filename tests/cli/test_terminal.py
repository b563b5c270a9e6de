"""Progress: a bar with ETA on a terminal; elsewhere one line for what takes long."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest

from skipstone.cli.terminal import ProgressDisplay, Terminal, escape_text
from skipstone.core import events

_WORK = """
import time
from skipstone.core import events
from skipstone.cli.terminal import ProgressDisplay, Terminal
with ProgressDisplay(Terminal()) as display, events.use_listener(display):
    events.emit_note("[/red] a note \\x1b[2J")
    for _ in events.track_progress(range(10), "tra[bold]ining", unit="steps"):
        time.sleep(0.12)
"""


def _on_a_terminal(code: str) -> str:
    """What a process writes to a terminal of 100 columns."""
    main, other = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    env.pop("NO_COLOR", None)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=other, stdout=other, stderr=other, env=env
    ) as child:
        os.close(other)
        parts, deadline = [], time.monotonic() + 60
        while time.monotonic() < deadline:
            if not select.select([main], [], [], 1)[0]:
                if child.poll() is not None:
                    break
                continue
            try:
                data = os.read(main, 65536)
            except OSError:  # the other side has closed
                break
            if not data:
                break
            parts.append(data)
        os.close(main)
    assert child.returncode == 0
    return b"".join(parts).decode()


def test_a_bar_with_eta_on_a_terminal() -> None:
    shown = _on_a_terminal(_WORK)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert "━" in text
    assert re.search(r"tra\[bold\]ining .*[1-9]/10 +0:00:0\d ETA 0:00:0\d", text), text
    assert "[/red] a note \\x1b[2J" in text
    assert "\x1b[2J" not in shown


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(events.time, "monotonic", lambda: now[0])
    return now


def test_short_stages_are_silent_in_a_log(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressDisplay(Terminal()) as display, events.use_listener(display):
        for _ in events.track_progress(range(5), "predicting"):
            clock[0] += 0.3
    assert capsys.readouterr() == ("", "")


def test_a_long_stage_has_one_line_in_a_log(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressDisplay(Terminal()) as display, events.use_listener(display):
        for _ in events.track_progress(range(50), "training"):
            with events.progress_stage("predicting", total=3) as advance:
                clock[0] += 3
                advance(3)
        with events.progress_stage("verifying"):
            clock[0] += 7
    assert capsys.readouterr() == ("", "training ...\nverifying took 7.0 s\n")


def test_escape_text() -> None:
    assert escape_text("café 你 [/red]") == "café 你 [/red]"
    assert escape_text("a\x1b[31m\nb\x07\u202e\u2028") == r"a\x1b[31m\x0ab\x07\x202e\x2028"


def test_a_table_keeps_every_cell_whole(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    Terminal().print_table(("name", "n"), [[long, "1"], ["[b]\x1b", "22"]], title="[t]\x1b")
    title, head, first, second = capsys.readouterr().out.splitlines()
    assert (title.strip(), head.split()) == (r"[t]\x1b", ["name", "n"])
    assert first.split() == [long, "1"]
    assert second.split() == [r"[b]\x1b", "22"]


def test_quiet_output_for_json(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(quiet_output=True)
    terminal.print_line("hello")
    terminal.print_table(("a",), [["b"]])
    assert capsys.readouterr().out == ""
