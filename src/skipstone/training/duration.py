"""How many optimizer steps training has; with a time budget, steps are timed first."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Protocol

from skipstone.core import events
from skipstone.core.formatting import format_duration, format_seconds, pluralize
from skipstone.data.samples import Batch
from skipstone.models.network import Network
from skipstone.training.loop import Batches, group_batches
from skipstone.training.objective import Objective
from skipstone.training.oom import MicroBatch, split_batch
from skipstone.training.precision import Mode
from skipstone.training.recipe import Recipe
from skipstone.training.schedules import Phase, enter_phase, plan_phases, set_modes

#: Share of a budget that is planned for; the rest is a reserve.
PLANNED = 0.95
#: Share of a budget that measuring may take.
MEASURING = 0.05
#: Numbers in a batch (8 images of 224 pixels) that show which way of a step is the fastest.
TIMED_VALUES = 8 * 224 * 224 * 3


class BatchSource(Protocol):
    """The batches of each phase.

    Args:
        loader: those of a phase in which everything learns.
    """

    @property
    def loader(self) -> Batches: ...

    def enter_phase(self, network: Network, phase: Phase) -> Batches:
        """The batches of this phase; the network may be cut for them."""


@dataclass(frozen=True)
class LoaderSource:
    """The same loader in each phase."""

    loader: Batches

    def enter_phase(self, network: Network, phase: Phase) -> Batches:
        return self.loader


def wanted_steps(recipe: Recipe, loader: Batches) -> int:
    """The steps of a recipe that no budget limits."""
    wanted = recipe.epochs * -(-len(loader) // recipe.accumulate)
    return wanted if recipe.steps is None else min(wanted, recipe.steps)


def decide_length(
    recipe: Recipe,
    objective: Objective,
    source: BatchSource,
    evaluate: Callable[[Network], dict[str, float]],
    mode: Mode,
    memory: MicroBatch,
    began: float,
    evaluation_rows: int | None = None,
) -> dict[str, Any]:
    """{"steps"}; with a budget also the measured "seconds_per_step", of the last phase, and
    "seconds_per_evaluation".

    A step is timed for each phase, with what is frozen in it. Never more than the recipe's epochs
    and steps.

    Args:
        began: time.monotonic() when the budget began to run.
        evaluation_rows: rows of an evaluation; where it would take a large part of the budget, its
            time is estimated from that of a step.
    """
    loader = source.loader
    per_epoch = -(-len(loader) // recipe.accumulate)
    wanted = wanted_steps(recipe, loader)
    if recipe.budget is None:
        return {"steps": wanted}
    stages = len(objective.network.backbone.stage_modules())
    phases = plan_phases(recipe, stages=stages, steps_per_epoch=per_epoch, total=wanted)
    limit = recipe.budget * MEASURING
    by_frozen: dict[int, float] = {}
    with events.progress_stage(f"timing steps, for {limit:.0f} s at most"):
        for phase in {phase.frozen: phase for phase in phases}.values():
            share = limit / len({phase.frozen for phase in phases})
            by_frozen[phase.frozen] = memory.run_with_backoff(
                0, partial(measure_step, recipe, objective, source, mode, memory, share, phase)
            )
    seconds = by_frozen[phases[-1].frozen]
    # a step has a backward pass, too, so this is too much rather than too little
    evaluation = seconds * math.ceil((evaluation_rows or 0) / loader.batch_size)
    if evaluation <= limit:
        start = time.perf_counter()
        evaluate(objective.network)
        evaluation = time.perf_counter() - start
    remaining = recipe.budget * PLANNED - (time.monotonic() - began)
    fits = steps_of_phases(remaining, phases, by_frozen, evaluation=evaluation, per_epoch=per_epoch)
    decision = {
        "steps": max(1, min(wanted, fits)),
        "seconds_per_step": round(seconds, 5),
        "seconds_per_evaluation": round(evaluation, 3),
    }
    events.emit_note(
        f"{format_duration(recipe.budget)} are enough for {pluralize(int(decision['steps']), 'step')} "
        f"({decision['steps'] / per_epoch:.1f} epochs) at {format_seconds(seconds)} per step and "
        f"{format_seconds(evaluation)} per evaluation."
    )
    return decision


def steps_of_phases(
    budget: float,
    phases: Sequence[Phase],
    by_frozen: Mapping[int, float],
    *,
    evaluation: float,
    per_epoch: int,
) -> int:
    """Steps of `phases`, in their order, that fit into `budget` seconds; each phase ends with an
    evaluation.

    Args:
        by_frozen: seconds of a step, by the number of frozen stages.
    """
    total = 0
    for phase in phases:
        seconds = by_frozen[phase.frozen]
        fits = steps_within(budget, seconds=seconds, evaluation=evaluation, per_epoch=per_epoch)
        steps = min(fits, phase.steps)
        total += steps
        budget -= steps * seconds + math.ceil(steps / per_epoch) * evaluation
        if steps < phase.steps:
            break
    return total


def steps_within(budget: float, *, seconds: float, evaluation: float, per_epoch: int) -> int:
    """Steps that fit into `budget` seconds with an evaluation after each epoch, also a partial one."""
    epoch = per_epoch * seconds + evaluation
    epochs = max(0, math.floor(budget / epoch))
    rest = max(0.0, budget - epochs * epoch - evaluation)
    return epochs * per_epoch + min(per_epoch, int(rest / seconds))


def measure_step(
    recipe: Recipe,
    objective: Objective,
    source: BatchSource,
    mode: Mode,
    memory: MicroBatch,
    limit: float,
    phase: Phase,
) -> float:
    """Mean seconds of an optimizer step of this phase with its loading, on a copy of the objective;
    without the first step where `limit` seconds suffice for more than one."""
    twin = copy.deepcopy(objective).train()
    enter_phase(twin.network, phase)
    set_modes(twin.network, phase, freeze_norm=recipe.freeze_norm)
    loader = source.enter_phase(twin.network, phase)
    device = next(twin.parameters()).device
    begin = last = time.perf_counter()
    times: list[float] = []
    for group in group_batches(loader.iterate_epoch(0), recipe.accumulate):
        for batch in memory.split_batches(group, 0):
            batch = batch.to(device)
            with mode.forward_pass(device):
                loss = twin(batch.x, batch.y, weight=twin.weight(batch.y))["loss"]
            loss.backward()
            loss.item()  # waits for the device
        now = time.perf_counter()
        times.append(now - last)
        last = now
        if now - begin > limit or len(times) > 30:
            break
    return sum(times[1:]) / len(times[1:]) if len(times) > 1 else times[0]


def first_batches(objective: Objective, loader: Batches, count: int) -> list[Batch]:
    """The first batches of the first epoch, on the objective's device; of a batch for a CPU only so
    many samples as hold `TIMED_VALUES`."""
    device = next(objective.parameters()).device
    batches = [batch.to(device) for batch in islice(loader.iterate_epoch(0), count)]
    if device.type != "cpu":
        return batches
    values = sum(value[0].numel() for value in batches[0].x.values())
    size = max(2, TIMED_VALUES // max(1, values))
    return [split_batch(batch, size, least=2)[0] for batch in batches]
