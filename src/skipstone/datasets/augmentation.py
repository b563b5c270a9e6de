"""The augmentation of an input: its spec names the options (`augment`; by default those of images),
and the options name their factory functions."""

from __future__ import annotations

from typing import Protocol

from skipstone.core.errors import UsageError
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
