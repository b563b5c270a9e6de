"""Learning-rate schedules as pure functions of the step: factors on the peak rate.

Each equals the scheduler of torch.optim.lr_scheduler that it names; the tests compare them.
Being pure, they need no state in a checkpoint, and any step's rate can be printed or drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from skipstone.models.network import Network
from skipstone.training.recipe import Recipe

Curve = Callable[[int], float]


def constant(step: int, *, total: int) -> float:
    return 1.0


def cosine(step: int, *, total: int) -> float:
    """Half a cosine from 1 to 0 (CosineAnnealingLR with eta_min 0; Loshchilov 2017)."""
    return 0.5 * (1 + math.cos(math.pi * min(step, total) / max(1, total)))


def steps(step: int, *, total: int, gamma: float = 0.1) -> float:
    """A tenth after half and a hundredth after three quarters (MultiStepLR; He 2015)."""
    return gamma ** ((step >= total // 2) + (step >= total * 3 // 4))


def one_cycle(
    step: int, *, total: int, rise: float = 0.3, start: float = 1 / 25, end: float = 1 / 250_000
) -> float:
    """Up and down in cosines (OneCycleLR with its defaults; Smith 2018)."""
    top = rise * total - 1
    if step <= top:
        return _between(start, 1.0, step / top if top > 0 else 1.0)
    return _between(1.0, end, min(1.0, (step - top) / max(1e-9, total - 1 - top)))


def plateau(
    values: Sequence[float],
    *,
    higher_is_better: bool,
    patience: int = 3,
    factor: float = 0.1,
    threshold: float = 1e-4,
) -> float:
    """The factor after these epochs' metrics (ReduceLROnPlateau, threshold_mode "abs").

    It falls by `factor` whenever more than `patience` epochs in a row bring nothing better.
    """
    best, bad, now = -math.inf, 0, 1.0
    for value in values:
        value = value if higher_is_better else -value
        if value > best + threshold:
            best, bad = value, 0
        else:
            bad += 1
        if bad > patience:
            now, bad = now * factor, 0
    return now


def with_warmup(curve: Curve, step: int, *, warmup: int) -> float:
    """Rise linearly over `warmup` steps, reaching the peak at step `warmup`, then `curve`."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return curve(step - warmup)


def make_curve(name: str, *, total: int, warmup: int) -> Curve:
    """The factor at each of `total` steps. "plateau" is constant here; `plateau` multiplies it."""
    warmup = min(warmup, total - 1)
    if name == "one-cycle":  # it has a rise of its own
        return partial(one_cycle, total=total)
    shapes = {"constant": constant, "plateau": constant, "cosine": cosine, "step": steps}
    return partial(with_warmup, partial(shapes[name], total=total - warmup), warmup=warmup)


def _between(first: float, second: float, share: float) -> float:
    return second + (first - second) / 2 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of training with one set of trained parameters, one optimizer and one schedule.

    Args:
        name: for the journal and the history.
        steps: optimizer steps.
        frozen: backbone stages that are frozen, counted from the stem.
        schedule: name of the learning rate's curve over `steps`.
    """

    name: str
    steps: int
    frozen: int
    schedule: str


def plan_phases(recipe: Recipe, *, stages: int, steps_per_epoch: int, total: int) -> list[Phase]:
    """The phases that make up `total` optimizer steps.

    Args:
        stages: number of the backbone's stages.
    """
    remaining, always = total, int(recipe.freeze * stages)
    phases: list[Phase] = []

    def add_phase(name: str, steps: int, frozen: int, schedule: str) -> None:
        nonlocal remaining
        steps = min(steps, remaining)
        if steps > 0:
            phases.append(Phase(name, steps, frozen, schedule))
            remaining -= steps

    if recipe.freeze_epochs:
        add_phase("head", recipe.freeze_epochs * steps_per_epoch, stages, recipe.schedule)
        if recipe.unfreeze == "gradual":
            for frozen in range(stages - 1, always, -1):
                name = f"from stage {frozen}"
                add_phase(name, steps_per_epoch, frozen, "constant")
    add_phase(f"from stage {always}" if always else "all", remaining, always, recipe.schedule)
    return phases


def enter_phase(network: Network, phase: Phase) -> None:
    """Train exactly this phase's parameters."""
    network.requires_grad_(True)
    for modules in network.backbone.stage_modules()[: phase.frozen]:
        for module in modules:
            module.requires_grad_(False)
    for name in network.fixed:
        network.get_parameter(name).requires_grad_(False)


def set_modes(network: Network, phase: Phase, *, freeze_norm: bool) -> None:
    """Training mode, but evaluation mode for frozen stages: no dropout, fixed norm statistics."""
    network.train()
    stages = network.backbone.stage_modules()
    for index, modules in enumerate(stages):
        for module in modules:
            if index < phase.frozen:
                module.eval()
            elif freeze_norm:
                _freeze_norms(module)


def _freeze_norms(module: nn.Module) -> None:
    for child in module.modules():
        if isinstance(child, _BatchNorm):
            child.eval()
