"""Options of the shrink steps. They import no torch, so that ``--help`` stays fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from skipstone.option_types import Range, check_options, whole

Preset = Literal["performance", "mixed"]
Floats = Literal["bf16", "f32"]
_PART = Range(0, 1, open_low=True, open_high=True)


@dataclass(frozen=True, kw_only=True)
class Int8:
    """Post-training INT8: weights and activations of convolutions and matrix products.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    samples: int = field(
        default=300, metadata={"help": "training samples to measure the ranges on"}
    )
    preset: Preset = field(
        default="performance",
        metadata={
            "help": "'performance' uses symmetric ranges, 'mixed' asymmetric ones for activations: "
            "a little slower, and better if activations are negative"
        },
    )
    floats: Floats = field(
        default="bf16",
        metadata={
            "help": "precision of the operations that stay in floating point; a processor without "
            "bfloat16 computes them in float32"
        },
    )

    def __post_init__(self) -> None:
        check_options(self, (), "int8", samples=whole(1))


@dataclass(frozen=True, kw_only=True)
class Prune:
    """Structured pruning of hidden channels, followed by recovery training.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    macs: float = field(
        default=0.5, metadata={"help": "share of the multiply-accumulates to keep, such as 0.5"}
    )
    epochs: int = field(default=8, metadata={"help": "epochs of recovery training"})
    teacher: float = field(
        default=0.7,
        metadata={"help": "weight of the distillation loss from the original model; 0 for none"},
    )
    multiple: int = field(
        default=16,
        metadata={"help": "channels are removed in groups of this size, to suit matrix units"},
    )
    batches: int = field(
        default=16, metadata={"help": "batches to measure the importance of channels on"}
    )

    def __post_init__(self) -> None:
        check_options(
            self,
            (),
            "prune",
            macs=_PART,
            teacher=Range(0, 1),
            epochs=whole(1),
            multiple=whole(1),
            batches=whole(1),
        )


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """Smaller images, followed by recovery training.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    size: int | None = field(
        default=None,
        metadata={
            "help": "side of the images in pixels, such as 160; by default three quarters of the "
            "present one, rounded down to a multiple of the network's stride"
        },
    )
    epochs: int = field(
        default=8,
        metadata={"help": "epochs of recovery training; 0 for none, if a later step trains"},
    )
    teacher: float = field(
        default=0.7,
        metadata={
            "help": "weight of the distillation loss from the original model, which gets the same "
            "images enlarged to its own size; 0 for none"
        },
    )

    def __post_init__(self) -> None:
        check_options(self, (), "resolution", size=whole(1), epochs=whole(0), teacher=Range(0, 1))


@dataclass(frozen=True, kw_only=True)
class VocabularyOptions:
    """Remove the least important tokens or n-grams from the vocabulary and the network's tables.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    keep: float = field(
        default=0.5, metadata={"help": "share of the vocabulary to keep, such as 0.5"}
    )
    epochs: int = field(
        default=2,
        metadata={
            "help": "epochs of recovery training; closed-form models are solved again; 0 for "
            "neither"
        },
    )

    def __post_init__(self) -> None:
        check_options(self, (), "vocabulary", keep=_PART, epochs=whole(0))
