"""A command that an installed package adds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_COMMAND = '''
from dataclasses import dataclass
from typing import Annotated

from skipstone.commands.base import Argument, Command, command_function


@dataclass
class Greeting:
    text: str
    exit_code: int = 0

    def to_json(self):
        return {"text": self.text}


@command_function
def greet(
    name: Annotated[str, Argument("who", metavar="NAME")],
    *,
    times: Annotated[int, Argument("how often")] = 1,
) -> Greeting:
    """Greet somebody."""
    return Greeting(", ".join([f"hello {name}"] * times))


def print_result(result, output):
    output.print_line(result.text)


COMMAND = Command("greet", greet, print_result, examples=("skipstone greet Ann",))
'''


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of packages, as pip leaves it."""
    (tmp_path / "greetings.py").write_text(_COMMAND)
    info = tmp_path / "greetings-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greetings\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[skipstone.commands]\ngreet = greetings:COMMAND\n")
    return tmp_path


def _run(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(site)!r})\n"
    code += "from skipstone.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)


def test_a_package_adds_a_command(site: Path) -> None:
    shown = _run(site, "greet", "Ann", "--times", "2")
    assert (shown.returncode, shown.stdout) == (0, "hello Ann, hello Ann\n")
    assert json.loads(_run(site, "greet", "Ann", "--json").stdout) == {"text": "hello Ann"}
    last = _run(site, "--help").stdout.split("\n\n")[2].splitlines()[-1]
    assert last.split(maxsplit=1) == ["greet", "Greet somebody"]
    assert "skipstone greet Ann" in _run(site, "greet", "--help").stdout
    wrong = _run(site, "greet", "Ann", "--tmies", "2")
    assert "has no flag --tmies" in wrong.stderr
    assert "--times" in wrong.stderr


def test_a_name_that_exists_is_refused(site: Path) -> None:
    module = site / "greetings.py"
    module.write_text(_COMMAND.replace('Command("greet"', 'Command("train"'))
    done = _run(site, "--help")
    assert done.returncode == 2
    assert "the installed package greetings adds a command 'train'" in done.stderr
