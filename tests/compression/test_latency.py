from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from skipstone.bundle.format import Bundle
from skipstone.compression.latency import (
    BenchmarkResult,
    SpeedRatio,
    interleaved_benchmark,
    make_timed_call,
)
from skipstone.inference.open_model import open_runtime
from skipstone.inference.restore import restore_input

linux = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")


class FakeClock:
    """A clock that only candidates move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def candidate(self, draw: Callable[[], float]) -> Callable[[], None]:
        def call() -> None:
            self.now += draw()

        return call


def noisy(rng: np.random.Generator, base: float) -> Callable[[], float]:
    return lambda: float(base * np.exp(rng.normal(0, 0.1)))


def test_a_planted_slowdown_is_found_and_its_interval_covers_it() -> None:
    clock, rng = FakeClock(), np.random.default_rng(0)
    calls = {
        "a": clock.candidate(noisy(rng, 1e-3)),
        "b": clock.candidate(noisy(rng, 3e-3)),
    }
    found = interleaved_benchmark(calls, seconds=0.8, threads=1, clock=clock)
    ratio = found.speed_ratio("b", "a", confidence=0.99)
    assert ratio.is_different
    assert ratio.low <= 3 <= ratio.high
    assert ratio.high - ratio.low < 0.6
    assert "faster" in ratio.description
    assert "slower" in found.speed_ratio("a", "b").description
    assert found.fastest_of("a", "b") == "a"
    assert found.median_ms("b") == pytest.approx(3.0, rel=0.1)


def test_equal_candidates_are_seldom_told_apart() -> None:
    """In 100 races, deterministic."""
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(100):
        seconds = {name: np.exp(rng.normal(0, 0.2, 100)) for name in "ab"}
        missed += BenchmarkResult(seconds, 1).speed_ratio("a", "b").is_different
    assert missed <= 5


def test_a_small_slowdown_on_a_quiet_machine_is_seen_and_a_tiny_one_is_none() -> None:
    """Sabotage of the test above: what is not equal is told apart, from 2 % on."""
    rng = np.random.default_rng(0)

    def words(factor: float) -> str:
        seconds = {name: np.exp(rng.normal(0, 0.02, 200)) for name in "ab"}
        return (
            BenchmarkResult({**seconds, "b": factor * seconds["b"]}, 1)
            .speed_ratio("b", "a")
            .description
        )

    assert [words(1.05) for _ in range(20)].count("no difference") == 0
    assert [words(1.01) for _ in range(20)].count("no difference") >= 19


def test_what_slows_the_machine_slows_all_alike() -> None:
    """A machine that becomes ten times slower half way leaves the paired ratio as it was."""
    rng = np.random.default_rng(0)
    machine = np.repeat([1.0, 10.0], 50)
    seconds = {
        "a": machine * np.exp(rng.normal(0, 0.02, 100)),
        "b": 2 * machine * np.exp(rng.normal(0, 0.02, 100)),
    }
    ratio = BenchmarkResult(seconds, 1).speed_ratio("b", "a")
    assert ratio.value == pytest.approx(2, rel=0.02)
    assert ratio.high - ratio.low < 0.1


def test_words_follow_the_interval() -> None:
    assert SpeedRatio(1.4, 0.9, 1.8).description == "no difference"
    assert SpeedRatio(2.0, 1.5, 2.5).description == "2.00× faster"
    assert SpeedRatio(0.5, 0.4, 0.6).description == "2.00× slower"


def test_a_control_that_differs_makes_a_race_unsteady() -> None:
    assert SpeedRatio(1.03, 1.01, 1.05).is_steady
    assert not SpeedRatio(0.97, 0.73, 1.21).is_steady  # wide
    assert not SpeedRatio(1.5, 1.2, 2.0).is_steady
    assert not SpeedRatio(0.7, 0.6, 0.8).is_steady


def test_rounds_are_interleaved_in_changing_order_after_a_warming_call() -> None:
    clock, order = FakeClock(), list[str]()

    def call(name: str) -> Callable[[], None]:
        def run() -> None:
            order.append(name)
            clock.now += 1e-3

        return run

    found = interleaved_benchmark(
        {name: call(name) for name in "abc"}, seconds=0.1201, threads=1, clock=clock
    )
    assert found.rounds == 20
    timed = order[-found.rounds * 6 :]
    rounds = [timed[at : at + 6] for at in range(0, len(timed), 6)]
    assert all(one[0::2] == one[1::2] and sorted(one[0::2]) == list("abc") for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


def test_the_garbage_collector_rests_and_comes_back() -> None:
    seen: list[bool] = []
    interleaved_benchmark({"a": lambda: seen.append(gc.isenabled())}, seconds=0.01, threads=1)
    assert not any(seen)
    assert gc.isenabled()


@linux
def test_processors_are_held_and_given_back() -> None:
    before = os.sched_getaffinity(0)
    seen: set[int] = set()
    found = interleaved_benchmark(
        {"a": lambda: seen.update(os.sched_getaffinity(0))}, seconds=0.01, threads=1
    )
    assert found.processors is not None
    assert seen == set(found.processors)
    assert len(seen) == 1
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("name", ["torch-f32", "openvino-f32"])
def test_the_same_network_twice_is_no_difference_and_a_planted_sleep_is_one(
    run: Path, name: str
) -> None:
    """On this machine, whatever else it does meanwhile: so one of three races has to be clear."""
    folder = run / "bundle"
    bundle = Bundle.load(folder)
    call = make_timed_call(
        open_runtime(folder, bundle, name, threads=1), restore_input(bundle).make_example(1)
    )

    def slow() -> None:
        for _ in range(3):
            call()

    def clear() -> bool:
        found = interleaved_benchmark(
            {"a": call, "a again": call, "slow": slow}, seconds=1.0, threads=1
        )
        planted = found.speed_ratio("slow", "a")
        return (
            found.speed_ratio("a", "a again").description == "no difference" and planted.low > 1.5
        )

    assert any(clear() for _ in range(3))


@pytest.mark.parametrize("name", ["torch-f32", "torch-bf16", "onnxruntime-f32", "openvino-f32"])
def test_a_bound_program_answers_as_an_unbound_one(run: Path, name: str) -> None:
    folder = run / "bundle"
    bundle = Bundle.load(folder)
    runtime = open_runtime(folder, bundle, name, threads=1)
    arrays = restore_input(bundle).make_example(1)
    bound = make_timed_call(runtime, arrays)()
    assert np.array_equal(next(iter(bound.values())), runtime.run(arrays)["logits"])


def test_calls_that_become_slow_do_not_hold_the_race_up() -> None:
    """Their number is planned by the first calls; a machine that others take over is slower."""
    clock, calls = FakeClock(), 0

    def slowing() -> float:
        nonlocal calls
        calls += 1
        return 1e-3 if calls <= 10 else 0.05

    found = interleaved_benchmark(
        {"a": clock.candidate(slowing)}, seconds=2.0, threads=1, clock=clock
    )
    assert 10 <= found.rounds < 30
    assert clock.now < 2.5
