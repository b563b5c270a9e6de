"""Command-line flags derived from the rooms' option dataclasses."""

from __future__ import annotations

import argparse
import keyword
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from skipstone.errors import UsageError, did_you_mean
from skipstone.settings import Setting, known_settings, meant
from skipstone.words import listed

_FLAG_TITLES = {
    "data": "reading the data",
    "split": "splitting it",
    "input": "input",
    "augmentation": "augmentation",
    "task": "task",
    "model": "model options",
    "vectors": "word vectors",
    "head": "head (what turns feature maps into answers)",
    "training": "training",
    "loading": "loading",
}


class Parser(argparse.ArgumentParser):
    """argparse that raises UsageError (one line, with a suggestion) instead of exiting."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """argparse's own complaint, as a sentence of ours."""
        message = message.removeprefix("argument ")
        missing = "the following arguments are required: "
        if message.startswith(missing):
            message = f"{self.prog} needs {message.removeprefix(missing)}"
        end = "" if message.endswith(("?", ".", "!")) else "."
        raise UsageError(message + end, hint=f"See: {self.prog} --help")

    def parse_strictly(self, arguments: list[str]) -> argparse.Namespace:
        """Parse; an unknown flag is refused with the nearest known one."""
        words = arguments[: arguments.index("--")] if "--" in arguments else arguments
        for word in words:  # before argparse, which would rather say what is missing
            flag = word.partition("=")[0]
            if flag.startswith("--") and flag not in self._option_string_actions:
                self._refuse_flag(flag)
        namespace, extra = self.parse_known_args(arguments)
        for word in extra:
            if word.startswith("-"):
                self._refuse_flag(word.partition("=")[0])
        if extra:
            hint = f"See: {self.prog} --help"
            folder = Path(getattr(namespace, "data", None) or "").parent
            if folder.name and all(Path(word).parent == folder for word in extra):
                hint = f"For all that is in {folder}, give that: {folder}"
            what = listed(map(repr, extra))
            raise UsageError(f"{self.prog} does not know what to do with {what}.", hint=hint)
        return namespace

    def _refuse_flag(self, flag: str) -> NoReturn:
        words = [name for name in self._option_string_actions if name.startswith("--")]
        known = [_name(word) for word in words]
        raise UsageError(
            f"{self.prog} has no flag {flag}.",
            hint=meant(_name(flag), known, typed=True) or f"See: {self.prog} --help",
        )


def _name(flag: str) -> str:
    """`--batch-size` as keywords have it: `batch_size`, and `from_` for a word of Python's own."""
    name = flag.lstrip("-").replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


def whole_number(text: str) -> int:
    """A seed, or another whole number from 0."""
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def one_of(*choices: str) -> Callable[[str], str]:
    """Reads a word that must be among `choices`; another one is refused with the nearest."""

    def read(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not allowed. {did_you_mean(text, choices)}"
            )
        return text

    return read


def add_settings(
    parser: argparse.ArgumentParser, groups: set[str], *, only: set[str] | None = None
) -> None:
    """A flag for every setting of these groups, or for those of `only`; shared names become one
    flag."""
    sections = {
        group: parser.add_argument_group(title)
        for group, title in _FLAG_TITLES.items()
        if group in groups
    }
    for name, places in known_settings().items():
        wanted = [place for place in places if place.group in groups]
        if not wanted or name == "seed":  # --seed is every verb's own
            continue
        if only is not None and name not in only:
            continue
        how: dict[str, Any] = {"metavar": _metavar(wanted[0]), "type": _reader(wanted)}
        if _is_switch(wanted[0].kind):  # --freeze-norm, --no-freeze-norm
            how = {"action": argparse.BooleanOptionalAction}
        sections[wanted[0].group].add_argument(
            "--" + name.replace("_", "-"),
            dest=f"setting_{name}",
            default=None,
            help=_help(wanted),
            **how,
        )


def settings_from(namespace: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given on the command line, by their flat names."""
    prefix = "setting_"
    return {
        name.removeprefix(prefix): value
        for name, value in vars(namespace).items()
        if name.startswith(prefix) and value is not None
    }


def _reader(places: list[Setting]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        problems = []
        for place in places:  # two owners may allow different words: the first that accepts reads
            try:
                return place.parse(text)
            except ValueError as error:
                problems.append(str(error))
        raise argparse.ArgumentTypeError(problems[0])

    return read


def _is_switch(kind: Any) -> bool:
    return kind is bool or set(typing.get_args(kind)) == {bool, type(None)}


def _words(kind: Any) -> tuple[Any, ...]:
    """What a Literal allows, also where it may be None; nothing for other kinds."""
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)
    return next((words for part in typing.get_args(kind) if (words := _words(part))), ())


def _metavar(setting: Setting) -> str:
    words = [str(word) for word in setting.metadata.get("choices") or _words(setting.kind)]
    if words:
        return "{" + ",".join(words) + "}"
    return str(setting.metadata.get("metavar", setting.name.split("_")[-1].upper()))


def _help(places: list[Setting]) -> str:
    text = str(places[0].metadata.get("help", "")).rstrip(".")
    default = places[0].default
    if default not in (None, (), "") and "default" not in text:
        text += f" (default {default})"
    return text.replace("%", "%%")
