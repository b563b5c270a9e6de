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
