"""What the command line and `help()` make of a command's function."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from skipstone.cli.parser import parse_command_line
from skipstone.commands.base import (
    Argument,
    Command,
    command_function,
    find_commands,
    read_parameters,
    to_path,
)
from skipstone.core.options import int_range


@command_function
def draw(
    files: Annotated[list[Path | str], Argument("what to draw", metavar="FILE")],
    *,
    count: Annotated[int, Argument("how many", range=int_range(1, 9))] = 3,
    kind: Annotated[Literal["line", "bar"], Argument("which chart")] = "line",
    to: Annotated[Path | str | None, Argument("a folder", flag="--into")] = None,
    speed: Annotated[float, Argument("frames a second", python_only=True)] = 1.0,
    **options: Annotated[Any, Argument("how to read it")],
) -> None:
    """Draw charts.

    Raises:
        ValueError: it cannot be drawn.
    """


COMMAND = Command("draw", draw, lambda result, output: None)


def test_help_has_plain_types_and_a_line_for_each_parameter() -> None:
    assert str(inspect.signature(draw)).startswith(
        "(files: list[pathlib.Path | str], *, count: int"
    )
    assert inspect.getdoc(draw) == (
        "Draw charts.\n\nArgs:\n    files: what to draw.\n    count: how many.\n"
        "    kind: which chart.\n    to: a folder.\n    speed: frames a second.\n"
        "    options: how to read it.\n\nRaises:\n    ValueError: it cannot be drawn."
    )
    assert COMMAND.summary == "Draw charts"


def test_values_are_read_from_text() -> None:
    parameters = {parameter.name: parameter for parameter in read_parameters(draw)}
    assert parameters["count"].parse_value("9") == 9
    assert parameters["files"].is_repeatable
    assert parameters["to"].flag == "--into"
    for name, text, problem in (
        ("count", "10", "'10' is not a whole number from 1 to 9"),
        ("count", "x", "'x' is not a whole number"),
        ("kind", "pie", "'pie' is not allowed. Allowed: bar, line."),
    ):
        with pytest.raises(ValueError, match="^" + problem.replace(".", r"\.") + "$"):
            parameters[name].parse_value(text)


def test_the_command_line_of_a_call_leaves_defaults_out() -> None:
    words = COMMAND.to_words(files=["a", Path("b")], count=3, to=Path("out"), epochs=5, lr=None)
    assert words == ["skipstone", "draw", "a", "b", "--into", "out", "--epochs", "5"]


def test_a_command_line_that_a_command_writes_means_the_same_call() -> None:
    command = find_commands()["train"]
    arguments = {"data": "photos", "out": "o", "seed": 3, "from_": "runs/001", "model": "auto"}
    options = {"epochs": 5, "budget": 90.0, "freeze_norm": True, "label_columns": ("a", "b")}
    parsed = parse_command_line(command.to_words(**arguments, **options)[1:])
    assert parsed.options == options
    assert {name: parsed.arguments[name] for name in arguments} == arguments


def test_paths() -> None:
    assert to_path(None) is None
    assert to_path("~/photos") == Path.home() / "photos"
