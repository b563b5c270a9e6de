"""Checkpoints: everything that a run needs to resume bit-identically.

    checkpoint/even, checkpoint/odd     the last two, each a folder that is written atomically
        state.json                      position, sums, history; scalars of the optimizer
        tensors.safetensors             model.*, optimizer.*, ema.*, chosen.*
        hashes.json                     SHA-256 of the two

It has no random states: every step seeds its generators from (seed, step), so that evaluating,
timing or loading disturbs nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.core import events, storage
from skipstone.core.errors import DamagedError, UsageError
from skipstone.core.options import check_types, has_type
from skipstone.training.optimizers import Ema


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
        """TypeError or ValueError for what `to_json` does not write."""
        check_types("state", TrainState, value)
        state = TrainState(**value)
        numbers = [state.phase, state.phase_step, state.epoch, state.batch, state.step, state.stale]
        if min(numbers) < 0 or max(state.phase_step, state.epoch) > state.step:
            raise ValueError(f"step {state.step} in epoch {state.epoch} is impossible")
        rows = [*state.history, *([] if state.chosen_epoch is None else [state.chosen_epoch])]
        for row in rows:
            if not isinstance(row.get("metrics"), dict) or not has_type(int, row.get("epoch")):
                raise ValueError(f"the epoch {row!r:.60} has no number or no metrics")
        for name, sums in (("losses", state.losses), ("norms", state.norms)):
            if not all(has_type(float, number) for number in sums.values()):
                raise ValueError(f"{name} are not numbers")
        return state


def add_values(sums: dict[str, float], values: Mapping[str, float]) -> None:
    """Add `values` to running sums, and one to their "steps"."""
    for name, value in {**values, "steps": 1.0}.items():
        sums[name] = sums.get(name, 0.0) + value


def mean_values(sums: Mapping[str, float]) -> dict[str, float]:
    """The means of sums of `add_values`."""
    return {name: value / sums["steps"] for name, value in sums.items() if name != "steps"}


GENERATIONS = ("even", "odd")
STATE, TENSORS, HASHES = "state.json", "tensors.safetensors", "hashes.json"


@dataclass(slots=True)
class Checkpoint:
    """`number` counts the checkpoints of a run."""

    number: int
    state: TrainState
    tensors: dict[str, Tensor]
    optimizer: dict[str, Any]

    def tensors_under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under `prefix`, without it."""
        start = prefix + "."
        return {
            name.removeprefix(start): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(start)
        }


def checkpoint_folder(folder: Path, number: int) -> Path:
    """The folder of the checkpoint of this number."""
    return folder / GENERATIONS[number % 2]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the older of the two checkpoints."""
    value = {
        "number": checkpoint.number,
        "state": checkpoint.state.to_json(),
        "optimizer": checkpoint.optimizer,
    }
    with storage.write_folder(checkpoint_folder(folder, checkpoint.number)) as target:
        storage.write_json(target / STATE, value)
        storage.write_tensors(target / TENSORS, checkpoint.tensors)
        hashes = {name: storage.file_sha256(target / name) for name in (STATE, TENSORS)}
        storage.write_json(target / HASHES, hashes)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The last undamaged checkpoint; None before the first.

    Warns of a damaged one. DamagedError if all are damaged.
    """
    if not folder.exists():
        return None
    storage.remove_stale_temporaries(folder)
    checkpoints: list[Checkpoint] = []
    damage: list[str] = []
    for name in GENERATIONS:
        if (folder / name).exists():
            try:
                checkpoints.append(_load(folder / name))
            except DamagedError as error:
                damage.append(error.message)
    if not checkpoints:
        if damage:
            raise DamagedError(
                f"no checkpoint can be read: {' '.join(damage)}",
                hint="Remove the run folder to start again.",
            )
        return None
    last = max(checkpoints, key=lambda checkpoint: checkpoint.number)
    for message in damage:
        events.emit_warning(f"{message} Resuming from the checkpoint at step {last.state.step:,}.")
    return last


def _load(folder: Path) -> Checkpoint:
    hashes = storage.read_json(folder / HASHES)
    if not isinstance(hashes, dict) or set(hashes) != {STATE, TENSORS}:
        raise DamagedError(f"{folder / HASHES} is damaged: it does not name both files.")
    for name, expected in hashes.items():
        if storage.file_sha256(folder / name) != expected:
            raise DamagedError(f"{folder / name} is damaged: its content is not what was written.")
    value = storage.read_json(folder / STATE)
    tensors = storage.read_torch_tensors(folder / TENSORS)
    try:
        state = TrainState.from_json(value["state"])
        if not has_type(int, value["number"]) or value["number"] < 0:
            raise ValueError(f"its number is {value['number']!r:.60}")
        return Checkpoint(value["number"], state, tensors, dict(value["optimizer"]))
    except (UsageError, TypeError, KeyError, ValueError, AttributeError) as error:
        raise DamagedError(f"{folder / STATE} is not what skipstone writes ({error}).") from None


# --- the parts ------------------------------------------------------------------------------


def model_tensors(network: nn.Module, ema: Ema | None) -> dict[str, Tensor]:
    """model.* and ema.*"""
    tensors = {f"model.{name}": value for name, value in network.state_dict().items()}
    if ema is not None:
        tensors |= {f"ema.{name}": value for name, value in ema.state_dict().items()}
    return tensors


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors as optimizer.<parameter>.<name>, and the JSON-able rest by the same names."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for key, value in _optimizer_items(optimizer.state_dict()["state"]):
        if isinstance(value, Tensor):
            tensors[f"optimizer.{key}"] = value
        else:
            scalars[key] = value
    return tensors, scalars


def restore_optimizer(optimizer: torch.optim.Optimizer, checkpoint: Checkpoint) -> None:
    """Put saved state into a fresh optimizer over the same parameters."""
    state: dict[int, dict[str, Any]] = {}
    values: dict[str, Any] = {**checkpoint.tensors_under("optimizer"), **checkpoint.optimizer}
    for key, value in values.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    fresh = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": fresh["param_groups"]})
    for parameter, entries in optimizer.state.items():
        for name, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                # In the parameter's own memory layout, as a run without a stop has it.
                entries[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _optimizer_items(state: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for index, entries in state.items():
        for name, value in entries.items():
            if value is not None:
                yield f"{index}.{name}", value
