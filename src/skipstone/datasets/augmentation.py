"""The augmentation of an input: its spec names the options (`augment`; by default those of images),
and the options name their factory functions."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any, Protocol

from skipstone.core.errors import UsageError
from skipstone.core.formatting import join_limited, to_flag
from skipstone.core.options import check_types, get_spec
from skipstone.core.registry import BACKBONES, INPUTS
from skipstone.core.specs import BackboneSpec, resolve_target
from skipstone.data.samples import Sample
from skipstone.datasets.mixing import Mixing
from skipstone.inputs.augmentation_options import AugmentationOptions
from skipstone.inputs.base import DecodedSample, Input
from skipstone.tasks.base import Task

_DEFAULT_OPTIONS = "skipstone.image.augment_options:ImageAugmentOptions"


class Augmentation(Protocol):
    """Changes training samples at random, keyed by (seed, epoch, id, view)."""

    @property
    def augments_records(self) -> bool:
        """Whether `augment_record` changes anything."""

    @property
    def is_thread_safe(self) -> bool:
        """Whether loading threads may call it while training runs."""

    def augment_record(
        self, raw: DecodedSample, *, id: int, view: int, seed: int, epoch: int
    ) -> DecodedSample:
        """Change a decoded record before it is encoded."""

    def __call__(self, sample: Sample, *, seed: int, epoch: int) -> Sample:
        """Change an encoded sample and its spatial targets."""


def augment_options_type(input: str) -> type[AugmentationOptions]:
    """The dataclass of options for the input of this name."""
    options_type: type[AugmentationOptions] = resolve_target(
        INPUTS[input].augment or _DEFAULT_OPTIONS
    )
    return options_type


def stored_augmentation(
    input: str,
    stored: Mapping[str, Any],
    typed: Mapping[str, Any],
    owner: object,
    *,
    as_flag: str = "{flag} {value}",
) -> dict[str, Any]:
    """The values of the options that a model was trained with, and those of this command over them.

    Args:
        typed: what the user gave. A typed `augment` leaves out stored values of `names_outside`.
        owner: the model, for messages.
        as_flag: how the user types a name and a value in this command.

    Raises:
        UsageError: a stored value has a wrong type, or names code or a file that the user did not
            name: a stranger may have written it.
    """
    options_type: Any = augment_options_type(input)
    fields = {field.name: field for field in dataclasses.fields(options_type)}
    check_types(str(owner), options_type, stored)
    if unknown := sorted(set(stored) - set(fields)):
        raise UsageError(f"{owner} names augmentations that do not exist: {join_limited(unknown)}.")
    values = dict(stored)
    for name, value in stored.items():
        if value is None or not get_spec(fields[name]).names_outside:
            continue
        if name not in typed and "augment" not in typed:
            typing = [
                as_flag.format(flag=to_flag(key), name=key, value=shlex.quote(str(word)))
                for key, word in ((name, value), ("augment", "none"))
            ]
            raise UsageError(
                f"{owner} was trained with {to_flag(name)} {value!r}, which is not part of the "
                "model; what a model names outside of itself is neither imported nor opened.",
                hint=f"If you trust it: {typing[0]}. To train without it: {typing[1]}",
            )
        del values[name]
    return values | {name: value for name, value in typed.items() if name in fields}


def make_augmentation(
    options: AugmentationOptions, input: Input, task: Task | None = None
) -> Augmentation | None:
    """The augmentation of this input's samples, or None if nothing changes them.

    Raises:
        UsageError: the options do not apply to this input or task, or a callable is missing.
    """
    augmentation: Augmentation | None = resolve_target(options.augmentation_factory)(
        options, input, task
    )
    return augmentation


def make_mixing(options: AugmentationOptions, task: Task, backbone: BackboneSpec) -> Mixing | None:
    """The mixing of batches (MixUp, CutMix), or None if they are not mixed.

    Raises:
        UsageError: the task's targets cannot be mixed, or the backbone lacks an ability.
    """
    for need, flag in options.backbone_requirements.items():
        if need not in backbone.provides:
            suitable = [entry.name for entry in BACKBONES if need in entry.provides]
            raise UsageError(
                f"{flag} needs {need}, which {backbone.name!r} does not provide.",
                hint=f"Choose --model {' or '.join(suitable)}, or leave {flag} out.",
            )
    mixing: Mixing | None = resolve_target(options.mixing_factory)(options, task)
    return mixing
