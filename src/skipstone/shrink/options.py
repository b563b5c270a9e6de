"""Options of the shrink steps. Free of torch, so that ``--help`` stays fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from skipstone.errors import UsageError

Preset = Literal["performance", "mixed"]
Floats = Literal["bf16", "f32"]


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
        problems = []
        if isinstance(self.samples, bool) or not isinstance(self.samples, int) or self.samples < 1:
            problems.append(f"samples is {self.samples!r}; allowed: a whole number from 1")
        for name, kind in (("preset", Preset), ("floats", Floats)):
            value, allowed = getattr(self, name), get_args(kind)
            if value not in allowed:
                problems.append(f"{name} is {value!r}; allowed: {', '.join(map(repr, allowed))}")
        if problems:
            raise UsageError("int8: " + "; ".join(problems) + ".")


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
        metadata={"help": "share of the loss that imitates the model before pruning; 0 for none"},
    )
    multiple: int = field(
        default=16, metadata={"help": "channels go in groups of so many, as matrix units take them"}
    )
    batches: int = field(
        default=16, metadata={"help": "batches that each channel's importance is measured on"}
    )

    def __post_init__(self) -> None:
        problems = []
        if not _number(self.macs) or not 0 < self.macs < 1:
            problems.append(f"macs is {self.macs!r}; allowed: above 0 and below 1")
        if not _number(self.teacher) or not 0 <= self.teacher <= 1:
            problems.append(f"teacher is {self.teacher!r}; allowed: 0 to 1")
        for name, least in (("epochs", 1), ("multiple", 1), ("batches", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                problems.append(f"{name} is {value!r}; allowed: a whole number from {least}")
        if problems:
            raise UsageError("prune: " + "; ".join(problems) + ".")


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
        problems = []
        if not _number(self.keep) or not 0 < self.keep < 1:
            problems.append(f"keep is {self.keep!r}; allowed: above 0 and below 1")
        if isinstance(self.epochs, bool) or not isinstance(self.epochs, int) or self.epochs < 0:
            problems.append(f"epochs is {self.epochs!r}; allowed: a whole number from 0")
        if problems:
            raise UsageError("vocabulary: " + "; ".join(problems) + ".")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
