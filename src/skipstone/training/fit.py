"""Training from start to end: phases, evaluation each epoch, model selection, resume."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from skipstone.core import events
from skipstone.core.errors import DamagedError, Diverged, Interrupted, OutOfMemory, UsageError
from skipstone.core.formatting import format_seconds
from skipstone.inference.backends.torch_backend import torch_threads
from skipstone.models.network import Network
from skipstone.tasks.base import Task
from skipstone.training.checkpoint import TrainState, load_checkpoint
from skipstone.training.duration import (
    MEASURING,
    BatchSource,
    LoaderSource,
    decide_length,
    first_batches,
    wanted_steps,
)
from skipstone.training.feature_cache import FeatureCache
from skipstone.training.loop import Batches, StepConfig, fit_phase
from skipstone.training.objective import Objective, make_objective
from skipstone.training.oom import MicroBatch
from skipstone.training.optimizers import make_optimizer
from skipstone.training.options import TrainOptions
from skipstone.training.precision import MAX_TIMING, Mode, choose_device, decide_mode
from skipstone.training.recipe import Recipe, RecipeFacts, resolve_recipe
from skipstone.training.run_directory import JOURNAL, RunFolder
from skipstone.training.run_manager import (
    Evaluate,
    ModelSelector,
    RunManager,
    StopNow,
    Stopping,
    watch_signals,
)
from skipstone.training.schedules import (
    Curve,
    Phase,
    enter_phase,
    make_curve,
    plan_phases,
    plateau,
    set_modes,
)

#: Gradient norms are measured this often in an epoch.
MEASURES_PER_EPOCH = 8


@dataclass(frozen=True)
class FitResult:
    """How training went.

    Args:
        history: a row per epoch: epoch, step, phase, lr, loss, losses, metrics, seconds, and
            gradients (mean norm by stage).
        chosen_epoch: {"epoch", "step", "metrics"} of the weights that the network now has; of a
            closed form, {"metrics"}.
        steps: optimizer steps done.
        stopped_by: "epochs", "steps", "budget", "early stop", or "solved" for a closed form.
        micro_batch: samples per forward pass at the end.
        how: description of a closed form.
    """

    history: list[dict[str, Any]]
    chosen_epoch: dict[str, Any]
    steps: int
    stopped_by: str
    micro_batch: int
    how: str = ""


def fit(
    network: Network,
    *,
    task: Task,
    loader: Batches | FeatureCache,
    evaluate: Evaluate,
    options: TrainOptions | Recipe,
    run: RunFolder,
    objective: Callable[[Network, Recipe], Objective] | None = None,
    evaluation_rows: int | None = None,
) -> FitResult:
    """Train `network`; on return it is on the CPU with the weights of the best epoch (or the last).

    A run folder with a checkpoint is resumed. Options that are not a recipe yet are resolved for
    training from scratch.

    Args:
        loader: a `FeatureCache` computes frozen stages once instead of in each step.
        task: its headline metric says which weights are best.
        evaluate: metrics by name of a network on the validation rows; called each epoch.
        objective: what is minimised; default: the head's or task's criterion and the L1 penalty.
        evaluation_rows: of `evaluate`, if known.
    Raises:
        Interrupted: SIGTERM or Ctrl-C; the same call resumes bit-identically.
        Diverged: the loss became NaN or infinite. OutOfMemory: not even a few samples fit.
        UsageError: batch norm is given one sample of one pixel.
    """
    began = time.monotonic()
    source = loader if isinstance(loader, FeatureCache) else LoaderSource(loader)
    loader = source.loader
    recipe = options if isinstance(options, Recipe) else _resolve_options(options, loader)
    with torch_threads(recipe.threads), _explain_batch_norm(), watch_signals() as stopping:
        network.to(choose_device(recipe.device))
        _journal_session(run, network)
        loss = (objective or _default_objective(task))(network, recipe)
        memory = MicroBatch(network, loader.batch_size, run)
        per_epoch = -(-len(loader) // recipe.accumulate)
        phases = _plan_phases(recipe, network, per_epoch, wanted_steps(recipe, loader))
        if isinstance(source, FeatureCache):
            _compute_views(source, network, phases, recipe, stopping)
        mode = _decide_mode(run, recipe, loss, phases[-1], source, memory)
        network.to(memory_format=mode.layout())
        basis = (recipe, loss, source, evaluate, mode, memory, began, evaluation_rows)
        length = run.decide("length", lambda: decide_length(*basis))
        _check_length(run, length["steps"], recipe.epochs * per_epoch)
        phases = _plan_phases(recipe, network, per_epoch, length["steps"])
        manager = RunManager(
            *(network, ModelSelector(task, evaluate), recipe, run, phases),
            per_epoch=per_epoch,
            stopping=stopping,
            began=began,
        )
        state = manager.restore_checkpoint(load_checkpoint(run.checkpoints))
        with _report_run(manager, state):
            _run_phases(loss, source, manager, state, mode, memory)
        manager.load_chosen_weights()
        _leave_training(network)
        assert state.chosen_epoch is not None, "no epoch was evaluated"
        best, size = state.chosen_epoch, memory.size_at(state.step)
        return FitResult(state.history, best, state.step, state.stopped_by, size)


def _leave_training(network: Network) -> None:
    """Remove what only training needs; the network is then on the CPU, in evaluation mode."""
    network.auxiliary.clear()
    network.prefix = None
    network.to("cpu").to(memory_format=torch.contiguous_format).requires_grad_(True).eval()


def _check_length(run: RunFolder, steps: int, most: int) -> None:
    if not 1 <= steps <= most:
        raise DamagedError(
            f"{run.path / JOURNAL} is damaged: it plans {steps:,} steps, and all epochs have {most:,}."
        )


@contextlib.contextmanager
def _report_run(manager: RunManager, state: TrainState) -> Iterator[None]:
    """Progress of the steps; errors name the last checkpoint."""
    total = sum(phase.steps for phase in manager.phases)
    with events.progress_stage("training", total=total, unit="steps") as advance:
        manager.report_progress(advance, state)
        try:
            yield
        except Diverged as error:
            raise manager.explain_divergence(error) from None
        except OutOfMemory as error:
            message = f"{error.message} {manager.describe_checkpoint()}"
            raise OutOfMemory(message, hint=error.hint) from None


@contextlib.contextmanager
def _explain_batch_norm() -> Iterator[None]:
    """A UsageError for torch's error of a batch norm with one value per channel."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            "batch norm needs more than one value per channel: a batch of one sample with a feature "
            "map of one pixel has one.",
            hint="Take --batch-size 2 or more, a larger --size, or --freeze-norm.",
        ) from error


def _run_phases(
    objective: Objective,
    source: BatchSource,
    manager: RunManager,
    state: TrainState,
    mode: Mode,
    memory: MicroBatch,
) -> None:
    network, recipe, phases = manager.network, manager.recipe, manager.phases
    for index in range(state.phase, len(phases)):
        if state.stopped_by and not state.epoch_open:
            return
        phase = phases[index]
        if index != state.phase:
            state.phase, state.phase_step, state.stale = index, 0, 0
        enter_phase(network, phase)
        set_modes(network, phase, freeze_norm=recipe.freeze_norm)
        loader = source.enter_phase(network, phase)
        optimizer = make_optimizer(network, recipe)
        manager.begin_phase(phase, optimizer, state)
        config = StepConfig(
            steps=phase.steps,
            lr=recipe.lr,
            curve=_curve(recipe, phase, manager, state),
            ema=manager.ema,
            clip=recipe.clip,
            accumulate=recipe.accumulate,
            mode=mode,
            device=next(network.parameters()).device,
            memory=memory,
            seed=recipe.seed,
            norms_every=max(1, manager.steps_per_epoch // MEASURES_PER_EPOCH),
        )
        fit_phase(objective, loader, optimizer, state, config, manager)
    manager.finish_phases(state)


def _curve(recipe: Recipe, phase: Phase, manager: RunManager, state: TrainState) -> Curve:
    curve = make_curve(phase.schedule, total=phase.steps, warmup=int(recipe.warmup * phase.steps))
    if phase.schedule != "plateau":
        return curve

    def lower_on_plateau(step: int) -> float:
        values = [row["metrics"][manager.selector.headline] for row in state.history]
        return curve(step) * plateau(values, higher_is_better=manager.selector.higher_is_better)

    return lower_on_plateau


def _default_objective(task: Task) -> Callable[[Network, Recipe], Objective]:
    return lambda network, recipe: make_objective(network, task, recipe)


def _resolve_options(options: TrainOptions, loader: Batches) -> Recipe:
    return resolve_recipe(options, RecipeFacts(samples=len(loader) * loader.batch_size))


def _compute_views(
    features: FeatureCache,
    network: Network,
    phases: list[Phase],
    recipe: Recipe,
    stopping: Stopping,
) -> None:
    """Interrupted by a signal; a resumed run has the views that are complete."""
    try:
        with stopping.may_raise():
            features.compute_views(network, phases, recipe.budget)
    except StopNow:
        name = signal.Signals(stopping.signal_number).name
        raise Interrupted(
            f"Stopped by {name} before the first step.",
            signal_number=stopping.signal_number,
            hint="The same command resumes the run.",
        ) from None


def _decide_mode(
    run: RunFolder,
    recipe: Recipe,
    objective: Objective,
    phase: Phase,
    source: BatchSource,
    memory: MicroBatch,
) -> Mode:
    """Steps of `phase`, the longest one, are timed."""
    network = objective.network
    loader = source.enter_phase(network, phase)
    enter_phase(network, phase)
    limit = MAX_TIMING if recipe.budget is None else min(MAX_TIMING, recipe.budget * MEASURING)

    def decide() -> dict[str, Any]:
        return decide_mode(
            recipe,
            objective,
            lambda: memory.split_batches(first_batches(objective, loader, 3), 0),
            limit,
        )

    decision = run.decide("precision", lambda: memory.run_with_backoff(0, decide))
    mode = Mode(**{field.name: decision[field.name] for field in dataclasses.fields(Mode)})
    if decision["seconds"]:
        timed = ", ".join(
            f"{name} {format_seconds(seconds)}" for name, seconds in decision["seconds"].items()
        )
        events.emit_note(f"Training in {mode} (a timed step takes: {timed}).")
    return mode


def _plan_phases(recipe: Recipe, network: Network, per_epoch: int, total: int) -> list[Phase]:
    stages = len(network.backbone.stage_modules())
    return plan_phases(recipe, stages=stages, steps_per_epoch=per_epoch, total=total)


def _journal_session(run: RunFolder, network: Network) -> None:
    """Journal what bit-identity depends on; warn if it changed since the run began."""
    now = {
        "threads": torch.get_num_threads(),
        "device": str(next(network.parameters()).device),
        "torch": torch.__version__,
    }
    before = run.entries("session")
    run.journal("session", **now)
    if before:
        changed = [f"{k} {before[0][k]} -> {v}" for k, v in now.items() if before[0][k] != v]
        if changed:
            events.emit_warning(
                "Results may differ from an uninterrupted run in the last bits, because these "
                f"changed: {', '.join(changed)}."
            )
