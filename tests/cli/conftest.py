from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from skipstone.cli.main import main
from skipstone.commands.base import find_commands
from tests.photos import make_photo, save_photo
from tests.small_bundles import CLASSES, write_small


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON object on one line, without NaN."""

        def refuse(word: str) -> None:
            raise AssertionError(f"{word} is no JSON")

        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out, parse_constant=refuse)


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("train", "photos")` calls the command line in this process."""

    def call(*words: object) -> Ran:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return call


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/001/bundle: an untrained model of small pictures. Read-only by agreement."""
    folder = tmp_path_factory.mktemp("models") / "runs"
    write_small(folder / "001" / "bundle", goldens=False)
    (folder / "001" / "run.json").write_text("{}")
    return folder


@pytest.fixture(scope="session")
def chess(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ and test/ with three photos of each class that the model in `runs` knows, and one of
    a class that it does not know in test/."""
    root = tmp_path_factory.mktemp("chess")
    for split, count in (("train", 3), ("test", 2)):
        for number, name in enumerate(CLASSES):
            for photo in range(count):
                save_photo(make_photo(photo + number, "disc"), root / split / name / str(photo))
    save_photo(make_photo(9, "square"), root / "test" / "pawn" / "9")
    return root


def replace_command(
    monkeypatch: pytest.MonkeyPatch, name: str, function: Callable[..., Any]
) -> None:
    """Let the command call `function`, with the arguments of its own function."""
    module = sys.modules[find_commands()[name].function.__module__]

    @functools.wraps(module.COMMAND.function)
    def call(**arguments: Any) -> Any:
        return function(**arguments)

    monkeypatch.setattr(module, "COMMAND", replace(module.COMMAND, function=call))
