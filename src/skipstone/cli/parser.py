"""From the words of a command line to one call of a command, as its `Command` describes it.

Nothing heavy is imported here: `skipstone --help` stays fast.
"""

from __future__ import annotations

import argparse
import keyword
import shlex
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from skipstone.commands.base import (
    Command,
    CommandVariant,
    Output,
    Parameter,
    Result,
    find_commands,
)
from skipstone.core.errors import UsageError, did_you_mean
from skipstone.core.formatting import join_limited, to_flag
from skipstone.core.options import has_type
from skipstone.core.settings import Setting, known_settings, suggest_option

HELP_ALL = "--help-all"
_GROUP_TITLES = {
    "data": "reading the data",
    "split": "splitting the data",
    "input": "input",
    "augmentation": "augmentation",
    "task": "task",
    "model": "model options",
    "vectors": "word vectors",
    "head": "head (from feature maps to outputs)",
    "training": "training",
    "loading": "loading",
}


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks in a flag's help."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        wrap = super()._split_lines
        return [line for part in text.splitlines() for line in wrap(part, width)]


class Parser(argparse.ArgumentParser):
    """argparse that raises UsageError (one line, with a suggestion) instead of exiting."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", _HelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """argparse's message as a sentence."""
        message = message.removeprefix("argument ")
        missing = "the following arguments are required: "
        if message.startswith(missing):
            message = f"{self.prog} needs {message.removeprefix(missing)}"
        end = "" if message.endswith(("?", ".", "!")) else "."
        raise UsageError(message + end, hint=f"See: {self.prog} --help")

    def parse_strictly(self, arguments: list[str]) -> argparse.Namespace:
        """Parse; an unknown flag is refused with the nearest known one."""
        words = arguments[: arguments.index("--")] if "--" in arguments else arguments
        for word in words:  # before argparse, which would say instead what is missing
            flag = word.partition("=")[0]
            if flag.startswith("--") and flag not in self._option_string_actions:
                self._refuse_flag(flag)
        namespace, extra = self.parse_known_args(arguments)
        for word in extra:
            if word.startswith("-"):
                self._refuse_flag(word.partition("=")[0])
        if extra:
            hint = f"See: {self.prog} --help"
            folder = Path(vars(namespace).get("data") or "").parent
            if folder.name and all(Path(word).parent == folder for word in extra):
                hint = f"For all that is in {folder}, give that: {folder}"
            what = join_limited(map(repr, extra))
            raise UsageError(f"{self.prog} does not know what to do with {what}.", hint=hint)
        return namespace

    def _refuse_flag(self, flag: str) -> NoReturn:
        words = [name for name in self._option_string_actions if name.startswith("--")]
        known = [_name(word) for word in words]
        raise UsageError(
            f"{self.prog} has no flag {flag}.",
            hint=suggest_option(_name(flag), known, as_flag=True) or f"See: {self.prog} {HELP_ALL}",
        )


def _name(flag: str) -> str:
    """The keyword of a flag: `batch_size` for --batch-size, `from_` for --from."""
    name = flag.lstrip("-").replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


def add_settings(
    parser: argparse.ArgumentParser,
    groups: set[str],
    *,
    only: set[str] | None = None,
    visible: set[str] | None = None,
) -> None:
    """A flag for every setting of these groups, or for those of `only`. Settings of one name share
    a flag.

    Args:
        visible: the settings that the help lists; None for all.
    """
    sections = {
        group: parser.add_argument_group(title)
        for group, title in _GROUP_TITLES.items()
        if group in groups
    }
    for name, settings in known_settings().items():
        owners = [setting for setting in settings if setting.group in groups]
        if not owners or name == "seed":  # every command has its own --seed
            continue
        if only is not None and name not in only:
            continue
        options: dict[str, Any] = {"metavar": _metavar(owners), "type": _reader(owners)}
        if _is_switch(owners[0].kind):  # --freeze-norm, --no-freeze-norm
            options = {"action": argparse.BooleanOptionalAction}
        sections[owners[0].group].add_argument(
            "--" + name.replace("_", "-"),
            dest=f"setting_{name}",
            default=None,
            help=_escape(_help(owners))
            if visible is None or name in visible
            else argparse.SUPPRESS,
            **options,
        )


def settings_from(namespace: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given on the command line, by their flat names."""
    prefix = "setting_"
    return {
        name.removeprefix(prefix): value
        for name, value in vars(namespace).items()
        if name.startswith(prefix) and value is not None
    }


def _reader(settings: list[Setting]) -> Callable[[str], Any]:
    def parse_value(text: str) -> Any:
        problems = []
        for setting in settings:  # owners may allow different values: the first that accepts reads
            try:
                return setting.parse_value(text)
            except ValueError as error:
                problems.append(str(error))
        choices = _choices(settings)
        if len(settings) > 1 and choices:
            problems = [f"{text!r} is not allowed. {did_you_mean(text, choices)}".strip()]
        raise argparse.ArgumentTypeError(problems[0])

    return parse_value


def _choices(settings: list[Setting]) -> list[str]:
    """The choices of all owners."""
    return list(dict.fromkeys(str(word) for setting in settings for word in setting.choices))


def _is_switch(kind: Any) -> bool:
    return kind is bool or set(typing.get_args(kind)) == {bool, type(None)}


def _metavar(settings: list[Setting]) -> str:
    words = _choices(settings)
    first = settings[0]
    name = first.spec.metavar or first.name.split("_")[-1].upper()
    takes_numbers = any(
        has_type(setting.kind, 0.5) or has_type(setting.kind, 1 << 40) for setting in settings
    )
    if not words or (takes_numbers and all(word.isdigit() for word in words)):
        return name
    return "{" + ",".join([*words, *(["N"] if takes_numbers else [])]) + "}"


def _help(settings: list[Setting]) -> str:
    """The help of a flag; where its owners differ, a line for each."""
    by_text: dict[str, list[Setting]] = {}
    for setting in settings:
        text = setting.spec.help.rstrip(".")
        if setting.choices and set(map(str, setting.choices)) != set(_choices(settings)):
            text = f"{{{','.join(map(str, setting.choices))}}}: {text}"
        by_text.setdefault(text, []).append(setting)
    lines = [(group, text + _limits(group)) for text, group in by_text.items()]
    if len(lines) == 1:
        return lines[0][1]
    return "\n".join(f"{_owners(group)}: {text}" for group, text in lines)


def _owners(settings: list[Setting]) -> str:
    return join_limited([owner for setting in settings for owner in setting.owners], limit=3)


def _limits(settings: list[Setting]) -> str:
    """The range and the default of settings that have one help, in parentheses."""
    first = settings[0].spec
    limits = []
    if first.range is not None and (brackets := first.range.to_brackets()):
        limits.append(f"in {brackets}")
    if "default" not in first.help:
        by_default: dict[str, list[Setting]] = {}
        for setting in settings:
            by_default.setdefault(_default(setting), []).append(setting)
        if len(by_default) > 1:
            texts = (f"{text} for {_owners(group)}" for text, group in by_default.items() if text)
            limits.append("default: " + "; ".join(texts))
        else:
            limits += [f"default: {text}" for text in by_default if text]
    return f" ({', '.join(limits)})" if limits else ""


def _default(setting: Setting) -> str:
    """The default as one types it; "" where the help need not say it."""
    if setting.default is None:
        return ""
    if isinstance(setting.default, bool):
        return "on" if setting.default else ""
    if isinstance(setting.default, tuple):
        return ",".join(map(str, setting.default))
    return str(setting.default)


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
    shows_all = HELP_ALL in words or not command.everyday_options
    epilog = "\n  ".join(["examples:", *command.examples]) if command.examples else ""
    if not shows_all:
        epilog += f"\n\nThese are the everyday flags. All: skipstone {command.name} {HELP_ALL}"
    parser = Parser(
        prog=f"skipstone {command.name}", description=f"{command.summary}.", epilog=epilog
    )
    parser.add_argument(HELP_ALL, action="help", help="show every flag and exit")
    if command.option_groups:  # its flags would fill a screen
        names = [
            _parameter_metavar(parameter)
            for parameter in command.parameters
            if parameter.is_positional
        ]
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
        visible = None if shows_all else set(command.everyday_options)
        add_settings(parser, set(command.option_groups), only=only, visible=visible)
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
    options: dict[str, Any] = {"help": _parameter_help(parameter), "default": parameter.default}
    if parameter.kind is bool:
        parser.add_argument(parameter.flag, dest=parameter.name, action="store_true", **options)
        return
    options |= {"metavar": _parameter_metavar(parameter), "type": _argument_type(parameter)}
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


def _parameter_metavar(parameter: Parameter) -> str:
    if typing.get_origin(parameter.kind) is typing.Literal:
        return "{" + ",".join(map(str, typing.get_args(parameter.kind))) + "}"
    return parameter.argument.metavar or parameter.name.upper()


def _parameter_help(parameter: Parameter) -> str:
    text = parameter.argument.help
    default = parameter.default
    if not parameter.is_required and default not in (None, (), ""):
        text += f" (default: {default})"
    return _escape(text)


def _escape(text: str) -> str:
    return text.replace("%", "%%")
