"""Options of the shrink steps. Free of torch, so that ``--help`` stays fast."""

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
        default=300, metadata={"help": "training samples that the ranges are measured on"}
    )
    preset: Preset = field(
        default="performance",
        metadata={
            "help": "'performance' takes symmetric ranges throughout, 'mixed' asymmetric ones for "
            "activations: a little slower, and better where activations go below zero"
        },
    )
    floats: Floats = field(
        default="bf16",
        metadata={
            "help": "precision of what stays in floating point; a processor without bfloat16 "
            "computes it in float32"
        },
    )

    def __post_init__(self) -> None:
        check_options(self, (), "int8", samples=whole(1))


@dataclass(frozen=True, kw_only=True)
class Prune:
    """Structured pruning of hidden channels, and training that makes up for it.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    macs: float = field(
        default=0.5, metadata={"help": "share of the multiply-accumulates to keep, such as 0.5"}
    )
    epochs: int = field(default=8, metadata={"help": "epochs of learning again"})
    teacher: float = field(
        default=0.7,
        metadata={
            "help": "share of the loss that imitates the model that the plan began with; 0 for none"
        },
    )
    multiple: int = field(
        default=16, metadata={"help": "channels go in groups of so many, as matrix units take them"}
    )
    batches: int = field(
        default=16, metadata={"help": "batches that each channel's importance is measured on"}
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
    """Smaller pictures, and training that gets the network used to them.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    size: int | None = field(
        default=None,
        metadata={
            "help": "side of the pictures in pixels, such as 160; by default three quarters of "
            "what it is, down to a multiple of the network's stride"
        },
    )
    epochs: int = field(
        default=8,
        metadata={"help": "epochs of learning again; 0 for none, where a later step does"},
    )
    teacher: float = field(
        default=0.7,
        metadata={
            "help": "share of the loss that imitates the model that the plan began with, which "
            "sees the same pictures enlarged to its own size; 0 for none"
        },
    )

    def __post_init__(self) -> None:
        check_options(self, (), "resolution", size=whole(1), epochs=whole(0), teacher=Range(0, 1))


@dataclass(frozen=True, kw_only=True)
class VocabularyOptions:
    """Tokens or n-grams that matter least leave the input's vocabulary and the network's tables.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    keep: float = field(
        default=0.5, metadata={"help": "share of the vocabulary to keep, such as 0.5"}
    )
    epochs: int = field(
        default=2,
        metadata={
            "help": "epochs of learning again; models found in closed form are solved again; 0 for "
            "neither"
        },
    )

    def __post_init__(self) -> None:
        check_options(self, (), "vocabulary", keep=_PART, epochs=whole(0))
