"""What `skipstone demo` prints at its end, for every demonstration that an entry names."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from skipstone.cli import show
from skipstone.cli.terminal import Terminal
from skipstone.registry import INPUTS, TASKS
from skipstone.verbs.demo import demonstration

SHOWN = [entry.name for entry in (*TASKS, *INPUTS) if "demo" in entry.facts]


@pytest.mark.parametrize("name", SHOWN)
def test_it_ends_with_the_command_for_data_of_ones_own(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = SimpleNamespace(
        shown=demonstration(name),
        tables=lambda: [(("what", "result"), [["accuracy", "99 %"]], "the whole way")],
        report=Path("demo/runs/001/report.html"),
    )
    show.demo(result, Terminal())
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("Report:") and "report.html" in line for line in lines)
    assert lines[-1].startswith("Next:    skipstone train ")


def test_there_are_demonstrations() -> None:
    assert {"classify", "segment", "text"} <= set(SHOWN)
