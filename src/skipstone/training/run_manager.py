"""What happens between the steps of a run: evaluating, keeping weights, saving, stopping."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable
from typing import NoReturn

import torch
from torch import Tensor

from skipstone.core import events
from skipstone.core.errors import DataError, Diverged, Interrupted
from skipstone.core.formatting import relative_path
from skipstone.models.network import Network
from skipstone.tasks.base import Task
from skipstone.training.checkpoint import (
    Checkpoint,
    generation,
    model_tensors,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from skipstone.training.ema import Ema
from skipstone.training.phases import Phase
from skipstone.training.recipe import Recipe
from skipstone.training.run_directory import RunFolder
from skipstone.training.state import State, means
from skipstone.training.stopping import StopNow, Stopping

Evaluate = Callable[[Network], dict[str, float]]

#: Without --checkpoint-every, an epoch that takes longer is saved about this often (seconds).
SAVE_SECONDS = 60.0


class Judge:
    """What a network scores on the validation rows, and which of two scores is better.

    Args:
        task: names the headline metric, and those that break ties.
        evaluate: metrics of a network on the validation rows.

    Attributes:
        headline: that metric's name.
    """

    def __init__(self, task: Task, evaluate: Evaluate) -> None:
        known = {metric.name: metric for metric in task.list_metrics()}
        self.headline = task.headline
        self.higher_is_better = known[task.headline].higher_is_better
        self._order = [known[name] for name in (task.headline, *task.tie_breaks)]
        self._evaluate = evaluate

    def metrics(self, network: Network) -> dict[str, float]:
        """Those that are finite: an undefined one (F1 of a class without samples) has no place in
        JSON."""
        found = dict(self._evaluate(network))
        finite = {name: float(value) for name, value in found.items() if math.isfinite(value)}
        if self.headline not in finite:
            raise DataError(
                f"the validation rows, which decide when to stop, give no {self._order[0].title}: "
                "nothing in them is labelled.",
                hint="See what they hold: skipstone audit",
            )
        return finite

    def rank(self, metrics: dict[str, float]) -> tuple[float, ...]:
        """By the headline, then by what the task names for ties; more is better."""
        values = [(metrics.get(metric.name), metric.higher_is_better) for metric in self._order]
        return tuple(-math.inf if v is None else v if higher else -v for v, higher in values)


class RunKeeper:
    """Keeps one run in its folder. It is the loop's `Keeper`.

    Args:
        per_epoch: steps of the optimizer.
        stopping: tells whether a signal asked for the end.
        began: time.monotonic() when this session's time began to count.
    """

    def __init__(
        self,
        network: Network,
        judge: Judge,
        recipe: Recipe,
        run: RunFolder,
        phases: list[Phase],
        *,
        per_epoch: int,
        stopping: Stopping,
        began: float,
    ) -> None:
        self.network = network
        self.judge = judge
        self.recipe = recipe
        self.run = run
        self.phases = phases
        self.steps_per_epoch = per_epoch
        self.ema: Ema | None = Ema(network, recipe.ema) if recipe.ema else None
        self._stopping = stopping
        self._optimizer: torch.optim.Optimizer | None = None
        self._chosen_weights: dict[str, Tensor] = {}
        self._number = 0
        self._saved_step = 0
        self._checkpoint: Checkpoint | None = None
        self._clock, self._saved_at = began, time.monotonic()
        self._advance: Callable[..., None] = lambda *_: None

    # --- beginning and end ------------------------------------------------------------------

    def restore(self, checkpoint: Checkpoint | None) -> State:
        """The state to go on from, with weights, average and kept weights in place."""
        if checkpoint is None:
            return State()
        self._checkpoint, state = checkpoint, checkpoint.state
        self.network.load_state_dict(checkpoint.part("model"))
        if self.ema is not None:
            self.ema.load(checkpoint.part("ema"), state.ema_count)
        self._chosen_weights = checkpoint.part("chosen")
        self._number, self._saved_step = checkpoint.number, state.step
        self.run.journal("resumed", step=state.step, epoch=state.epoch)
        events.emit_note(f"Going on at step {state.step:,} (epoch {state.epoch + 1}).")
        return state

    def show(self, advance: Callable[..., None], state: State) -> None:
        """Report progress to `advance` from here on."""
        self._advance = advance
        if state.step:
            advance(state.step)

    def begin(self, phase: Phase, optimizer: torch.optim.Optimizer, state: State) -> None:
        """A phase begins, or goes on from a checkpoint in the middle of it."""
        self._optimizer = optimizer
        if self._checkpoint is not None and state.phase_step > 0:
            restore_optimizer(optimizer, self._checkpoint)
        self._checkpoint = None
        if state.phase_step == 0:
            self.run.journal("phase", name=phase.name, steps=phase.steps, step=state.step)

    def complete(self, state: State) -> None:
        """No phase is left, or something stopped the last one."""
        if state.stopped_by:
            return
        state.stopped_by = "epochs"
        if self.recipe.steps == state.step:
            state.stopped_by = "steps"
        elif self.recipe.budget and state.step < self.recipe.epochs * self.steps_per_epoch:
            state.stopped_by = "budget"
        self.save(state)

    def load_chosen_weights(self) -> None:
        self.network.load_state_dict(self._chosen_weights)

    # --- between steps ----------------------------------------------------------------------

    def after_step(self, state: State, loss: float) -> None:
        self._advance(1, f"epoch {state.epoch + 1}  loss {loss:.4f}")
        self._count_time(state)
        if self.recipe.budget is not None:
            self._watch_budget(state)
        if self._stopping.signal_number:
            self._interrupt(state)
        every = self.recipe.checkpoint_every
        if every is not None:
            due = state.step - self._saved_step >= every
        else:
            due = time.monotonic() - self._saved_at > SAVE_SECONDS
        if due:
            self.save(state)

    def after_epoch(self, state: State) -> None:
        """Evaluate, write the row, keep the weights if they are wanted, save."""
        try:
            metrics = self._metrics()
        except StopNow:
            self._interrupt(state)
        self._count_time(state)
        self._write_row(state, metrics)
        self._keep(state, metrics)
        state.epoch, state.batch, state.epoch_open = state.epoch + 1, 0, False
        state.losses, state.norms = {}, {}
        last = state.phase == len(self.phases) - 1
        patience = self.recipe.early_stop
        if last and patience and state.stale >= patience and not state.stopped_by:
            state.stopped_by = "early stop"
            events.emit_note(f"Stopped: no better {self.judge.headline} for {patience} epochs.")
        if self._stopping.signal_number:
            self._interrupt(state)
        self.save(state)

    def save(self, state: State) -> None:
        """Write a checkpoint; one that is not finite is never written."""
        tensors = model_tensors(self.network, self.ema)
        check_finite(tensors, state)
        tensors |= {f"chosen.{name}": value for name, value in self._chosen_weights.items()}
        assert self._optimizer is not None
        moments, scalars = optimizer_tensors(self._optimizer)
        state.ema_count = 0 if self.ema is None else self.ema.count
        self._number += 1
        save_checkpoint(
            self.run.checkpoints, Checkpoint(self._number, state, tensors | moments, scalars)
        )
        self._saved_at, self._saved_step = time.monotonic(), state.step

    def explain(self, error: Diverged) -> Diverged:
        """The error with what is left and what to do."""
        self.run.journal("diverged", step=error.step, files=list(error.files), text=error.message)
        return Diverged(
            f"{error.message} {self.saved()}",
            step=error.step,
            files=error.files,
            hint=f"Try a lower rate, such as --lr {self.recipe.lr / 3:.2g}, or --clip 1.",
        )

    def saved(self) -> str:
        """A sentence that names the last good checkpoint."""
        if not self._number:
            return "There is no checkpoint yet."
        folder = relative_path(generation(self.run.checkpoints, self._number))
        return f"The last good checkpoint is {folder}, of step {self._saved_step:,}."

    # --- parts ------------------------------------------------------------------------------

    def _metrics(self) -> dict[str, float]:
        average = contextlib.nullcontext() if self.ema is None else self.ema.applied()
        with average, torch.random.fork_rng(devices=[]), self._stopping.may_raise():
            return self.judge.metrics(self.network)

    def _write_row(self, state: State, metrics: dict[str, float]) -> None:
        assert self._optimizer is not None
        losses = means(state.losses)
        row = {
            "epoch": state.epoch + 1,
            "step": state.step,
            "phase": self.phases[state.phase].name,
            "lr": max(group["lr"] for group in self._optimizer.param_groups),
            "loss": losses["loss"],
            "losses": losses,
            "metrics": metrics,
            "gradients": means(state.norms) if state.norms else {},
            "seconds": round(state.seconds, 3),
        }
        state.history.append(row)
        self.run.journal("epoch", **row)
        shown = f"{self.judge.headline} {metrics[self.judge.headline]:.4f}"
        events.emit_note(f"epoch {row['epoch']}: {shown}, loss {row['loss']:.4f}")

    def _keep(self, state: State, metrics: dict[str, float]) -> None:
        """Keep this epoch's weights if they are the best so far, or simply the last.

        Patience is for the headline alone: a tie that another figure breaks is no progress.
        """
        before = (
            None if state.chosen_epoch is None else self.judge.rank(state.chosen_epoch["metrics"])
        )
        rank, last = self.judge.rank(metrics), self.recipe.checkpoint == "last"
        state.stale = 0 if last or before is None or rank[0] > before[0] else state.stale + 1
        if last or before is None or rank > before:
            state.chosen_epoch = {"epoch": state.epoch + 1, "step": state.step, "metrics": metrics}
            tensors = self.network.state_dict() if self.ema is None else self.ema.tensors()
            self._chosen_weights = {name: value.detach().clone() for name, value in tensors.items()}

    def _watch_budget(self, state: State) -> None:
        """The plan should end in time; where it did not, stop, and journal where."""
        stop = self.run.decided("budget stop")
        assert self.recipe.budget is not None
        if stop is None and state.seconds > self.recipe.budget:
            stop = self.run.decide("budget stop", lambda: {"step": state.step})
        if stop is not None and state.step >= stop["step"]:
            state.stopped_by = "budget"

    def _interrupt(self, state: State) -> NoReturn:
        number = self._stopping.signal_number
        self._count_time(state)
        self.save(state)
        name = signal.Signals(number).name
        self.run.journal("interrupted", signal=name, step=state.step)
        raise Interrupted(
            f"Stopped by {name}; everything up to step {state.step:,} is saved.",
            signal_number=number,
            hint="The same command goes on from there.",
        )

    def _count_time(self, state: State) -> None:
        now = time.monotonic()
        state.seconds += now - self._clock
        self._clock = now


def check_finite(tensors: dict[str, Tensor], state: State) -> None:
    """Raise Diverged where a weight is no number, so that no such checkpoint exists."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise Diverged(f"{name} is no longer finite at step {state.step:,}.", step=state.step)
