"""Shrink steps that tests register, as a plugin would."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skipstone.bundle.format import Bundle
from skipstone.compression.shrink_plan import StepContext, copy_bundle
from skipstone.core.specs import StepSpec
from skipstone.inference.golden_outputs import store_goldens

#: Copies the bundle and remembers where from.
MARK = StepSpec("mark", "tests.compression.example_steps:mark")
SEEN: list[Path] = []


def mark(options: None, work: StepContext) -> dict[str, Any]:
    SEEN.append(work.source)
    copy_bundle(work.source, work.out)
    return {"at": len(SEEN)}


@dataclass(frozen=True)
class Noise:
    amount: float = 0.0


#: Adds noise to the weights: with amount 0 a step that loses nothing, with 100 one that loses all.
NOISE = StepSpec(
    "noise", "tests.compression.example_steps:add_noise", "tests.compression.example_steps:Noise"
)


def add_noise(options: Noise, work: StepContext) -> dict[str, Any]:
    bundle = Bundle.load(work.source)
    rng = np.random.default_rng(work.seed)
    tensors = {
        name: value + (options.amount * rng.normal(size=value.shape)).astype(value.dtype)
        if value.ndim > 1
        else value
        for name, value in bundle.tensors.items()
    }
    dataclasses.replace(bundle, tensors=tensors).save(work.out)
    store_goldens(work.out)
    return {}
