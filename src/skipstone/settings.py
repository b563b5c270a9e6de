"""The flat names that users type, and the typed options that rooms own.

Every room keeps its options in a frozen dataclass in a module free of torch. Here their fields
become one flat list of names: the command line makes a flag of each, and `skipstone.train` takes
them as keywords. A name that several rooms share (`seed`) sets all of them.

    settings = Settings({"epochs": 5, "width": 0.5})
    settings.options("train", TrainOptions)        # only what TrainOptions knows
    settings.check_used(...)                       # names that nothing took are refused
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from skipstone.errors import UsageError, did_you_mean
from skipstone.option_types import parse_text
from skipstone.registry import BACKBONES, HEADS, INPUTS, TASKS, Registry, resolve_target
from skipstone.words import flag

#: Groups whose options do not depend on a chosen name, in the order of `skipstone train --help`.
FIXED_GROUPS = {
    "data": "skipstone.data.options:ReadOptions",
    "split": "skipstone.prepare.options:SplitOptions",
    "training": "skipstone.train.options:TrainOptions",
    "loading": "skipstone.prepare.options:LoadOptions",
    "head": "skipstone.models.heads.options:HeadChoice",
    "vectors": "skipstone.models.vector_options:VectorOptions",
}
#: Groups whose options belong to the entry that is chosen.
REGISTRY_GROUPS: dict[str, Registry] = {
    "input": INPUTS,
    "task": TASKS,
    "model": BACKBONES,
    "head": HEADS,
}


#: What options are called here, and elsewhere.
_CALLED = {
    "accumulate": "accumulate_grad_batches gradient_accumulation_steps grad_accum",
    "augment": "aug augmentation augmentations auto_augment aa",
    "batch_size": "batch bs b train_batch_size per_device_train_batch_size",
    "class_weights": "class_weight",
    "clip": "clip_grad grad_clip gradient_clip_val max_grad_norm",
    "device=cuda": "gpu gpus cuda accelerator devices",
    "early_stop": "patience early_stopping early_stopping_patience",
    "epochs": "e max_epochs num_epochs n_epochs nb_epochs num_train_epochs",
    "flip": "hflip fliplr horizontal_flip",
    "from_": "checkpoint ckpt finetune fine_tune initial_checkpoint",
    "label_column": "target target_column label_col y_col label y",
    "label_smoothing": "smoothing",
    "lr": "learning_rate lr0 base_lr max_lr eta",
    "model": "m arch architecture backbone network net encoder",
    "optimizer": "opt optim",
    "out": "o output output_dir out_dir save_dir project log_dir logdir results",
    "path_column": "image_column x_col fn_col path_col image_col",
    "precision=bf16": "amp fp16 bf16 half mixed_precision use_amp",
    "schedule": "sched scheduler lr_scheduler lr_scheduler_type",
    "seed": "random_state random_seed manual_seed",
    "select": "val_split validation_split valid_pct val_size test_size test_split val_pct",
    "size": "imgsz img_size image_size input_size img img_sz resolution",
    "steps": "max_steps iterations max_iter num_steps",
    "stochastic_depth": "drop_path drop_path_rate",
    "to": "format",
    "warmup": "warmup_epochs warmup_steps warmup_ratio",
    "weight_decay": "wd",
    "weights=pretrained": "pretrained",
    "workers": "j num_workers n_workers nw n_jobs jobs dataloader_num_workers",
}
_ELSEWHERE = {word: name for name, words in _CALLED.items() for word in words.split()}
#: Options that verbs have of their own.
_OF_VERBS = ("model", "weights", "out", "from_")
#: What needs no option here.
_NEEDLESS = {
    "resume": "The same command goes on with its unfinished run.",
    **dict.fromkeys(
        ("num_classes", "n_classes", "nc", "classes_count"),
        "The classes are those that the data has.",
    ),
    **dict.fromkeys(
        ("data", "data_dir", "data_path", "dataset", "train_dir", "source", "input", "image_dir"),
        "The data is the first argument, without a name: photos/",
    ),
}


def meant(word: str, known: Collection[str], *, typed: bool = False) -> str:
    """What to say for an option that is not `known`: the nearest, or what is so called elsewhere;
    as flags where they are `typed`.

    >>> meant("learning_rate", ["lr", "epochs"])
    "Did you mean 'lr'?"
    """
    name, _, value = _ELSEWHERE.get(word, "").partition("=")
    if name in known:
        ours = _typed(name) if typed else name
        whole = f"{ours} {value}" if typed else f"{ours}={value!r}"
        return f"Did you mean {whole if value else repr(ours)}?"
    if word in _NEEDLESS or len(word) == 1:  # near one letter is anything
        return _NEEDLESS.get(word, "")
    if typed:
        return did_you_mean(_typed(word), map(_typed, known))
    return did_you_mean(word, known)


def _typed(name: str) -> str:
    return flag(name.rstrip("_"))


@dataclass(frozen=True, slots=True)
class Setting:
    """One name a user may set: where it comes from and how its text is read."""

    name: str
    group: str
    owner: str  # the entry that has it ("resnet18"), or the group
    kind: Any  # the annotated type
    default: Any
    metadata: Mapping[str, Any]

    def parse(self, text: str) -> Any:
        """Read a command-line value. ValueError says what is allowed."""
        reader = self.metadata.get("parse")
        return reader(text) if reader is not None else parse_text(self.kind, text)


def settings_of(options_type: type[Any], group: str, owner: str) -> Iterator[Setting]:
    """The settings in a dataclass of options."""
    kinds = typing.get_type_hints(options_type)
    for field in dataclasses.fields(options_type):
        if field.metadata.get("hidden"):
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        yield Setting(field.name, group, owner, kinds[field.name], default, field.metadata)


def known_settings() -> dict[str, list[Setting]]:
    """Every name a user may set, with each place that takes it."""
    found: dict[str, list[Setting]] = {}
    seen: set[type[Any]] = set()
    for entry in INPUTS:  # how its samples are augmented
        if "augment" in entry.facts:
            kind = resolve_target(entry.facts["augment"])
            for setting in settings_of(kind, "augmentation", f"of the input {entry.name}"):
                found.setdefault(setting.name, []).append(setting)
    for group, target in FIXED_GROUPS.items():
        kind = resolve_target(target)
        for setting in settings_of(kind, group, group):
            found.setdefault(setting.name, []).append(setting)
    for group, registry in REGISTRY_GROUPS.items():
        for entry in registry:
            kind = entry.options_type()
            if kind is None or kind in seen:
                continue
            seen.add(kind)
            for setting in settings_of(kind, group, entry.name):
                found.setdefault(setting.name, []).append(setting)
    return found


class Settings:
    """Flat names and values that a user gave, handed out to the rooms that own them."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self.values = {name: value for name, value in (values or {}).items() if value is not None}
        self._used: set[str] = set()
        known = known_settings()
        problems = []
        for name in self.values:
            if name not in known:
                hint = meant(name, [*known, *_OF_VERBS])
                problems.append(f"there is no option {name!r}. {hint}".strip())
        if problems:
            raise UsageError("; ".join(problems))

    def values_for(self, options_type: type[Any] | None) -> dict[str, Any]:
        """The given values that `options_type` has a field for."""
        if options_type is None:
            return {}
        names = {field.name for field in dataclasses.fields(options_type)}
        taken = {name: value for name, value in self.values.items() if name in names}
        self._used |= set(taken)
        return taken

    def options(self, options_type: type[Any], **defaults: Any) -> Any:
        """An instance of `options_type`: the user's values over `defaults`."""
        try:
            return options_type(**(defaults | self.values_for(options_type)))
        except UsageError:
            raise
        except (TypeError, ValueError) as error:
            raise UsageError(str(error)) from error

    def check_used(self, *, task: str, model: str, head: str) -> None:
        """Refuse a value that no part of this run takes, naming who would take it."""
        known = known_settings()
        for name in sorted(set(self.values) - self._used):
            owners = " or ".join(sorted({f"{s.group} {s.owner}" for s in known[name]}))
            raise UsageError(
                f"{flag(name)} is an option of {owners}; "
                f"this run is task {task} with model {model} and head {head}.",
                hint="Leave it out, or choose what it belongs to.",
            )

    def check_taken(self, verb: str, names: Collection[str] | None = None) -> None:
        """Refuse what `verb` does not take, as its command line does.

        Args:
            names: what it takes, where that is not all that was handed out.
        """
        taken = self._used if names is None else names
        for name in sorted(set(self.values) - set(taken)):
            raise UsageError(
                f"skipstone {verb} has no flag {flag(name)}.",
                hint=f"See: skipstone {verb} --help",
            )


def as_flags(values: Mapping[str, Any]) -> list[str]:
    """The words that say `values` on the command line.

    >>> as_flags({"epochs": 5, "freeze_norm": True, "label_columns": ("a", "b"), "out": None})
    ['--epochs', '5', '--freeze-norm', '--label-columns', 'a,b']
    """
    words: list[str] = []
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, bool):
            words.append(flag(name if value else f"no_{name}"))
        elif isinstance(value, (list, tuple)):
            words += [flag(name), ",".join(map(str, value))]
        else:
            unit = "s" if name == "budget" and not isinstance(value, str) else ""
            words += [flag(name), f"{value}{unit}"]
    return words
