"""Training from start to end: phases, evaluation each epoch, kept weights, checkpoints, resume."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from skipstone.core import events
from skipstone.core.errors import Diverged, OutOfMemory, UsageError
from skipstone.inference.backends.threads import torch_threads
from skipstone.models.network import Network
from skipstone.tasks.base import Task
from skipstone.training.checkpoint import load_checkpoint
from skipstone.training.duration import decide_length, first_batches
from skipstone.training.loop import Batches, Rules, fit_phase
from skipstone.training.objective import Objective, criterion_for
from skipstone.training.oom import MicroBatch
from skipstone.training.optimizers import make_optimizer
from skipstone.training.options import TrainOptions
from skipstone.training.phases import Phase, enter_phase, plan_phases, set_modes
from skipstone.training.precision import Mode, choose_device, decide_mode
from skipstone.training.recipe import Facts, Recipe, resolve
from skipstone.training.run_directory import RunFolder
from skipstone.training.run_manager import Evaluate, Judge, RunKeeper
from skipstone.training.schedules import Curve, make_curve, plateau
from skipstone.training.state import State
from skipstone.training.stopping import watch_signals

#: Gradient norms are measured this often in an epoch.
MEASURES_PER_EPOCH = 8


@dataclass(frozen=True)
class FitResult:
    """How a training went.

    Args:
        history: a row an epoch: epoch, step, phase, lr, loss, losses, metrics, seconds, and
            gradients (mean norm by stage).
        chosen_epoch: {"epoch", "step", "metrics"} of the weights that the network now holds; of a closed
            form, {"metrics"}.
        steps: optimizer steps done.
        stopped_by: "epochs", "steps", "budget", "early stop", or "solved" for a closed form.
        together: samples that went through the network at once, at the end.
        how: of a closed form, in words.
    """

    history: list[dict[str, Any]]
    chosen_epoch: dict[str, Any]
    steps: int
    stopped_by: str
    together: int
    how: str = ""


def fit(
    network: Network,
    *,
    task: Task,
    loader: Batches,
    evaluate: Evaluate,
    options: TrainOptions | Recipe,
    run: RunFolder,
    objective: Callable[[Network, Recipe], Objective] | None = None,
) -> FitResult:
    """Train `network`; on return it is on the CPU and holds the weights that did best on the
    validation rows, or the last ones, as the options say (`checkpoint`).

    A run folder with a checkpoint is resumed. Options that are not a recipe yet are resolved for
    training from scratch.

    Args:
        task: its headline metric says which weights are best.
        evaluate: metrics by name of a network on the validation rows; called each epoch.
        objective: what is minimised; default: the head's or task's criterion and the L1 penalty.
    Raises:
        Interrupted: SIGTERM or Ctrl-C; the same call resumes bit-identically.
        Diverged: the loss became NaN or infinite. OutOfMemory: not even a few samples fit.
        UsageError: batch norm is given one sample of one pixel.
    """
    began = time.monotonic()
    recipe = options if isinstance(options, Recipe) else _resolved(options, loader)
    with torch_threads(recipe.threads), _of_one_value(), watch_signals() as stopping:
        network.to(choose_device(recipe.device))
        _note_surroundings(run, network)
        aim = (objective or _default_objective(task))(network, recipe)
        memory = MicroBatch(network, loader.batch_size, run)
        mode = _decided_mode(run, recipe, aim, loader, memory)
        network.to(memory_format=mode.layout())
        length = run.decide(
            "length",
            lambda: decide_length(recipe, aim, loader, evaluate, mode, memory, began),
        )
        per_epoch = -(-len(loader) // recipe.accumulate)
        phases = _planned(recipe, network, per_epoch, length["steps"])
        judge = Judge(task, evaluate)
        keeper = RunKeeper(
            network, judge, recipe, run, phases, per_epoch=per_epoch, stopping=stopping, began=began
        )
        state = keeper.restore(load_checkpoint(run.checkpoints))
        with events.progress_stage(
            "training", total=sum(p.steps for p in phases), unit="steps"
        ) as advance:
            keeper.show(advance, state)
            try:
                _run_phases(aim, loader, keeper, state, mode, memory)
            except Diverged as error:
                raise keeper.explain(error) from None
            except OutOfMemory as error:
                raise OutOfMemory(f"{error.message} {keeper.saved()}", hint=error.hint) from None
        keeper.load_chosen_weights()
        network.auxiliary.clear()
        network.to("cpu").to(memory_format=torch.contiguous_format)
        network.requires_grad_(True).eval()
        assert state.chosen_epoch is not None, "no epoch was evaluated"
        size = memory.size(state.step)
        return FitResult(state.history, state.chosen_epoch, state.step, state.stopped_by, size)


@contextlib.contextmanager
def _of_one_value() -> Iterator[None]:
    """What torch says of a batch norm that has one value a channel, as a sentence."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            "batches of one sample teach batch norm nothing where a feature map is one pixel.",
            hint="Take --batch-size 2 or more, a larger --size, or --freeze-norm.",
        ) from error


def _run_phases(
    objective: Objective,
    loader: Batches,
    keeper: RunKeeper,
    state: State,
    mode: Mode,
    memory: MicroBatch,
) -> None:
    network, recipe, phases = keeper.network, keeper.recipe, keeper.phases
    for index in range(state.phase, len(phases)):
        if state.stopped_by and not state.epoch_open:
            return
        phase = phases[index]
        if index != state.phase:
            state.phase, state.phase_step, state.stale = index, 0, 0
        enter_phase(network, phase)
        set_modes(network, phase, freeze_norm=recipe.freeze_norm)
        optimizer = make_optimizer(network, recipe)
        keeper.begin(phase, optimizer, state)
        rules = Rules(
            steps=phase.steps,
            lr=recipe.lr,
            curve=_curve(recipe, phase, keeper, state),
            ema=keeper.ema,
            clip=recipe.clip,
            accumulate=recipe.accumulate,
            mode=mode,
            device=next(network.parameters()).device,
            memory=memory,
            seed=recipe.seed,
            measure=max(1, keeper.steps_per_epoch // MEASURES_PER_EPOCH),
        )
        fit_phase(objective, loader, optimizer, state, rules, keeper)
    keeper.complete(state)


def _curve(recipe: Recipe, phase: Phase, keeper: RunKeeper, state: State) -> Curve:
    curve = make_curve(phase.schedule, total=phase.steps, warmup=int(recipe.warmup * phase.steps))
    if phase.schedule != "plateau":
        return curve

    def lowered(step: int) -> float:
        values = [row["metrics"][keeper.judge.headline] for row in state.history]
        return curve(step) * plateau(values, higher_is_better=keeper.judge.higher_is_better)

    return lowered


def _default_objective(task: Task) -> Callable[[Network, Recipe], Objective]:
    return lambda network, recipe: Objective(network, criterion_for(network, task), l1=recipe.l1)


def _resolved(options: TrainOptions, loader: Batches) -> Recipe:
    return resolve(options, Facts(samples=len(loader) * loader.batch_size))


def _decided_mode(
    run: RunFolder, recipe: Recipe, objective: Objective, loader: Batches, memory: MicroBatch
) -> Mode:
    def decide() -> dict[str, Any]:
        return decide_mode(
            recipe, objective, lambda: memory.parts(first_batches(objective, loader, 3), 0)
        )

    decision = run.decide("precision", lambda: memory.attempt(0, decide))
    mode = Mode(**{field.name: decision[field.name] for field in dataclasses.fields(Mode)})
    if decision["seconds"]:
        timed = ", ".join(
            f"{name} {1000 * seconds:.3g} ms" for name, seconds in decision["seconds"].items()
        )
        events.emit_note(f"Training in {mode} (a batch takes: {timed}).")
    return mode


def _planned(recipe: Recipe, network: Network, per_epoch: int, total: int) -> list[Phase]:
    stages = len(network.backbone.stage_modules())
    return plan_phases(recipe, stages=stages, steps_per_epoch=per_epoch, total=total)


def _note_surroundings(run: RunFolder, network: Network) -> None:
    """Journal what bit-identity depends on, and say when it changed since the run began."""
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
