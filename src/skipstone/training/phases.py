"""Phases: which parameters are trained, for how many steps, with which schedule."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from skipstone.models.network import Network
from skipstone.training.recipe import Recipe


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
