"""The one training loop, for every network that is trained by gradient."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from skipstone.core.errors import Diverged
from skipstone.data.samples import Batch
from skipstone.training.checkpoint import TrainState, add_values
from skipstone.training.objective import Objective
from skipstone.training.oom import MicroBatch
from skipstone.training.optimizers import Ema, clip_gradients, gradient_norms, set_rates
from skipstone.training.precision import Mode
from skipstone.training.schedules import Curve


class Batches(Protocol):
    """What the loop needs of a loader (datasets.loader.Loader)."""

    batch_size: int

    def __len__(self) -> int: ...

    def iterate_epoch(self, number: int, start: int = 0) -> Iterator[Batch]: ...


class TrainingHooks(Protocol):
    """Called between steps: saving, evaluating, stopping."""

    def after_step(self, state: TrainState, loss: float) -> None:
        """May save, raise Interrupted, or set state.stopped_by."""

    def after_epoch(self, state: TrainState) -> None:
        """Writes the epoch's row and moves `state` to the next one."""


@dataclass(frozen=True, slots=True)
class StepConfig:
    """How an optimizer step is made.

    Args:
        steps: optimizer steps of this phase.
        lr: the peak rate; `curve` gives the factor at each step of the phase.
        clip: greatest gradient norm over all parameters; 0 does not clip.
        accumulate: batches a step.
        memory: how many samples go through the network at once.
        measure: gradient norms are recorded every so many steps.
    """

    steps: int
    lr: float
    curve: Curve
    ema: Ema | None
    clip: float
    accumulate: int
    mode: Mode
    device: torch.device
    memory: MicroBatch
    seed: int
    norms_every: int


def fit_phase(
    objective: Objective,
    loader: Batches,
    optimizer: torch.optim.Optimizer,
    state: TrainState,
    config: StepConfig,
    hooks: TrainingHooks,
) -> TrainState:
    """Train until the phase's steps are done or something stops it.

    `state` holds the epoch and the batch where the loader resumes, so that a resumed run sees the
    same batches. An open epoch is always closed: a run that stopped in its evaluation may have no
    step left, but needs the row of history, which has the last rate.
    """
    if state.phase_step:
        set_rates(optimizer, config.lr * config.curve(state.phase_step - 1))
    while state.epoch_open or (state.phase_step < config.steps and not state.stopped_by):
        state.epoch_open = True
        remaining = 0 if state.stopped_by else config.steps - state.phase_step
        batches = loader.iterate_epoch(state.epoch, start=state.batch)
        for group in islice(group_batches(batches, config.accumulate), remaining):
            set_rates(optimizer, config.lr * config.curve(state.phase_step))
            loss = train_step(objective, optimizer, group, state, config)
            state.step, state.phase_step = state.step + 1, state.phase_step + 1
            state.batch += len(group)
            hooks.after_step(state, loss)
            if state.stopped_by:
                break
        hooks.after_epoch(state)
    return state


def train_step(
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Batch],
    state: TrainState,
    config: StepConfig,
) -> float:
    """One optimizer step on the gradient of the mean loss over `batches`. Returns the loss.

    Losses are divided by the weight of all batches together, so accumulation equals one large
    batch (except for the batch statistics of batch norm).
    """
    losses = config.memory.run_with_backoff(
        state.step, lambda: accumulate_gradients(objective, batches, state.step, config)
    )
    values = dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))
    if not np.isfinite(values["loss"]):
        raise divergence_error("the loss", values["loss"], batches, state)
    if state.phase_step % config.norms_every == 0:
        add_values(state.norms, gradient_norms(objective.network))
    norm = clip_gradients(optimizer, config.clip)
    if not np.isfinite(norm):  # the loss of the next batch would be the first to show it
        raise divergence_error("the gradient's norm", norm, batches, state)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if config.ema is not None:
        config.ema.update()
    add_values(state.losses, values)
    return float(values["loss"])


def accumulate_gradients(
    objective: Objective, batches: Sequence[Batch], step: int, config: StepConfig
) -> dict[str, Tensor]:
    """Add the gradient of the mean loss over `batches`; returns the losses, detached."""
    seed_step(config.seed, step, config.device)
    parts = [part.to(config.device) for part in config.memory.split_batches(batches, step)]
    weight = torch.stack([objective.weight(part.y) for part in parts]).sum()
    losses: dict[str, Tensor] = {}
    for part in parts:
        with config.mode.forward_pass(config.device):
            part_losses = objective(part.x, part.y, weight=weight, share=1 / len(parts))
        part_losses["loss"].backward()
        for name, value in part_losses.items():
            losses[name] = losses.get(name, 0) + value.detach()
    return losses


def group_batches(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    """Lists of `size` batches; the last may be shorter."""
    while group := list(islice(batches, size)):
        yield group


def seed_step(seed: int, step: int, device: torch.device) -> None:
    """Key every random stream of the process to (seed, step): dropout, stochastic depth."""
    digest = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=8).digest()
    key = int.from_bytes(digest, "little") >> 1
    # Not torch.manual_seed: it formats a stack trace for each kind of device that is not there.
    torch.default_generator.manual_seed(key)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(key)
    elif device.type == "mps":
        torch.mps.manual_seed(key)
    np.random.seed(key & 0xFFFFFFFF)
    random.seed(key)


def divergence_error(
    what: str, value: float, batches: Sequence[Batch], state: TrainState
) -> Diverged:
    names: list[Any] = [meta.name or meta.id for batch in batches for meta in batch.meta]
    shown = ", ".join(str(name) for name in names[:8])
    more = f" and {len(names) - 8} more (all in the journal)" if len(names) > 8 else ""
    return Diverged(
        f"{what} became {value} at step {state.step + 1} (epoch {state.epoch + 1}); "
        f"its batch: {shown}{more}.",
        step=state.step + 1,
        files=tuple(str(name) for name in names),
    )
