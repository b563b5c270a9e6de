"""The whole loop on a tiny network: it learns, keeps the best, and its phases do what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from skipstone.core import events
from skipstone.core.errors import DataError, Diverged, UsageError
from skipstone.models.losses import AuxiliaryCriterion
from skipstone.models.network import Network
from skipstone.training import loop
from skipstone.training.checkpoint import load_checkpoint
from skipstone.training.fit import FitResult, fit
from skipstone.training.options import TrainOptions
from skipstone.training.run_directory import RunFolder
from tests.training.tiny import (
    TinyCriterion,
    TinyHead,
    TinyLoader,
    TinyTask,
    evaluate,
    recipe_of,
    tiny_network,
    train,
)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_it_learns(tmp_path: Path, optimizer: str) -> None:
    before = evaluate(tiny_network())["accuracy"]
    network, result = train(tmp_path, optimizer=optimizer, epochs=8, lr=0.02, seed=1)
    assert result.chosen_epoch["metrics"]["accuracy"] >= 0.9 > before
    assert evaluate(network) == pytest.approx(result.chosen_epoch["metrics"], abs=1e-6)
    assert result.steps == 8 * 6
    assert result.stopped_by == "epochs"
    assert not network.training
    assert all(p.requires_grad for p in network.parameters())


def test_history_rows(tmp_path: Path) -> None:
    _, result = train(tmp_path, epochs=3, l1=1e-4)
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    row = result.history[-1]
    assert row["step"] == 18
    assert set(row["losses"]) == {"cross_entropy", "l1", "loss"}
    assert row["losses"]["loss"] == pytest.approx(
        row["losses"]["cross_entropy"] + row["losses"]["l1"], rel=1e-5
    )
    assert set(row["gradients"]) == {"stem", "stage 1", "stage 2", "head"}
    assert all(value > 0 for value in row["gradients"].values())


def test_progress_is_told(tmp_path: Path) -> None:
    seen: list[events.Event] = []
    with events.use_listener(seen.append):
        train(tmp_path, epochs=2)
    assert events.StageStarted("training", 12, "steps") in seen
    steps = [event for event in seen if isinstance(event, events.StageAdvanced)]
    assert sum(event.amount for event in steps) == 12
    assert steps[0].text.startswith("epoch 1  loss ")


def test_same_seed_same_weights_and_another_differs(tmp_path: Path) -> None:
    runs = [
        train(tmp_path / name, epochs=2, seed=seed)[0].state_dict()
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert not all(torch.equal(runs[0][name], runs[2][name]) for name in runs[0])


def test_step_limit_and_its_evaluation(tmp_path: Path) -> None:
    _, result = train(tmp_path, epochs=5, steps=8)
    assert result.steps == 8
    assert result.stopped_by == "steps"
    assert [row["step"] for row in result.history] == [6, 8]


def scripted_fit(
    folder: Path, script: Sequence[float | dict[str, float]], **options: Any
) -> tuple[FitResult, dict[str, Tensor], list[dict[str, Tensor]]]:
    """A training whose metric goes by `script`: its result, the weights that it gives back, and
    those after each epoch."""
    metric = iter(script)
    seen = []

    def scripted(network: Network) -> dict[str, float]:
        seen.append({k: v.clone() for k, v in network.state_dict().items()})
        found = next(metric)
        return found if isinstance(found, dict) else {"accuracy": found}

    network = tiny_network()
    with RunFolder(folder / "run") as run:
        result = fit(
            network,
            task=TinyTask(),  # type: ignore[arg-type]
            loader=TinyLoader(),
            evaluate=scripted,
            options=recipe_of(**options),
            run=run,
        )
    return result, network.state_dict(), seen


def test_best_weights_come_back(tmp_path: Path) -> None:
    script = [0.1, 0.9, 0.5, 0.4]
    result, given, seen = scripted_fit(tmp_path, script, epochs=9, early_stop=2)
    assert result.chosen_epoch["epoch"] == 2
    assert result.stopped_by == "early stop"
    assert len(result.history) == 4
    for name, tensor in given.items():
        assert torch.equal(tensor, seen[1][name])


def test_ties_go_to_the_figure_that_the_task_names(tmp_path: Path) -> None:
    """Not to the earliest epoch; and patience, which waits for the headline, is not renewed."""
    figures = ((0.9, 0.5), (0.9, 0.3), (0.9, 0.4), (0.8, 0.1), (0.9, 0.2))
    script = [{"accuracy": accuracy, "loss": loss} for accuracy, loss in figures]
    result, given, seen = scripted_fit(tmp_path, script, epochs=5, early_stop=3)
    assert result.chosen_epoch["epoch"] == 2
    assert (result.stopped_by, len(result.history)) == ("early stop", 4)
    for name, tensor in given.items():
        assert torch.equal(tensor, seen[1][name])


def test_the_last_weights_where_they_are_asked_for(tmp_path: Path) -> None:
    result, given, seen = scripted_fit(tmp_path, [0.9, 0.5, 0.4], epochs=3, checkpoint="last")
    assert (result.chosen_epoch["epoch"], result.chosen_epoch["metrics"]) == (3, {"accuracy": 0.4})
    assert not torch.equal(seen[0]["head.linear.weight"], seen[2]["head.linear.weight"])
    for name, tensor in given.items():
        assert torch.equal(tensor, seen[2][name])


def test_head_first_then_all(tmp_path: Path) -> None:
    network = tiny_network()
    stem = network.backbone.stem.weight.detach().clone()
    norm = network.backbone.norm.running_mean.clone()
    frozen: list[bool] = []

    def watching(current: Network) -> dict[str, float]:
        same = torch.equal(current.backbone.stem.weight, stem)
        frozen.append(same and torch.equal(current.backbone.norm.running_mean, norm))
        return {"accuracy": 0.5}

    with RunFolder(tmp_path / "run") as run:
        result = fit(
            network,
            task=TinyTask(),  # type: ignore[arg-type]
            loader=TinyLoader(),
            evaluate=watching,
            options=recipe_of(epochs=4, freeze_epochs=2, ema=0.0),
            run=run,
        )
        assert [entry["name"] for entry in run.entries("phase")] == ["head", "all"]
    assert frozen == [True, True, False, False]
    assert set(result.history[0]["gradients"]) == {"head"}


def test_gradual_unfreezing(tmp_path: Path) -> None:
    _, result = train(tmp_path, epochs=5, freeze_epochs=1, unfreeze="gradual")
    learned = [list(row["gradients"]) for row in result.history]
    assert learned == [
        ["head"],
        ["stage 2", "head"],
        ["stage 1", "stage 2", "head"],
        ["stem", "stage 1", "stage 2", "head"],
        ["stem", "stage 1", "stage 2", "head"],
    ]


def test_norm_statistics_can_stay(tmp_path: Path) -> None:
    network = tiny_network()
    train(tmp_path, network=network, epochs=1, freeze_norm=True)
    assert torch.equal(network.backbone.norm.running_mean, torch.zeros(4))
    assert int(network.backbone.norm.num_batches_tracked) == 0
    train(tmp_path / "b", network=network, epochs=1)
    assert not torch.equal(network.backbone.norm.running_mean, torch.zeros(4))


def test_nan_stops_with_step_files_and_checkpoint(tmp_path: Path) -> None:
    loader = TinyLoader()
    loader.images[17] = float("nan")
    order = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    at = int((order == 17).nonzero()) // 8
    with pytest.raises(Diverged) as caught:
        train(tmp_path, loader=loader, epochs=3, checkpoint_every=1)
    assert caught.value.step == at + 1
    assert "photo17.png" in caught.value.files
    assert f"step {at + 1} (epoch 1)" in str(caught.value)
    assert "--lr" in str(caught.value)
    saved = load_checkpoint(tmp_path / "001" / "checkpoint")
    if at == 0:
        assert saved is None
    else:
        assert saved is not None
        assert saved.state.step == at
        name = f"001/checkpoint/{'odd' if at % 2 else 'even'}"
        assert f"{name}, of step {at}." in str(caught.value)
        assert all(torch.isfinite(t).all() for t in saved.tensors_under("model").values())


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_an_infinite_gradient_stops_at_its_own_batch(tmp_path: Path, clip: float) -> None:
    """The loss of that batch is still finite: only the next one's would tell."""

    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, loss: torch.Tensor) -> torch.Tensor:
            return loss.clone()

        @staticmethod
        def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
            return gradient * float("inf")

    network, loader = tiny_network(), TinyLoader()
    order = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    third = {f"photo{int(row)}.png" for row in order[16:24]}

    class SteepCriterion(TinyCriterion):
        def forward(self, outputs: Any, y: Any) -> dict[str, torch.Tensor]:
            value = super().forward(outputs, y)["cross_entropy"]
            return {"cross_entropy": Steep.apply(value) if len(loader.served) == 3 else value}

    network.head.criterion = SteepCriterion  # type: ignore[method-assign]
    with pytest.raises(Diverged, match=r"gradient's norm became (nan|inf) at step 3") as caught:
        train(
            tmp_path,
            network=network,
            loader=loader,
            epochs=1,
            optimizer="sgd",
            clip=clip,
            checkpoint_every=1,
        )
    assert set(caught.value.files) == third
    assert "001/checkpoint/even, of step 2." in str(caught.value)
    (row,) = [r for r in journal_of(tmp_path) if r["kind"] == "diverged"]
    assert set(row["files"]) == third
    assert row["step"] == 3
    assert all(bool(p.isfinite().all()) for p in network.parameters())


def test_sabotage_without_the_check_the_wrong_batch_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "clip_gradients", lambda optimizer, clip: 1.0)
    with pytest.raises(AssertionError):
        test_an_infinite_gradient_stops_at_its_own_batch(tmp_path, 0.0)


def journal_of(base: Path) -> list[dict[str, Any]]:
    lines = (base / "001" / "journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_plain_options_are_resolved(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as run:
        result = fit(
            tiny_network(),
            task=TinyTask(),  # type: ignore[arg-type]
            loader=TinyLoader(),
            evaluate=evaluate,
            options=TrainOptions(steps=2, device="cpu"),
            run=run,
        )
        decision = run.find_decision("precision")
    assert result.steps == 2
    assert decision is not None
    assert decision["precision"] in ("f32", "bf16")
    assert len(decision["seconds"]) >= 2


def test_budget_is_planned_and_kept(tmp_path: Path) -> None:
    network = tiny_network()
    _, result = train(tmp_path, network=network, epochs=100_000, budget=2.0)
    assert result.stopped_by == "budget"
    assert 10 < result.steps < 100_000
    assert result.history[-1]["seconds"] < 3.5
    assert result.history[-1]["lr"] < 0.02  # the schedule came (nearly) to its end


def test_steps_that_end_before_the_budget_are_what_ended_it(tmp_path: Path) -> None:
    _, result = train(tmp_path, epochs=50, steps=8, budget=600.0)
    assert (result.steps, result.stopped_by) == (8, "steps")


def test_batches_of_one_pixel_are_refused_with_a_sentence(tmp_path: Path) -> None:
    network = tiny_network()
    network.backbone.deep = nn.Sequential(
        nn.Conv2d(6, 8, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(8)
    )
    with pytest.raises(UsageError, match="batch norm needs more than one value per channel"):
        train(tmp_path, network=network, loader=TinyLoader(4, 1), epochs=1)


def test_rows_without_a_label_to_score_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give no accuracy: nothing in them is labelled"):
        train(tmp_path, epochs=1, evaluate=lambda network: {"accuracy": float("nan")})


def test_progress_of_a_plateau(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as run:
        result = fit(
            tiny_network(),
            task=TinyTask(),  # type: ignore[arg-type]
            loader=TinyLoader(),
            evaluate=lambda network: {"accuracy": 0.5},
            options=recipe_of(epochs=7, schedule="plateau", lr=0.1, warmup=0.0),
            run=run,
        )
    rates = [row["lr"] for row in result.history]
    assert rates == pytest.approx([0.1] * 5 + [0.01] * 2)


class _AuxiliaryTask(TinyTask):
    def criterion(self) -> AuxiliaryCriterion:
        return AuxiliaryCriterion(TinyCriterion(), {"middle": TinyCriterion()}, factor=0.3)


def test_an_auxiliary_head_learns_and_is_gone_after_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.training.tiny.TinyTask", _AuxiliaryTask)
    network = tiny_network()
    names = set(network.state_dict())
    head = network.auxiliary["middle"] = TinyHead()
    before = head.linear.weight.detach().clone()
    _, result = train(tmp_path, network=network, epochs=1)
    losses = result.history[0]["losses"]
    assert losses["loss"] == pytest.approx(
        losses["cross_entropy"] + losses["middle.cross_entropy"], rel=1e-5
    )
    assert not torch.equal(head.linear.weight, before)
    assert set(network.state_dict()) == names
    assert set(network({"image": torch.zeros(1, 1, 8, 8)})) == {"logits"}
