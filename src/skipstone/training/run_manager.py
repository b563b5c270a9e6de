"""Between the steps of a run: evaluation, model selection, checkpoints, stopping."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

import torch
from torch import Tensor

from skipstone.core import events
from skipstone.core.errors import DamagedError, DataError, Diverged, Interrupted
from skipstone.core.formatting import relative_path
from skipstone.models.network import Network
from skipstone.tasks.base import Task
from skipstone.training.checkpoint import (
    Checkpoint,
    TrainState,
    checkpoint_folder,
    mean_values,
    model_tensors,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from skipstone.training.optimizers import Ema
from skipstone.training.recipe import Recipe
from skipstone.training.run_directory import RunFolder
from skipstone.training.schedules import Phase


class StopNow(BaseException):
    """Raised inside `Stopping.may_raise` when a signal arrives."""


class Stopping:
    """Whether a signal asked to stop.

    Attributes:
        signal_number: of the first signal, or 0.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._raise = False

    @contextlib.contextmanager
    def may_raise(self) -> Iterator[None]:
        """For long work without side effects (evaluation): a signal ends it with StopNow."""
        if self.signal_number:
            raise StopNow
        self._raise = True
        try:
            yield
        finally:
            self._raise = False

    def handle_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number and number == signal.SIGINT:
            os._exit(128 + number)
        self.signal_number = self.signal_number or number
        events.emit_note("Stopping: saving after this step. Press Ctrl-C again to stop at once.")
        if self._raise:
            self._raise = False
            raise StopNow


@contextlib.contextmanager
def watch_signals() -> Iterator[Stopping]:
    """In the block SIGTERM and SIGINT set the flag instead of ending the process.

    Python delivers signals to the main thread; in other threads none is caught.
    """
    stopping = Stopping()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = {
        number: signal.signal(number, stopping.handle_signal)
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


Evaluate = Callable[[Network], dict[str, float]]

#: Without --checkpoint-every, an epoch that takes longer is saved about this often (seconds).
SAVE_SECONDS = 60.0


class ModelSelector:
    """Evaluates networks on the validation rows, and ranks their metrics.

    Args:
        task: has the headline metric, and those that break ties.
        evaluate: metrics of a network on the validation rows.

    Attributes:
        headline: name of the headline metric.
    """

    def __init__(self, task: Task, evaluate: Evaluate) -> None:
        known = {metric.name: metric for metric in task.list_metrics()}
        self.headline = task.headline
        self.higher_is_better = known[task.headline].higher_is_better
        self._order = [known[name] for name in (task.headline, *task.tie_breaks)]
        self._evaluate = evaluate

    def evaluate(self, network: Network) -> dict[str, float]:
        """The finite metrics: JSON cannot hold an undefined one (F1 of a class without samples)."""
        metrics = dict(self._evaluate(network))
        finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        if self.headline not in finite:
            raise DataError(
                f"the validation rows give no {self._order[0].title}: nothing in them is labelled.",
                hint="See what they hold: skipstone audit",
            )
        return finite

    def rank_metrics(self, metrics: dict[str, float]) -> tuple[float, ...]:
        """By the headline metric, then by those that break ties; more is better."""
        values = [(metrics.get(metric.name), metric.higher_is_better) for metric in self._order]
        return tuple(-math.inf if v is None else v if higher else -v for v, higher in values)


class RunManager:
    """Manages one run in its folder. The loop's `TrainingHooks`.

    Args:
        per_epoch: optimizer steps per epoch.
        stopping: whether a signal asked to stop.
        began: time.monotonic() at the start of this session.
    """

    def __init__(
        self,
        network: Network,
        selector: ModelSelector,
        recipe: Recipe,
        run: RunFolder,
        phases: list[Phase],
        *,
        per_epoch: int,
        stopping: Stopping,
        began: float,
    ) -> None:
        self.network = network
        self.selector = selector
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

    def restore_checkpoint(self, checkpoint: Checkpoint | None) -> TrainState:
        """Load weights, average and selected weights of a checkpoint; returns its state."""
        if checkpoint is None:
            return TrainState()
        self._checkpoint, state = checkpoint, checkpoint.state
        total = sum(phase.steps for phase in self.phases)
        if state.step > total or state.phase >= len(self.phases):
            raise DamagedError(
                f"{self.run.checkpoints} is damaged: it is at step {state.step:,} of {total:,}."
            )
        with self._errors_as_damage():
            self.network.load_state_dict(checkpoint.tensors_under("model"))
            if self.ema is not None:
                self.ema.load(checkpoint.tensors_under("ema"), state.ema_count)
        self._chosen_weights = checkpoint.tensors_under("chosen")
        self._number, self._saved_step = checkpoint.number, state.step
        self.run.journal("resumed", step=state.step, epoch=state.epoch)
        events.emit_note(f"Resuming at step {state.step:,} (epoch {state.epoch + 1}).")
        return state

    def report_progress(self, advance: Callable[..., None], state: TrainState) -> None:
        """Report progress to `advance` from here on."""
        self._advance = advance
        if state.step:
            advance(state.step)

    def begin_phase(
        self, phase: Phase, optimizer: torch.optim.Optimizer, state: TrainState
    ) -> None:
        """A phase begins, or is resumed from a checkpoint."""
        self._optimizer = optimizer
        if self._checkpoint is not None and state.phase_step > 0:
            with self._errors_as_damage():
                restore_optimizer(optimizer, self._checkpoint)
        self._checkpoint = None
        if state.phase_step == 0:
            self.run.journal("phase", name=phase.name, steps=phase.steps, step=state.step)

    def finish_phases(self, state: TrainState) -> None:
        """All phases are done, or the last one was stopped."""
        if state.stopped_by:
            return
        state.stopped_by = "epochs"
        if self.recipe.steps == state.step:
            state.stopped_by = "steps"
        elif self.recipe.budget and state.step < self.recipe.epochs * self.steps_per_epoch:
            state.stopped_by = "budget"
        self.save_checkpoint(state)

    def load_chosen_weights(self) -> None:
        self.network.load_state_dict(self._chosen_weights)

    # --- between steps ----------------------------------------------------------------------

    def after_step(self, state: TrainState, loss: float) -> None:
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
            self.save_checkpoint(state)

    def after_epoch(self, state: TrainState) -> None:
        """Evaluate, write the row of history, select weights, save."""
        try:
            metrics = self._metrics()
        except StopNow:
            self._interrupt(state)
        self._count_time(state)
        self._write_row(state, metrics)
        self._select_weights(state, metrics)
        state.epoch, state.batch, state.epoch_open = state.epoch + 1, 0, False
        state.losses, state.norms = {}, {}
        last = state.phase == len(self.phases) - 1
        patience = self.recipe.early_stop
        if last and patience and state.stale >= patience and not state.stopped_by:
            state.stopped_by = "early stop"
            events.emit_note(
                f"Early stop: {self.selector.headline} has not improved for {patience} epochs."
            )
        if self._stopping.signal_number:
            self._interrupt(state)
        self.save_checkpoint(state)

    def save_checkpoint(self, state: TrainState) -> None:
        """Write a checkpoint; Diverged for weights that are not finite."""
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

    def explain_divergence(self, error: Diverged) -> Diverged:
        """The error with the last checkpoint and a hint."""
        self.run.journal("diverged", step=error.step, files=list(error.files), text=error.message)
        return Diverged(
            f"{error.message} {self.describe_checkpoint()}",
            step=error.step,
            files=error.files,
            hint=f"Try a lower rate, such as --lr {self.recipe.lr / 3:.2g}, or --clip 1.",
        )

    def describe_checkpoint(self) -> str:
        """A sentence that names the last good checkpoint."""
        if not self._number:
            return "There is no checkpoint yet."
        folder = relative_path(checkpoint_folder(self.run.checkpoints, self._number))
        return f"The last good checkpoint is {folder}, of step {self._saved_step:,}."

    @contextlib.contextmanager
    def _errors_as_damage(self) -> Iterator[None]:
        """Tensors of other names or shapes than the network's raise nearly anything in torch."""
        try:
            yield
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise DamagedError(
                f"{self.run.checkpoints} does not fit this network: {reason}",
                hint="Remove the run folder to start again.",
            ) from error

    # --- parts ------------------------------------------------------------------------------

    def _metrics(self) -> dict[str, float]:
        average = contextlib.nullcontext() if self.ema is None else self.ema.use_average()
        with average, torch.random.fork_rng(devices=[]), self._stopping.may_raise():
            return self.selector.evaluate(self.network)

    def _write_row(self, state: TrainState, metrics: dict[str, float]) -> None:
        assert self._optimizer is not None
        losses = mean_values(state.losses)
        row = {
            "epoch": state.epoch + 1,
            "step": state.step,
            "phase": self.phases[state.phase].name,
            "lr": max(group["lr"] for group in self._optimizer.param_groups),
            "loss": losses["loss"],
            "losses": losses,
            "metrics": metrics,
            "gradients": mean_values(state.norms) if state.norms else {},
            "seconds": round(state.seconds, 3),
        }
        state.history.append(row)
        self.run.journal("epoch", **row)
        headline = f"{self.selector.headline} {metrics[self.selector.headline]:.4f}"
        events.emit_note(f"epoch {row['epoch']}: {headline}, loss {row['loss']:.4f}")

    def _select_weights(self, state: TrainState, metrics: dict[str, float]) -> None:
        """Select this epoch's weights if they are the best so far, or always with `--checkpoint last`.

        Patience counts the headline metric alone: a broken tie is no improvement.
        """
        before = (
            None
            if state.chosen_epoch is None
            else self.selector.rank_metrics(state.chosen_epoch["metrics"])
        )
        rank, last = self.selector.rank_metrics(metrics), self.recipe.checkpoint == "last"
        state.stale = 0 if last or before is None or rank[0] > before[0] else state.stale + 1
        if last or before is None or rank > before:
            state.chosen_epoch = {"epoch": state.epoch + 1, "step": state.step, "metrics": metrics}
            tensors = self.network.state_dict() if self.ema is None else self.ema.state_dict()
            self._chosen_weights = {name: value.detach().clone() for name, value in tensors.items()}

    def _watch_budget(self, state: TrainState) -> None:
        """Stop a run that exceeds its budget, and journal the step."""
        stop = self.run.find_decision("budget stop")
        assert self.recipe.budget is not None
        if stop is None and state.seconds > self.recipe.budget:
            stop = self.run.decide("budget stop", lambda: {"step": state.step})
        if stop is not None and state.step >= stop["step"]:
            state.stopped_by = "budget"

    def _interrupt(self, state: TrainState) -> NoReturn:
        number = self._stopping.signal_number
        self._count_time(state)
        self.save_checkpoint(state)
        name = signal.Signals(number).name
        self.run.journal("interrupted", signal=name, step=state.step)
        raise Interrupted(
            f"Stopped by {name}; everything up to step {state.step:,} is saved.",
            signal_number=number,
            hint="The same command resumes the run.",
        )

    def _count_time(self, state: TrainState) -> None:
        now = time.monotonic()
        state.seconds += now - self._clock
        self._clock = now


def check_finite(tensors: dict[str, Tensor], state: TrainState) -> None:
    """Diverged for a weight that is not finite, so that no such checkpoint is written."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise Diverged(f"{name} is no longer finite at step {state.step:,}.", step=state.step)
