"""Options that would change nothing are refused: what a person typed is meant to count."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from skipstone.errors import UsageError
from skipstone.registry import BACKBONES
from skipstone.settings import Settings
from skipstone.train.learner import unheard
from skipstone.train.recipe import Recipe
from skipstone.words import flag


def refuse_unheard(settings: Settings, model: str, input_options: Any) -> None:
    """Refuse what the model's learner does not ask for, or the input in its form does not.

    Only options that were given count.

    Raises:
        UsageError: naming the options, and those that the model has.
    """
    entry = BACKBONES[model]
    own = _fields(entry.options_type())
    takes = [*own, *(name for name in _counting(input_options) if name not in own)]
    skipped = unheard(entry)
    aside = set(_fields(type(input_options))) - set(takes)
    lost = [name for name in settings.values if name in skipped | aside and name not in takes]
    if not lost:
        return
    them = "it" if len(lost) == 1 else "them"
    reason = f"{model} does not use {them}"
    if skipped & set(lost):
        reason = f"{model} is solved at once, not trained in steps"
    raise UsageError(
        f"{_flags(lost)} would change nothing: {reason}. It takes {_flags(takes)}.",
        hint=f"Leave {them} out, or choose another model: skipstone models",
    )


def refuse_idle(settings: Settings, model: str, task_options: Any, recipe: Recipe) -> None:
    """Refuse options of the task and of training that others leave nothing to do. Only options that
    were given count.

    Raises:
        UsageError: naming each, and why.
    """
    given, problems = settings.values, []
    for item in dataclasses.fields(task_options) if dataclasses.is_dataclass(task_options) else ():
        if item.name not in given:
            continue
        if item.metadata.get("steps") and unheard(BACKBONES[model]):
            problems.append(
                f"{flag(item.name)}, as {model} is solved at once, not trained in steps"
            )
            continue
        problems += [
            f"{flag(item.name)} without {flag(other)} {value}"
            for other, value in item.metadata.get("only", {}).items()
            if getattr(task_options, other) != value
        ]
    if given.get("unfreeze") == "gradual" and not recipe.freeze_epochs:
        problems.append("--unfreeze gradual without --freeze-epochs")
    if "warmup" in given and recipe.schedule == "one-cycle":
        problems.append("--warmup with --schedule one-cycle, which has a rise of its own")
    if problems:
        raise UsageError(
            f"{'; '.join(problems)}: would change nothing.",
            hint="Leave that out, or give what it belongs to.",
        )


def _counting(options: Any) -> list[str]:
    """The input's options that count, given the others.

    A field may say what it belongs to: {"only": {"form": "bag"}} in its metadata.
    """
    return [
        name
        for name in _fields(type(options))
        if all(
            getattr(options, other) == value
            for other, value in options.__dataclass_fields__[name].metadata.get("only", {}).items()
        )
    ]


def _fields(options: type[Any] | None) -> list[str]:
    if options is None or not dataclasses.is_dataclass(options):
        return []
    return [field.name for field in dataclasses.fields(options)]


def _flags(names: Iterable[str]) -> str:
    return ", ".join(map(flag, names))
