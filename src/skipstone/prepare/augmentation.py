"""Which augmentation an input has: its entry names the options (the fact `augment`), and those name
who makes something of them. Pictures' are the ones of an input that names none."""

from __future__ import annotations

from typing import Any, Protocol

from skipstone.data.samples import Sample
from skipstone.errors import UsageError
from skipstone.inputs.base import Input, Raw
from skipstone.prepare.mix import Mixing
from skipstone.registry import BACKBONES, INPUTS, Entry, resolve_target
from skipstone.tasks.base import Task

_PICTURES = "skipstone.prepare.augment_options:AugmentOptions"


class Augmentation(Protocol):
    """Changes training samples; keyed by (seed, epoch, id, view)."""

    @property
    def on_records(self) -> bool:
        """Whether `record` changes anything."""

    @property
    def thread_safe(self) -> bool:
        """Whether it may run beside training."""

    def record(self, raw: Raw, *, id: int, view: int, seed: int, epoch: int) -> Raw:
        """What was decoded, changed before it is encoded."""

    def __call__(self, sample: Sample, *, seed: int, epoch: int) -> Sample:
        """What was encoded, and what lies on it, changed."""


def augment_options(input: str) -> type[Any]:
    """The dataclass of options for the input of this name."""
    kind: type[Any] = resolve_target(INPUTS[input].facts.get("augment", _PICTURES))
    return kind


def augmentation_of(options: Any, input: Input, task: Task | None = None) -> Augmentation | None:
    """What `options` mean for this input's samples, or None where nothing is to be done.

    Raises:
        UsageError: they mean nothing for this input or task, or name what is not there.
    """
    made: Augmentation | None = resolve_target(options.maker)(options, input, task)
    return made


def mixing_of(options: Any, task: Task, backbone: Entry) -> Mixing | None:
    """How `options` mix batches, or None where they do not.

    Raises:
        UsageError: the task's targets cannot be mixed, or the backbone has not what is mixed.
    """
    for need, flag in getattr(options, "needs", {}).items():
        if need not in backbone.facts.get("offers", []):
            fitting = [entry.name for entry in BACKBONES if need in entry.facts.get("offers", [])]
            raise UsageError(
                f"{flag} needs {need}, which {backbone.name!r} does not offer.",
                hint=f"Choose --model {' or '.join(fitting)}, or leave {flag} out.",
            )
    made: Mixing | None = resolve_target(options.mixer)(options, task)
    return made
