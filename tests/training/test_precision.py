"""Which way of computing a step is taken: what is offered, timed, chosen and used."""

from __future__ import annotations

import copy
import dataclasses
import functools
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from skipstone.core import events
from skipstone.core.errors import UsageError
from skipstone.data.samples import Batch
from skipstone.models import conv_bf16
from skipstone.models.network import Network
from skipstone.training import precision
from skipstone.training.duration import LoaderSource, decide_length, steps_of_phases
from skipstone.training.objective import Objective
from skipstone.training.oom import MicroBatch
from skipstone.training.precision import (
    Mode,
    candidate_modes,
    choose_device,
    choose_mode,
    time_modes,
)
from skipstone.training.run_directory import RunFolder
from skipstone.training.schedules import Phase
from tests.training.tiny import TinyCriterion, TinyLoader, recipe_of, tiny_network, train


def test_bf16_must_be_worth_it() -> None:
    f32, bf16 = Mode("f32", True), Mode("bf16", True)
    assert choose_mode({f32: 1.0, bf16: 0.5}) == bf16
    assert choose_mode({f32: 1.0, bf16: 0.95}) == f32
    assert choose_mode({bf16: 2.0}) == bf16


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="--device cuda:1: there is none here"):
        choose_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    for name in ("cuda:2", "cuda:", "cuda:x"):
        with pytest.raises(UsageError, match=f"--device {name}: .* Usable: cuda, cuda:0 to cuda:1"):
            choose_device(name)


def test_options_limit_the_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(precision, "bf16_is_native", lambda device: False)
    auto = recipe_of(precision="auto", channels_last=None)
    assert {mode.precision for mode in candidate_modes(auto, cpu, tiny_network())} == {"f32"}
    monkeypatch.setattr(precision, "bf16_is_native", lambda device: True)
    assert len(candidate_modes(auto, cpu, tiny_network())) == 4
    forced = recipe_of(precision="bf16", channels_last=True)
    assert candidate_modes(forced, cpu, tiny_network()) == [Mode("bf16", True)]


def depthwise_network(kernel: int, stride: int = 1) -> Network:
    network = tiny_network()
    layer = nn.Conv2d(4, 4, kernel, stride, kernel // 2, groups=4)
    network.backbone.norm = nn.Sequential(layer, nn.BatchNorm2d(4))
    return network


def test_faster_depthwise_gradients_are_a_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(precision, "bf16_is_native", lambda device: True)
    auto = recipe_of(precision="auto", channels_last=None)

    def offered(network: Network, device: torch.device = cpu) -> set[tuple[str, bool]]:
        modes = candidate_modes(auto, device, network)
        return {(m.precision, m.channels_last) for m in modes if m.fast_depthwise}

    assert offered(depthwise_network(5)) == {("bf16", True)}
    assert offered(depthwise_network(3, stride=2)) == {("bf16", True)}
    assert offered(depthwise_network(3)) == set()
    assert offered(depthwise_network(5), torch.device("cuda")) == set()
    forced = recipe_of(precision="bf16", channels_last=False)
    assert candidate_modes(forced, cpu, depthwise_network(5)) == [
        Mode("bf16", False, fast_depthwise=True),
        Mode("bf16", False),
    ]


@pytest.mark.parametrize("pays", [True, False])
def test_training_takes_what_the_timing_says(
    pays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(
        _: Objective, batches: list[Batch], modes: list[Mode], *rest: Any
    ) -> dict[Mode, float]:
        return {mode: 1.0 if mode.fast_depthwise == pays else 2.0 for mode in modes}

    learnt = []
    forward = conv_bf16._Convolution.forward

    def counted(*arguments: Any) -> torch.Tensor:
        learnt.append(torch.is_inference_mode_enabled())
        return forward(*arguments)

    monkeypatch.setattr(precision, "time_modes", timed)
    monkeypatch.setattr(conv_bf16._Convolution, "forward", staticmethod(counted))
    _, result = train(
        tmp_path,
        network=depthwise_network(5),
        epochs=2,
        precision="bf16",
        channels_last=False,
    )
    assert len(learnt) == (result.steps if pays else 0)
    with RunFolder(tmp_path / "001") as run:
        decision = run.find_decision("precision")
    assert decision is not None
    assert decision["fast_depthwise"] is pays
    assert decision["seconds"] == {"bf16 fast-depthwise": 1.0 + (not pays), "bf16": 1.0 + pays}


def test_timing_leaves_the_objective_as_it_is() -> None:
    objective = Objective(tiny_network(), TinyCriterion())
    before = copy.deepcopy(objective.state_dict())
    seconds = time_modes(
        objective, list(TinyLoader().iterate_epoch(0)), [Mode(), Mode("bf16", True)]
    )
    assert all(0 < value < 10 for value in seconds.values())
    assert all(torch.equal(before[name], value) for name, value in objective.state_dict().items())
    assert all(parameter.grad is None for parameter in objective.parameters())


@pytest.mark.parametrize(
    ("step", "limit", "tried", "chosen"),
    [
        (32.0, 9.0, 1, "f32 channels_last"),  # one step exceeds the limit: nothing else is tried
        (12.0, 9.0, 2, "f32"),  # the best of those that were timed
        (0.1, 9.0, 4, "f32"),
    ],
)
def test_timing_keeps_to_its_limit_and_takes_the_best_so_far(
    step: float, limit: float, tried: int, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    factors = {"bf16 channels_last": 1.0, "bf16": 1.0, "f32 channels_last": 0.5, "f32": 0.4}

    def timed(objective: Objective, batch: Batch, mode: Mode) -> float:
        seconds = step * factors[str(mode)]
        clock[0] += seconds
        return seconds

    monkeypatch.setattr(precision, "_time_step", timed)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(precision, "bf16_is_native", lambda device: True)
    stages: list[events.StageStarted] = []

    def note(event: events.Event) -> None:
        if isinstance(event, events.StageStarted):
            stages.append(event)

    with events.use_listener(note):
        decision = precision.decide_mode(
            recipe_of(precision="auto", channels_last=None),
            Objective(tiny_network(), TinyCriterion()),
            lambda: list(TinyLoader().iterate_epoch(0)),
            limit,
        )
    assert len(decision["seconds"]) == tried
    fields = {field.name: decision[field.name] for field in dataclasses.fields(Mode)}
    assert str(Mode(**fields)) == chosen
    assert clock[0] <= limit + step
    assert stages[0].total == 12
    assert "for 9 s at most" in stages[0].stage


def test_what_was_timed_before_is_not_timed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "bf16_is_native", lambda device: False)
    recipe = recipe_of(precision="auto", channels_last=None)

    def decide(network: Network) -> dict[str, Any]:
        objective = Objective(network, TinyCriterion())
        return precision.decide_mode(
            recipe, objective, lambda: list(TinyLoader().iterate_epoch(0)), 9.0
        )

    def refuse(*_: object) -> float:
        raise AssertionError("a step is timed")

    before = decide(tiny_network())
    monkeypatch.setattr(precision, "_time_step", refuse)
    again = decide(tiny_network(seed=1))
    assert again == {**before, "seconds": again["seconds"]}
    assert again["seconds"] == pytest.approx(before["seconds"], abs=1e-5)
    with pytest.raises(AssertionError, match="a step is timed"):
        decide(tiny_network(norm=False))


def test_steps_of_a_budget_count_what_each_phase_costs() -> None:
    phases = [Phase("head", 10, 3, "cosine"), Phase("all", 90, 0, "cosine")]
    by_frozen = {3: 0.1, 0: 1.0}
    fits = functools.partial(
        steps_of_phases, phases=phases, by_frozen=by_frozen, evaluation=2.0, per_epoch=10
    )
    assert fits(3.0) == 10  # the head's epoch and its evaluation
    assert fits(3.0 + 12.0) == 20
    assert fits(3.0 + 12.0 + 7.0) == 25  # with the evaluation of the epoch that is cut short
    assert fits(1e6) == 100


@pytest.mark.parametrize(
    ("rows", "is_measured"), [(None, True), (0, True), (8, True), (100_000, False)]
)
def test_a_long_evaluation_is_estimated_not_measured(
    rows: int | None, is_measured: bool, tmp_path: Path
) -> None:
    calls = []

    def evaluate(network: Network) -> dict[str, float]:
        calls.append(network)
        return {"accuracy": 1.0}

    recipe = recipe_of(epochs=3, budget=2.0)
    objective, loader = Objective(tiny_network(), TinyCriterion()), TinyLoader()
    with RunFolder(tmp_path / "001") as run:
        memory = MicroBatch(objective.network, loader.batch_size, run)
        began = time.monotonic()
        length = decide_length(
            *(recipe, objective, LoaderSource(loader), evaluate),
            *(Mode(), memory, began, rows),
        )
    assert bool(calls) == is_measured
    assert (length["seconds_per_evaluation"] > 0.1) != is_measured
    assert length["steps"] >= 1


def test_bf16_learns_too(tmp_path: Path) -> None:
    network, result = train(tmp_path, epochs=8, lr=0.02, precision="bf16", channels_last=True)
    assert result.chosen_epoch["metrics"]["accuracy"] >= 0.9
    assert all(p.dtype == torch.float32 for p in network.parameters())
    assert network.backbone.middle.weight.is_contiguous()
