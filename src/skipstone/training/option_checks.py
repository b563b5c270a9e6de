"""Options without effect are refused: whatever a person typed has to count."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from skipstone.core.errors import UsageError
from skipstone.core.formatting import to_flag
from skipstone.core.options import get_spec
from skipstone.core.registry import BACKBONES, INPUTS
from skipstone.core.settings import Settings
from skipstone.core.specs import BackboneSpec
from skipstone.datasets.augmentation import augment_options_type
from skipstone.training.options import TrainOptions
from skipstone.training.recipe import Recipe


def reject_unsupported_options(settings: Settings, model: str, input_options: Any) -> None:
    """Refuse given options that the model's learner, or the input in its form, does not have.

    Raises:
        UsageError: names the options, and those that the model has.
    """
    entry = BACKBONES[model]
    model_options = _fields(entry.options_type())
    input_fields = [name for name in _effective(input_options) if name not in model_options]
    supported = [*model_options, *input_fields]
    by_steps = unsupported_options(entry)
    of_other_form = set(_fields(type(input_options))) - set(supported)
    rejected = [
        name
        for name in settings.values
        if name in by_steps | of_other_form and name not in supported
    ]
    if not rejected:
        return
    them = "it" if len(rejected) == 1 else "them"
    reason = f"{model} does not use {them}"
    if by_steps & set(rejected):
        reason = f"{model} is solved at once, not trained in steps"
    raise UsageError(
        f"{_flags(rejected)} would change nothing: {reason}. It takes {_flags(supported)}.",
        hint=f"Leave {them} out, or choose another model: skipstone models",
    )


def reject_ineffective_options(
    settings: Settings, model: str, task_options: Any, recipe: Recipe
) -> None:
    """Refuse given options of the task and of training that have no effect beside the others.

    Raises:
        UsageError: names each, and why.
    """
    given, problems = settings.values, []
    for item in dataclasses.fields(task_options) if dataclasses.is_dataclass(task_options) else ():
        if item.name not in given:
            continue
        if get_spec(item).needs_gradient and unsupported_options(BACKBONES[model]):
            problems.append(
                f"{to_flag(item.name)}, as {model} is solved at once, not trained in steps"
            )
            continue
        problems += [
            f"{to_flag(item.name)} without {to_flag(other)} {value}"
            for other, value in get_spec(item).requires.items()
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


def _effective(options: Any) -> list[str]:
    """The input's options that have an effect, given the others.

    A field may require other options: `option(..., requires={"text_features": "bag"})`.
    """
    return [
        name
        for name in _fields(type(options))
        if all(
            getattr(options, other) == value
            for other, value in get_spec(options.__dataclass_fields__[name]).requires.items()
        )
    ]


def _fields(options: type[Any] | None) -> list[str]:
    if options is None or not dataclasses.is_dataclass(options):
        return []
    return [field.name for field in dataclasses.fields(options)]


def _flags(names: Iterable[str]) -> str:
    return ", ".join(map(to_flag, names))


def unsupported_options(entry: BackboneSpec) -> frozenset[str]:
    """Names of the options that the learner of a backbone does not have."""
    return _options_of_training_steps() if entry.is_closed_form else frozenset()


def _options_of_training_steps() -> frozenset[str]:
    """Names of options of training in steps. The number of threads changes no model, and every
    learner has a seed, so those two are not among them."""
    kinds: list[type[Any]] = [TrainOptions, *(augment_options_type(entry.name) for entry in INPUTS)]
    names = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    return frozenset({"workers", "worker_patience"} | names - {"threads", "seed"})
