"""Schedules equal those of torch.optim.lr_scheduler."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.optim import lr_scheduler

from skipstone.training.schedules import make_curve, plateau

TOTAL = 40


def reference(
    make: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler], steps: int = TOTAL
) -> list[float]:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def ours(name: str, warmup: int = 0) -> list[float]:
    curve = make_curve(name, total=TOTAL, warmup=warmup)
    return [curve(step) for step in range(TOTAL)]


def test_constant() -> None:
    assert ours("constant") == [1.0] * TOTAL


def test_cosine() -> None:
    expected = reference(lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL))
    assert ours("cosine") == pytest.approx(expected, abs=1e-6)


def test_cosine_after_warmup() -> None:
    def make(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / 6, total_iters=5)
        fall = lr_scheduler.CosineAnnealingLR(optimizer, TOTAL - 5)
        return lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[5])

    expected = reference(make)
    assert ours("cosine", warmup=5) == pytest.approx(expected, abs=1e-6)
    assert ours("cosine", warmup=5)[5] == 1.0


def test_step() -> None:
    expected = reference(lambda o: lr_scheduler.MultiStepLR(o, [TOTAL // 2, TOTAL * 3 // 4]))
    assert ours("step") == pytest.approx(expected)


def test_one_cycle() -> None:
    expected = reference(
        lambda o: lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=TOTAL), TOTAL - 1
    )
    assert ours("one-cycle")[:-1] == pytest.approx(expected, abs=1e-6)
    assert ours("one-cycle")[-1] == pytest.approx(1 / 250_000)


@pytest.mark.parametrize("higher", [True, False])
def test_plateau(higher: bool) -> None:
    values = [0.1, 0.5, 0.4, 0.5, 0.50005, 0.3, 0.2, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
    if not higher:
        values = [1 - value for value in values]
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max" if higher else "min", patience=3, threshold_mode="abs"
    )
    for count, value in enumerate(values, 1):
        scheduler.step(value)
        expected = optimizer.param_groups[0]["lr"]
        assert plateau(values[:count], higher_is_better=higher) == pytest.approx(expected)
    assert expected == pytest.approx(0.001)


@pytest.mark.parametrize("name", ["constant", "cosine", "step", "one-cycle", "plateau"])
@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (1, 5), (2, 1), (3, 9)])
def test_very_short_trainings_have_a_rate(name: str, total: int, warmup: int) -> None:
    curve = make_curve(name, total=total, warmup=warmup)
    assert all(0 < curve(step) <= 1 for step in range(total))
