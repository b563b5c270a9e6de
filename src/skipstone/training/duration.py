"""How many optimizer steps training has; with a time budget, steps are timed first."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

from skipstone.core import events
from skipstone.core.formatting import format_duration, format_seconds, pluralize
from skipstone.data.samples import Batch
from skipstone.models.network import Network
from skipstone.training.loop import Batches, group_batches
from skipstone.training.objective import Objective
from skipstone.training.oom import MicroBatch
from skipstone.training.precision import Mode
from skipstone.training.recipe import Recipe

#: Share of a budget that is planned for; the rest is a reserve.
PLANNED = 0.92
#: Share of a budget that measuring may take.
MEASURING = 0.05


def decide_length(
    recipe: Recipe,
    objective: Objective,
    loader: Batches,
    evaluate: Callable[[Network], dict[str, float]],
    mode: Mode,
    memory: MicroBatch,
    began: float,
    evaluation_rows: int | None = None,
) -> dict[str, Any]:
    """{"steps"}; with a budget also the measured "seconds_per_step" and "seconds_per_evaluation".

    Never more than the recipe's epochs and steps.

    Args:
        began: time.monotonic() when the budget began to run.
        evaluation_rows: rows of an evaluation; where it would take a large part of the budget, its
            time is estimated from that of a step.
    """
    per_epoch = -(-len(loader) // recipe.accumulate)
    wanted = recipe.epochs * per_epoch
    if recipe.steps is not None:
        wanted = min(wanted, recipe.steps)
    if recipe.budget is None:
        return {"steps": wanted}
    limit = recipe.budget * MEASURING
    with events.progress_stage(f"timing steps, for {limit:.0f} s at most"):
        seconds = memory.run_with_backoff(
            0, lambda: measure_step(recipe, objective, loader, mode, memory, limit)
        )
    # a step has a backward pass, too, so this is too much rather than too little
    evaluation = seconds * math.ceil((evaluation_rows or 0) / loader.batch_size)
    if evaluation <= limit:
        start = time.perf_counter()
        evaluate(objective.network)
        evaluation = time.perf_counter() - start
    remaining = recipe.budget * PLANNED - (time.monotonic() - began)
    fits = steps_within(remaining, seconds=seconds, evaluation=evaluation, per_epoch=per_epoch)
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


def steps_within(budget: float, *, seconds: float, evaluation: float, per_epoch: int) -> int:
    """Steps that fit into `budget` seconds with an evaluation after each epoch, also a partial one."""
    epoch = per_epoch * seconds + evaluation
    epochs = max(0, math.floor(budget / epoch))
    rest = max(0.0, budget - epochs * epoch - evaluation)
    return epochs * per_epoch + min(per_epoch, int(rest / seconds))


def measure_step(
    recipe: Recipe,
    objective: Objective,
    loader: Batches,
    mode: Mode,
    memory: MicroBatch,
    limit: float,
) -> float:
    """Mean seconds of an optimizer step with its loading, on a copy of the objective; without the
    first step where `limit` seconds suffice for more than one."""
    twin = copy.deepcopy(objective).train()
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
    """The first batches of the first epoch, on the objective's device."""
    device = next(objective.parameters()).device
    return [batch.to(device) for batch in islice(loader.iterate_epoch(0), count)]
