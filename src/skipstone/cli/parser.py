"""From the words of a command line to one call of a command, as its `Command` describes it.

Nothing heavy is imported here: `skipstone --help` stays fast.
"""

from __future__ import annotations

import argparse
import shlex
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.cli.flags import Parser, add_settings, settings_from
from skipstone.commands.base import (
    Command,
    CommandVariant,
    Output,
    Parameter,
    Result,
    find_commands,
)
from skipstone.core.errors import UsageError, did_you_mean
from skipstone.core.formatting import to_flag


@dataclass(frozen=True)
class ParsedCommand:
    """A command with the arguments and options that its function gets by keyword."""

    command: Command
    arguments: dict[str, Any]
    options: dict[str, Any]
    variant: CommandVariant | None
    as_json: bool
    debug: bool

    def run(self) -> Result:
        source: Command | CommandVariant = self.variant or self.command
        return source.function(**self.arguments, **self.options)

    def print_result(self, result: Result, output: Output) -> None:
        source: Command | CommandVariant = self.variant or self.command
        source.print_result(result, output)


def top_level_help() -> str:
    """The text of `skipstone --help`."""
    commands = find_commands().values()
    width = max(len(command.name) for command in commands)
    lines = "\n".join(f"  {command.name:<{width}}  {command.summary}" for command in commands)
    return (
        "usage: skipstone COMMAND ... [--json] [--debug]\n\n"
        "Labelled data in; a small, fast, proven model out.\n\n"
        f"{lines}\n\n"
        "Start with:  skipstone train photos/      (one folder of photos per class)\n"
        "More:        skipstone COMMAND --help\n"
    )


def parse_command_line(words: list[str]) -> ParsedCommand:
    """The command of `words`. UsageError has one line and a suggestion."""
    command = _find_command(words[0])
    parser = Parser(
        prog=f"skipstone {command.name}",
        description=f"{command.summary}.",
        epilog="\n  ".join(["examples:", *command.examples]) if command.examples else None,
    )
    if command.option_groups:  # its flags would fill a screen
        names = [_metavar(parameter) for parameter in command.parameters if parameter.is_positional]
        parser.usage = " ".join([parser.prog, "[options]", *names])
    for parameter in command.parameters:
        if not parameter.is_options and not parameter.argument.python_only:
            _add_parameter(parser, parameter)
    for variant in command.variants:
        parser.add_argument(
            to_flag(variant.name),
            dest=variant.name,
            metavar=variant.argument.metavar or None,
            help=_escape(variant.argument.help),
        )
    if command.option_groups:
        only = None if command.option_names is None else set(command.option_names)
        add_settings(parser, set(command.option_groups), only=only)
    common = parser.add_argument_group("every command")
    common.add_argument("--json", action="store_true", help="one JSON object on standard output")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return _parsed(command, parser.parse_strictly(words[1:]))


def _parsed(command: Command, namespace: argparse.Namespace) -> ParsedCommand:
    values = vars(namespace)
    arguments = {
        parameter.name: values[parameter.name]
        for parameter in command.parameters
        if parameter.name in values
    }
    chosen = None
    for variant in command.variants:
        if values[variant.name] is not None:
            chosen = variant
            arguments[variant.name] = values[variant.name]
    return ParsedCommand(
        command, arguments, settings_from(namespace), chosen, namespace.json, namespace.debug
    )


def _find_command(word: str) -> Command:
    commands = find_commands()
    if word in commands:
        return commands[word]
    if word.startswith("-"):
        raise UsageError(
            f"the command comes before {word}.", hint=f"Such as: skipstone train photos/ {word}"
        )
    hint = did_you_mean(word, commands)
    if "mean" not in hint and Path(word).exists():
        hint = f"To train on it: {shlex.join(['skipstone', 'train', word])}"
    raise UsageError(f"unknown command {word!r}.", hint=hint or "See: skipstone --help")


def _add_parameter(parser: argparse.ArgumentParser, parameter: Parameter) -> None:
    """The positional argument or the flag of a parameter."""
    options: dict[str, Any] = {"help": _help(parameter), "default": parameter.default}
    if parameter.kind is bool:
        parser.add_argument(parameter.flag, dest=parameter.name, action="store_true", **options)
        return
    options |= {"metavar": _metavar(parameter), "type": _argument_type(parameter)}
    if not parameter.is_positional:
        if parameter.is_repeatable:
            options |= {"action": "append", "default": []}
        parser.add_argument(parameter.flag, dest=parameter.name, **options)
        return
    if parameter.is_repeatable:
        options["nargs"] = "+" if parameter.is_required else "*"
    elif not parameter.is_required:
        options["nargs"] = "?"
    if parameter.is_required:
        del options["default"]
    parser.add_argument(parameter.name, **options)


def _argument_type(parameter: Parameter) -> Callable[[str], Any]:
    def parse_value(text: str) -> Any:
        try:
            return parameter.parse_value(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse_value


def _metavar(parameter: Parameter) -> str:
    if typing.get_origin(parameter.kind) is typing.Literal:
        return "{" + ",".join(map(str, typing.get_args(parameter.kind))) + "}"
    return parameter.argument.metavar or parameter.name.upper()


def _help(parameter: Parameter) -> str:
    text = parameter.argument.help
    default = parameter.default
    if not parameter.is_required and default not in (None, (), ""):
        text += f" (default: {default})"
    return _escape(text)


def _escape(text: str) -> str:
    return text.replace("%", "%%")
