"""What a command is: one typed function, how its result is printed, and which options it takes.

A file of this folder is one command. Its function is the Python API (`skipstone.train`); each
parameter is `Annotated` with an `Argument`, from which the command line makes a positional argument
or a flag, and `help(skipstone.train)` its "Args:" section. `COMMAND` joins the function with
`print_result`, which prints its result.

An installed package adds a command with an entry point that names its `Command`:

    [project.entry-points."skipstone.commands"]
    serve = "my_package.serve:COMMAND"
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import pkgutil
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, Protocol, TypeVar, overload

from skipstone.core.errors import UsageError, WrongTypeError
from skipstone.core.events import LinePrinter, has_listener, use_listener
from skipstone.core.formatting import to_flag
from skipstone.core.options import Range, int_range, parse_text
from skipstone.core.registry import find_entry_points
from skipstone.core.settings import to_cli_args

P = ParamSpec("P")
T = TypeVar("T")

ENTRY_POINT_GROUP = "skipstone.commands"


class Result(Protocol):
    """What a command's function returns."""

    @property
    def exit_code(self) -> int: ...

    def to_json(self) -> dict[str, Any]: ...


class Output(Protocol):
    """Where `print_result` prints: the terminal, or a fake in a test."""

    def print_line(self, text: object = "", style: str | None = None) -> None: ...

    def print_table(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None
    ) -> None: ...


# --- parameters -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Argument:
    """What the command line and `help()` say of a parameter: `Annotated[int, Argument("...")]`.

    Args:
        help: one phrase, without a full stop.
        flag: the flag, where its name differs from the parameter's: "--from" for `from_`.
        metavar: stands for the value in `--help`.
        range: the numbers that the command line accepts.
        python_only: the command line has no such flag.
    """

    help: str
    flag: str = ""
    metavar: str = ""
    range: Range | None = None
    python_only: bool = False


#: Parameters that several commands have.
ModelPath = Annotated[Path | str, Argument("a run folder (runs/001) or a bundle", metavar="MODEL")]
DataPath = Annotated[
    Path | str,
    Argument(
        "a folder of class folders (also below train, validation and test), of images with masks, "
        "or of texts; a table (CSV, TSV, JSON Lines, Parquet); or IDX files",
        metavar="DATA",
    ),
]
RuntimeName = Annotated[
    str,
    Argument(
        "torch, onnxruntime, openvino, or with a precision: openvino-bf16; "
        "auto: the bundle's default"
    ),
]
MaxBad = Annotated[
    str | None,
    Argument(
        "refuse to score if more files than this share (1%, 0.01) or number (12) cannot be read",
        metavar="SHARE",
    ),
]
MovedData = Annotated[
    Path | str | None, Argument("where the training data is now, if it has moved")
]
ReadingOptions = Annotated[
    Any,
    Argument("how to read the data, such as label_column='kind'; all: `skipstone audit --help`"),
]
Seed = Annotated[int, Argument("random seed", metavar="N", range=int_range(0, 2**63 - 1))]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a command's function, as the command line sees it."""

    name: str
    kind: Any  # its type, without Annotated
    default: Any  # inspect.Parameter.empty where it must be given
    is_positional: bool
    is_options: bool  # **options: the option groups of the command
    argument: Argument

    @property
    def is_required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def is_repeatable(self) -> bool:
        """Whether it takes several values."""
        return any(typing.get_origin(part) is not None for part in _union_members(self.kind))

    @property
    def flag(self) -> str:
        return self.argument.flag or to_flag(self.name)

    def parse_value(self, text: str) -> Any:
        """Read one command-line value. ValueError says what is allowed."""
        value = text if self.is_repeatable else parse_text(self.kind, text)
        allowed = self.argument.range
        if allowed is not None and value not in allowed:
            raise ValueError(f"{text!r} is not {allowed}")
        return value


def _union_members(kind: Any) -> tuple[Any, ...]:
    """The types of a union without Literals; of another type itself."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return tuple(member for part in typing.get_args(kind) for member in _union_members(part))
    return () if typing.get_origin(kind) is Literal else (kind,)


@functools.cache
def read_parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The parameters of a command's function that carry an `Argument`, in order."""
    function = inspect.unwrap(function)
    # Without the return type, whose import is heavy and stands under TYPE_CHECKING.
    annotations = {k: v for k, v in function.__annotations__.items() if k != "return"}
    hints = typing.get_type_hints(
        types.SimpleNamespace(__annotations__=annotations),
        globalns=function.__globals__,
        include_extras=True,
    )
    parameters = []
    for name, parameter in inspect.signature(function).parameters.items():
        kind, *extras = typing.get_args(hints.get(name)) or (None,)
        arguments = [extra for extra in extras if isinstance(extra, Argument)]
        if arguments:
            parameters.append(
                Parameter(
                    name,
                    kind,
                    parameter.default,
                    is_positional=parameter.kind is parameter.POSITIONAL_OR_KEYWORD,
                    is_options=parameter.kind is parameter.VAR_KEYWORD,
                    argument=arguments[-1],
                )
            )
    return tuple(parameters)


# --- the Python side --------------------------------------------------------------------------


def command_function(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function the Python API of a command.

    At Python's prompt and in notebooks (which set `sys.ps1`) it prints its progress, unless the
    caller listens to the events. `help()` shows plain types and a line for each parameter.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        prints = "ps1" in vars(sys) and not has_listener()
        with use_listener(LinePrinter()) if prints else contextlib.nullcontext():
            return function(*args, **kwargs)

    parameters = read_parameters(function)
    kinds = {parameter.name: parameter.kind for parameter in parameters}
    signature = inspect.signature(function)
    wrapper.__dict__["__signature__"] = signature.replace(
        parameters=[
            parameter.replace(annotation=kinds.get(name, parameter.annotation))
            for name, parameter in signature.parameters.items()
        ]
    )
    wrapper.__doc__ = _with_arguments(inspect.cleandoc(function.__doc__ or ""), parameters)
    return wrapper


def _with_arguments(text: str, parameters: Iterable[Parameter]) -> str:
    """A docstring with the section "Args:", before "Returns:" and "Raises:"."""
    lines = [
        textwrap.fill(
            f"{parameter.name}: {parameter.argument.help}.",
            width=96,
            initial_indent="    ",
            subsequent_indent="        ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for parameter in parameters
    ]
    if not lines:
        return text
    section = "\n".join(["Args:", *lines])
    before, blank, after = text.partition("\n\nReturns:")
    if not blank:
        before, blank, after = text.partition("\n\nRaises:")
    return f"{before}\n\n{section}{blank}{after}"


@overload
def to_path(value: Path | str) -> Path: ...
@overload
def to_path(value: Path | str | None) -> Path | None: ...
def to_path(value: Path | str | None) -> Path | None:
    """A path with `~` expanded; None stays None. WrongTypeError for another type."""
    if value is None:
        return None
    try:
        return Path(value).expanduser()
    except TypeError:
        hint = "Such as 'photos/' or 'labels.csv'."
        if hasattr(value, "to_csv"):
            hint = "Save it: to_csv('labels.csv', index=False), and give 'labels.csv'."
        message = f"expected a path, not a value of type {type(value).__name__}."
        raise WrongTypeError(message, hint=hint) from None


def to_list(value: T | str | Iterable[T | str]) -> list[T | str]:
    """One path or text, or several, as a list."""
    if isinstance(value, str | Path):
        return [value]
    if not isinstance(value, Iterable) or hasattr(value, "columns"):
        raise WrongTypeError(
            f"expected a path or several, not a value of type {type(value).__name__}.",
            hint="Arrays, pictures and tables in memory: skipstone.load(model).predict(value)",
        )
    return list(value)


# --- commands ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class CommandVariant:
    """A flag with which a command does something else with the same arguments.

    Args:
        name: the parameter of `function` that gets the flag's value.
        function: takes the command's parameters and `name`, all by keyword.
    """

    name: str
    argument: Argument
    function: Callable[..., Result]
    print_result: Callable[[Any, Output], None]


@dataclass(frozen=True)
class Command:
    """A command of `skipstone`.

    Args:
        function: the Python API; its docstring's first line is the command's summary.
        print_result: prints what `function` returns.
        examples: command lines for `--help`.
        option_groups: groups of `skipstone.core.settings` whose options it takes as `**options`.
        option_names: only these of their options; None for all.
        everyday_options: those that `--help` shows, while `--help-all` shows all; empty for all.
        order: place in `skipstone --help`, smaller first.
    """

    name: str
    function: Callable[..., Result]
    print_result: Callable[[Any, Output], None]
    examples: tuple[str, ...] = ()
    option_groups: tuple[str, ...] = ()
    option_names: tuple[str, ...] | None = None
    everyday_options: tuple[str, ...] = ()
    variants: tuple[CommandVariant, ...] = ()
    order: int = 1000

    @property
    def summary(self) -> str:
        return (self.function.__doc__ or "").strip().partition("\n")[0].rstrip(".")

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return read_parameters(self.function)

    def to_words(self, **values: Any) -> list[str]:
        """The command line that gives these arguments and options; defaults are left out."""
        parameters = {parameter.name: parameter for parameter in self.parameters}
        positional: list[str] = []
        flags: dict[str, Any] = {}
        for name, value in values.items():
            parameter = parameters.get(name)
            if parameter is None:
                flags[name] = value
            elif parameter.is_positional:
                positional += map(str, to_list(value))
            elif value != parameter.default:
                flags[parameter.flag.removeprefix("--")] = value
        return ["skipstone", self.name, *positional, *to_cli_args(flags)]


def find_commands() -> dict[str, Command]:
    """Every command by name: the files of this folder, then those of installed packages."""
    folder = importlib.import_module("skipstone.commands").__path__
    commands: list[Command] = []
    for module in pkgutil.iter_modules(folder):
        command = vars(importlib.import_module(f"skipstone.commands.{module.name}")).get("COMMAND")
        if command is not None:
            commands.append(command)
    names = {command.name for command in commands}
    for point in find_entry_points(ENTRY_POINT_GROUP):
        command = point.load()
        if command.name in names:
            package = point.dist.name if point.dist is not None else point.value
            raise UsageError(
                f"the installed package {package} adds a command {command.name!r}, "
                "which already exists; uninstall it, or the other package that adds it."
            )
        names.add(command.name)
        commands.append(command)
    commands.sort(key=lambda command: (command.order, command.name))
    return {command.name: command for command in commands}
