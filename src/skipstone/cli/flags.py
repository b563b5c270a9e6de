"""Command-line flags made of the dataclasses of options."""

from __future__ import annotations

import argparse
import keyword
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from skipstone.core.errors import UsageError, did_you_mean
from skipstone.core.formatting import join_limited
from skipstone.core.options import has_type
from skipstone.core.settings import Setting, known_settings, suggest_option

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
            hint=suggest_option(_name(flag), known, as_flag=True) or f"See: {self.prog} --help",
        )


def _name(flag: str) -> str:
    """The keyword of a flag: `batch_size` for --batch-size, `from_` for --from."""
    name = flag.lstrip("-").replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


def add_settings(
    parser: argparse.ArgumentParser, groups: set[str], *, only: set[str] | None = None
) -> None:
    """A flag for every setting of these groups, or for those of `only`. Settings of one name share
    a flag."""
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
            help=_help(owners).replace("%", "%%"),
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
