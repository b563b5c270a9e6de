"""One step: accumulation, clipping, L1, EMA."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from skipstone.core.errors import Diverged
from skipstone.training.checkpoint import TrainState
from skipstone.training.loop import StepConfig, group_batches, seed_step, train_step
from skipstone.training.objective import Objective
from skipstone.training.oom import MemoryJournal, MicroBatch
from skipstone.training.optimizers import Ema, make_optimizer
from skipstone.training.precision import Mode
from skipstone.training.schedules import make_curve
from tests.training.tiny import TinyCriterion, TinyLoader, recipe_of, tiny_network, train


def rules_of(**changed: Any) -> StepConfig:
    values: dict[str, Any] = {
        "steps": 10,
        "lr": 0.1,
        "curve": make_curve("constant", total=10, warmup=0),
        "ema": None,
        "clip": 0.0,
        "accumulate": 1,
        "mode": Mode(),
        "device": torch.device("cpu"),
        "memory": MicroBatch(tiny_network(), 48, MemoryJournal()),
        "seed": 0,
        "norms_every": 1,
    }
    return StepConfig(**(values | changed))


def one_step(batch_size: int, **options: Any) -> tuple[dict[str, torch.Tensor], TrainState]:
    """All 44 images in one step, in batches of `batch_size`, in epoch 0's order."""
    network = tiny_network(norm=False, dropout=0.0)
    recipe = recipe_of(optimizer="sgd", lr=0.1, **options)
    objective = Objective(network, TinyCriterion(), l1=recipe.l1)
    optimizer = make_optimizer(network, recipe)
    loader, state = TinyLoader(samples=44, batch_size=batch_size), TrainState()
    batches = list(loader.iterate_epoch(0))
    train_step(objective, optimizer, batches, state, rules_of(clip=recipe.clip))
    return network.state_dict(), state


@pytest.mark.parametrize("options", [{}, {"l1": 0.01}, {"clip": 0.05}])
def test_accumulation_equals_the_large_batch(options: dict[str, float]) -> None:
    """Also where the last batch is smaller (44 = 5 x 8 + 4): means of means would differ."""
    whole, state = one_step(44, **options)
    parts, state_of_parts = one_step(8, **options)
    for name in whole:
        torch.testing.assert_close(whole[name], parts[name], rtol=1e-5, atol=1e-6)
    assert state.losses == pytest.approx(state_of_parts.losses, rel=1e-5)


def test_clipping_bounds_the_step() -> None:
    start = tiny_network(norm=False, dropout=0.0).state_dict()

    def moved(clip: float) -> float:
        end, _ = one_step(44, clip=clip, momentum=0.0, weight_decay=0.0)
        return float(sum(((end[name] - start[name]) ** 2).sum() for name in end) ** 0.5)

    free = moved(0.0)
    assert moved(free / 0.1 / 4) == pytest.approx(free / 4, rel=1e-3)
    assert moved(1e6) == pytest.approx(free, rel=1e-6)


def test_l1_is_a_penalty_on_weights_only() -> None:
    network = tiny_network()
    objective = Objective(network, TinyCriterion(), l1=0.5)
    expected = sum(float(p.detach().abs().sum()) for p in network.parameters() if p.ndim > 1)
    assert float(objective.l1_norm().detach()) == pytest.approx(expected, rel=1e-5)
    batch = next(TinyLoader().iterate_epoch(0))
    losses = objective(batch.x, batch.y, weight=objective.weight(batch.y))
    assert float(losses["l1"]) == pytest.approx(0.5 * expected, rel=1e-5)
    assert float(losses["loss"].detach()) == pytest.approx(
        float(losses["cross_entropy"] + losses["l1"]), rel=1e-6
    )


def test_l1_makes_weights_smaller(tmp_path: Path) -> None:
    def total(l1: float) -> float:
        network, _ = train(tmp_path / str(l1), epochs=4, l1=l1, lr=0.05, ema=0.0)
        return sum(float(p.detach().abs().sum()) for p in network.parameters() if p.ndim > 1)

    assert total(0.05) < 0.8 * total(0.0)


def test_ema_equals_its_closed_form() -> None:
    network = torch.nn.BatchNorm1d(3)
    ema = Ema(network, 0.6)
    expected = network.weight.detach().clone()
    for count in range(1, 20):
        with torch.no_grad():
            network.weight.copy_(torch.randn(3))
            network.running_mean.copy_(network.weight)
            network.num_batches_tracked += 1
        ema.update()
        decay = min(0.6, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * network.weight.detach()
        torch.testing.assert_close(ema.state_dict()["weight"], expected)
    assert int(ema.state_dict()["num_batches_tracked"]) == 19
    live = network.weight.detach().clone()
    with ema.use_average():
        torch.testing.assert_close(network.weight.detach(), expected)
        assert torch.equal(ema.state_dict()["weight"], live)
    assert torch.equal(network.weight.detach(), live)
    torch.testing.assert_close(ema.state_dict()["weight"], expected)


def test_streams_are_keyed_by_seed_and_step() -> None:
    def draw(seed: int, number: int) -> float:
        seed_step(seed, number, torch.device("cpu"))
        return float(torch.rand(1))

    assert draw(1, 5) == draw(1, 5)
    assert len({draw(seed, number) for seed in range(3) for number in range(20)}) == 60


def test_groups() -> None:
    loader = TinyLoader(samples=20, batch_size=4)
    assert [len(group) for group in group_batches(loader.iterate_epoch(0), 2)] == [2, 2, 1]


def test_infinite_loss_names_the_batch() -> None:
    network = tiny_network()
    with torch.no_grad():
        network.head.linear.weight.fill_(float("inf"))
    before = copy.deepcopy(network.state_dict())
    recipe = recipe_of()
    with pytest.raises(Diverged, match=r"step 1 .*photo\d+\.png.* and \d+ more"):
        train_step(
            Objective(network, TinyCriterion()),
            make_optimizer(network, recipe),
            list(TinyLoader(batch_size=16).iterate_epoch(0))[:1],
            TrainState(),
            rules_of(),
        )
    assert torch.equal(network.backbone.stem.weight, before["backbone.stem.weight"])
