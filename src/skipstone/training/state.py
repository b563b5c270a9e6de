"""The state of a training: everything in a checkpoint but its tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class TrainState:
    """Position, running sums and history.

    Args:
        phase, phase_step: the current phase, and the optimizer steps done in it.
        epoch, batch: the loader's epoch, and how many of its batches are done.
        step: optimizer steps done in total.
        epoch_open: an epoch has begun and has no row of history yet.
        losses: sum of each loss over the steps of this epoch, with their number under "steps".
        norms: the same for the gradient norm of each stage, at the steps that measure it.
        seconds: time spent so far, over all sessions.
        chosen_epoch: {"epoch", "step", "metrics"} of the selected weights.
        stale: epochs since the headline metric improved.
        stopped_by: why it ended ("epochs", "steps", "budget", "early stop"); "" while it runs.
    """

    phase: int = 0
    phase_step: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    epoch_open: bool = False
    losses: dict[str, float] = field(default_factory=dict)
    norms: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    ema_count: int = 0
    chosen_epoch: dict[str, Any] | None = None
    stale: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    stopped_by: str = ""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> TrainState:
        return TrainState(**value)


def add_values(sums: dict[str, float], values: Mapping[str, float]) -> None:
    """Add `values` to running sums, and one to their "steps"."""
    for name, value in {**values, "steps": 1.0}.items():
        sums[name] = sums.get(name, 0.0) + value


def mean_values(sums: Mapping[str, float]) -> dict[str, float]:
    """The means of sums of `add_values`."""
    return {name: value / sums["steps"] for name, value in sums.items() if name != "steps"}
