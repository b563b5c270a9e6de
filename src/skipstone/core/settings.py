"""The flat names that users type, and the typed options that the packages own.

Each package keeps its options in frozen dataclasses, in modules free of torch. Here their fields
become one flat list of names: the command line makes a flag of each, and `skipstone.train` takes
them as keywords. A name that several owners have (`seed`) sets all of them.

    settings = Settings({"epochs": 5, "width": 0.5})
    settings.options(TrainOptions)                 # only what TrainOptions has
    settings.check_used(...)                       # unused names are refused
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from skipstone.core.errors import UsageError, WrongTypeError, did_you_mean
from skipstone.core.formatting import join_limited, to_flag
from skipstone.core.options import (
    OptionSpec,
    describe_allowed,
    get_spec,
    has_type,
    is_allowed,
    literal_values,
    parse_text,
)
from skipstone.core.registry import BACKBONES, HEADS, INPUTS, TASKS, Registry
from skipstone.core.specs import resolve_target

#: Groups whose options do not depend on a chosen name, in the order of `skipstone train --help`.
FIXED_GROUPS = {
    "data": "skipstone.data.options:ReadOptions",
    "split": "skipstone.datasets.options:SplitOptions",
    "training": "skipstone.training.options:TrainOptions",
    "loading": "skipstone.datasets.options:LoadOptions",
    "head": "skipstone.models.heads.options:HeadChoice",
    "vectors": "skipstone.models.text_backbone_options:VectorOptions",
}
#: Groups whose options belong to the entry that is chosen.
REGISTRY_GROUPS: dict[str, Registry[Any]] = {
    "input": INPUTS,
    "task": TASKS,
    "model": BACKBONES,
    "head": HEADS,
}


#: Our names of options, and those of other tools.
_ALIASES = {
    "accumulate": "accumulate_grad_batches gradient_accumulation_steps grad_accum",
    "augment": "aug augmentation augmentations auto_augment aa",
    "batch_size": "batch bs b train_batch_size per_device_train_batch_size",
    "class_weights": "class_weight",
    "clip": "clip_grad grad_clip gradient_clip_val max_grad_norm",
    "device=cuda": "gpu gpus cuda accelerator devices",
    "early_stop": "patience early_stopping early_stopping_patience",
    "epochs": "e max_epochs num_epochs n_epochs nb_epochs num_train_epochs",
    "flip": "hflip fliplr horizontal_flip",
    "from_": "ckpt finetune fine_tune initial_checkpoint",
    "label_column": "target target_column label_col y_col label y",
    "label_smoothing": "smoothing",
    "lr": "learning_rate lr0 base_lr max_lr eta",
    "model": "m arch architecture backbone network net encoder",
    "optimizer": "opt optim",
    "out": "o output output_dir out_dir save_dir project log_dir logdir results",
    "noise": "gaussian_noise gauss_noise gaussian_noise_std",
    "pad_crop": "padding random_crop pad_and_crop random_padding",
    "path_column": "image_column x_col fn_col path_col image_col",
    "precision=bf16": "amp fp16 bf16 half mixed_precision use_amp",
    "schedule": "sched scheduler lr_scheduler lr_scheduler_type",
    "seed": "random_state random_seed manual_seed",
    "size": "imgsz img_size image_size input_size img img_sz resolution",
    "steps": "max_steps iterations max_iter num_steps",
    "stochastic_depth": "drop_path drop_path_rate",
    "test_share": "test_size test_split",
    "to": "format",
    "translate": "translation random_translation width_shift_range height_shift_range",
    "val_share": "val_split validation_split valid_pct val_size val_pct",
    "warmup": "warmup_epochs warmup_steps warmup_ratio",
    "rotate": "degrees rotation rotation_range",
    "weight_decay": "wd",
    "weights=pretrained": "pretrained",
    "workers": "j num_workers n_workers nw n_jobs jobs dataloader_num_workers",
}
_NAME_OF_ALIAS = {word: name for name, words in _ALIASES.items() for word in words.split()}
#: Parameters of commands, which are not options of a dataclass.
_COMMAND_PARAMETERS = ("model", "weights", "out", "from_")
#: Options of other tools that have no counterpart here, and why.
_UNNEEDED = {
    "resume": "The same command resumes its unfinished run.",
    **dict.fromkeys(
        ("num_classes", "n_classes", "nc", "classes_count"),
        "The classes are those of the data.",
    ),
    **dict.fromkeys(
        ("data", "data_dir", "data_path", "dataset", "train_dir", "source", "image_dir"),
        "The data is the first argument, without a name: photos/",
    ),
}


def suggest_option(word: str, known: Collection[str], *, as_flag: bool = False) -> str:
    """A hint for an unknown option: the option that other tools call so, or the nearest name.

    >>> suggest_option("learning_rate", ["lr", "epochs"])
    "Did you mean 'lr'?"
    """
    name, _, value = _NAME_OF_ALIAS.get(word, "").partition("=")
    if name in known:
        option = _to_flag(name) if as_flag else name
        with_value = f"{option} {value}" if as_flag else f"{option}={value!r}"
        return f"Did you mean {with_value if value else repr(option)}?"
    if word in _UNNEEDED or len(word) == 1:  # every name is near one letter
        return _UNNEEDED.get(word, "")
    if as_flag:
        return did_you_mean(_to_flag(word), map(_to_flag, known))
    return did_you_mean(word, known)


def _to_flag(name: str) -> str:
    return to_flag(name.rstrip("_"))


@dataclass(frozen=True, slots=True)
class Setting:
    """One name a user may set: who has it, and how its text is read."""

    name: str
    group: str
    owners: tuple[str, ...]  # the entries that have it ("resnet18", ...), or the group
    kind: Any  # the annotated type
    default: Any
    spec: OptionSpec

    def parse_value(self, text: str) -> Any:
        """Read a command-line value. ValueError says what is allowed."""
        return self.spec.parse(text) if self.spec.parse else parse_text(self.kind, text)

    def allows(self, value: Any) -> bool:
        """Whether the range and the choices allow a value; text that `parse` reads is not checked."""
        if self.spec.parse is not None and isinstance(value, str):
            return True
        return is_allowed(value, self.kind, self.spec, self.default)

    @property
    def choices(self) -> tuple[Any, ...]:
        return (*self.spec.choices, *literal_values(self.kind))

    def describe_owners(self) -> str:
        """Such as "model resnet18, resnet34 and 20 more"."""
        owners = join_limited(self.owners, limit=2)
        if self.group == "augmentation":
            return f"augmentation of input {owners}"
        return owners if owners == self.group else f"{self.group} {owners}"


def settings_of(options_type: type[Any], group: str, *owners: str) -> Iterator[Setting]:
    """The settings in a dataclass of options."""
    kinds = typing.get_type_hints(options_type)
    for field in dataclasses.fields(options_type):
        spec = get_spec(field)
        if not spec.is_hidden:
            yield Setting(field.name, group, owners, kinds[field.name], field.default, spec)


def known_settings() -> dict[str, list[Setting]]:
    """Every name a user may set, with each dataclass that has it."""
    owners: dict[tuple[str, type[Any]], list[str]] = {}
    for entry in INPUTS:  # how its samples are augmented
        if entry.augment is not None:
            kind = resolve_target(entry.augment)
            owners.setdefault(("augmentation", kind), []).append(entry.name)
    for group, target in FIXED_GROUPS.items():
        owners[group, resolve_target(target)] = [group]
    for group, registry in REGISTRY_GROUPS.items():
        for entry in registry:
            kind = entry.options_type()
            if kind is not None:
                owners.setdefault((group, kind), []).append(entry.name)
    settings: dict[str, list[Setting]] = {}
    for (group, kind), names in owners.items():
        for setting in settings_of(kind, group, *names):
            settings.setdefault(setting.name, []).append(setting)
    return settings


class Settings:
    """Flat names and values that a user gave, for the dataclasses of options that have them."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self.values = {name: value for name, value in (values or {}).items() if value is not None}
        self._used: set[str] = set()
        known = known_settings()
        problems = []
        error: type[UsageError] = UsageError
        for name in self.values:
            if name not in known:
                hint = suggest_option(name, [*known, *_COMMAND_PARAMETERS])
                problems.append(f"unknown option {name!r}. {hint}".strip())
            elif not any(setting.allows(self.values[name]) for setting in known[name]):
                setting = known[name][0]
                allowed = describe_allowed(setting.kind, setting.spec)
                problems.append(f"{name} is {self.values[name]!r:.60}; allowed: {allowed}.")
                if not any(s.choices or has_type(s.kind, self.values[name]) for s in known[name]):
                    error = WrongTypeError
        if problems:
            raise error("; ".join(problems))

    def values_for(self, options_type: type[Any] | None) -> dict[str, Any]:
        """The given values that `options_type` has a field for."""
        if options_type is None:
            return {}
        names = {field.name for field in dataclasses.fields(options_type)}
        values = {name: value for name, value in self.values.items() if name in names}
        self._used |= set(values)
        return values

    def make_options(self, options_type: type[Any], **defaults: Any) -> Any:
        """An instance of `options_type`: the user's values over `defaults`."""
        try:
            return options_type(**(defaults | self.values_for(options_type)))
        except UsageError:
            raise
        except (TypeError, ValueError) as error:
            raise UsageError(str(error)) from error

    def reject_unused(self, *, task: str, model: str, head: str) -> None:
        """Refuse a value that no part of this run has, naming the parts that would."""
        known = known_settings()
        for name in sorted(set(self.values) - self._used):
            owners = " or ".join(sorted({setting.describe_owners() for setting in known[name]}))
            raise UsageError(
                f"{to_flag(name)} is an option of {owners}; "
                f"this run is task {task} with model {model} and head {head}.",
                hint="Leave it out, or choose what it belongs to.",
            )

    def reject_unknown_for_command(self, verb: str, names: Collection[str] | None = None) -> None:
        """Refuse options that a command does not have, as its command line does.

        Args:
            names: the options that it has; by default those that were used.
        """
        allowed = self._used if names is None else names
        for name in sorted(set(self.values) - set(allowed)):
            raise UsageError(
                f"skipstone {verb} has no flag {to_flag(name)}.",
                hint=f"See: skipstone {verb} --help-all",
            )


def to_cli_args(values: Mapping[str, Any]) -> list[str]:
    """The command-line words for `values`.

    >>> as_flags({"epochs": 5, "freeze_norm": True, "label_columns": ("a", "b"), "out": None})
    ['--epochs', '5', '--freeze-norm', '--label-columns', 'a,b']
    """
    words: list[str] = []
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, bool):
            words.append(to_flag(name if value else f"no_{name}"))
        elif isinstance(value, (list, tuple)):
            words += [to_flag(name), ",".join(map(str, value))]
        else:
            unit = "s" if name == "budget" and not isinstance(value, str) else ""
            words += [to_flag(name), f"{value}{unit}"]
    return words
