"""The step `prune`: which channels go, what stays exactly as it was, and the chain with INT8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skipstone.bundle.format import Bundle
from skipstone.compression import recover
from skipstone.compression.apply_plan import shrink
from skipstone.compression.options import PruneOptions
from skipstone.compression.shrink_plan import ShrinkPlan, StepContext, run_steps
from skipstone.compression.steps.prune import (
    ChannelGroup,
    MacCounter,
    choose_channels,
    find_prunable_channels,
    make_resize_edits,
    measure_importance,
    slice_tensors,
)
from skipstone.core.errors import Interrupted, Refusal, UsageError
from skipstone.data.manifest import Manifest
from skipstone.evaluation.parity import verify
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.open_model import open_model
from skipstone.inference.restore import restore_input, restore_network, restore_task
from skipstone.models.build import build_network
from skipstone.models.network import Network
from skipstone.models.profile import profile_network
from skipstone.training.objective import Objective


@pytest.fixture
def bundle(run: Path) -> Bundle:
    return Bundle.load(run / "bundle")


def pieces(bundle: Bundle):
    network, input = restore_network(bundle), restore_input(bundle)
    return network, input, find_prunable_channels(network, input.make_example(2))


def test_costs_are_the_profiles(bundle: Bundle) -> None:
    """The convolutions' share: the profile counts the linear head as well."""
    network, input, _ = pieces(bundle)
    linear = network.head.linear
    counted = MacCounter(network, input.make_example(1)).total_macs()
    assert counted == profile_network(network, input.make_example(1)).macs - linear.weight.numel()


def test_channels_without_effect_go_and_answers_stay(bundle: Bundle) -> None:
    """A channel whose readers ignore it is found, and without it the network answers the same."""
    network, input, hidden = pieces(bundle)
    idle = {h.producer: [1, 2] for h in hidden}
    with torch.no_grad():
        for h in hidden:
            network.get_submodule(h.consumer).weight[:, idle[h.producer]] = 0
    scores = {h.producer: np.ones(h.channels) for h in hidden}
    for name, channels in idle.items():
        scores[name][channels] = 0
    kept = {
        name: np.setdiff1d(np.arange(len(score)), np.flatnonzero(score == 0))
        for name, score in scores.items()
    }
    edits = make_resize_edits(network, hidden, kept)
    arch = type(bundle.arch)(bundle.arch.backbone, bundle.arch.head, tuple(edits))
    narrow = build_network(arch, input).eval()
    narrow.load_state_dict(slice_tensors(network.state_dict(), hidden, kept), strict=True)
    x = {k: torch.from_numpy(v) for k, v in input.make_example(3).items()}
    torch.testing.assert_close(narrow(x)["logits"], network.eval()(x)["logits"])
    saved = (
        profile_network(network, input.make_example(1)).macs
        - profile_network(narrow, input.make_example(1)).macs
    )
    assert saved > 0


def test_importance_is_the_squared_gradient_of_a_gate(bundle: Bundle, rows: Manifest) -> None:
    """Against gates that are really there, multiplied into what the consumer reads."""
    network, _, hidden = pieces(bundle)
    work = StepContext(Path(), Path(), rows.rows_with_role("train"), rows.rows_with_role("val"))
    found = measure_importance(network, bundle, work, hidden[:1], batches=1)
    (producer,) = found
    from skipstone.compression.recover import make_train_loader, recovery_recipe

    loader = make_train_loader(bundle, work, recovery_recipe(bundle, epochs=1, seed=0))
    batch = next(iter(loader.iterate_epoch(0)))
    gate = torch.ones(hidden[0].channels, requires_grad=True)
    consumer = network.get_submodule(hidden[0].consumer)
    handle = consumer.register_forward_pre_hook(lambda _, args: args[0] * gate[:, None, None])
    objective = Objective(network, restore_task(bundle).criterion())
    objective(batch.x, batch.y, weight=objective.weight(batch.y))["loss"].backward()
    handle.remove()
    assert gate.grad is not None
    np.testing.assert_allclose(found[producer], gate.grad.square().numpy(), rtol=1e-3)


def test_what_learns_again_is_judged_on_its_own_device(
    bundle: Bundle, rows: Manifest, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network on a GPU whose evaluation moves it to the CPU cannot take another step."""
    judged: list[torch.device] = []

    def fit(network: Network, *, evaluate: Callable[[Network], Any], **_: Any) -> None:
        evaluate(network.to("meta"))  # the one device beside the CPU that is everywhere

    def predictor(input: Any, runtime: TorchRuntime, *_: Any) -> Any:
        judged.append(runtime.device)
        return SimpleNamespace(evaluate=lambda rows: SimpleNamespace(records=[], failures=[]))

    monkeypatch.setattr(recover, "fit", fit)
    monkeypatch.setattr(recover, "Predictor", predictor)
    monkeypatch.setattr(recover, "compute_finite_metrics", lambda task, records: {})
    work = StepContext(
        run / "bundle", tmp_path / "out", rows.rows_with_role("train"), rows.rows_with_role("val")
    )
    network = restore_network(bundle)
    recover.train_recovery(network, bundle, work, epochs=1, teacher=0.0)
    assert judged == [torch.device("meta")]
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}


class Counted(MacCounter):
    """Costs of a chain that is not run: each hidden set between two 1x1 convolutions of 8."""

    def __init__(self, sizes: list[int]) -> None:
        self.layers = {}
        for number, size in enumerate(sizes):
            self.layers[f"p{number}"] = [1.0, 8.0, float(size)]
            self.layers[f"c{number}"] = [1.0, float(size), 8.0]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.floats(0.05, 0.95),
    st.sampled_from([1, 3, 8]),
    st.integers(0, 9999),
)
def test_what_is_kept(sizes: list[int], keep: float, multiple: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    hidden = [ChannelGroup(f"p{i}", (), f"c{i}", size) for i, size in enumerate(sizes)]
    scores = {h.producer: rng.exponential(size=h.channels) for h in hidden}
    costs = Counted(sizes)
    before = costs.total_macs()
    try:
        kept = choose_channels(hidden, scores, costs, keep=keep, multiple=multiple)
    except Refusal:  # nothing more could go
        assert all(costs.layers[h.producer][2] < 2 * multiple for h in hidden)
        assert costs.total_macs() > keep * before
        return
    assert costs.total_macs() <= keep * before
    for h in hidden:
        stay = kept[h.producer]
        assert costs.layers[h.producer][2] == costs.layers[h.consumer][1] == len(stay)
        assert len(stay) >= min(multiple, h.channels)
        assert len(stay) == h.channels or len(stay) % multiple == 0
        gone = np.setdiff1d(np.arange(h.channels), stay)
        if len(gone):
            assert scores[h.producer][gone].max() <= scores[h.producer][stay].min()
        assert (np.diff(stay) > 0).all()


def test_more_than_can_go_is_refused(run: Path, rows: Manifest, tmp_path: Path) -> None:
    plan = ShrinkPlan.from_text("prune(macs=0.01, multiple=1, batches=1)")
    work = StepContext(
        run / "bundle", tmp_path / "new", rows.rows_with_role("train"), rows.rows_with_role("val")
    )
    with pytest.raises(Refusal, match="keeps at least"):
        run_steps(plan, work)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"macs": 1.0}, "macs is 1.0"),
        ({"macs": True}, "macs is True"),
        ({"teacher": 1.5}, "teacher is 1.5"),
        ({"epochs": 0, "multiple": 0}, "epochs is 0.*multiple is 0"),
    ],
    ids=str,
)
def test_options_are_checked_together(values, said) -> None:
    with pytest.raises(UsageError, match=said):
        PruneOptions(**values)


@pytest.fixture(scope="module")
def pruned(run: Path, rows: Manifest, tmp_path_factory) -> Path:
    """Pruned, taught again and quantized: the plan that people want."""
    out = tmp_path_factory.mktemp("pruned") / "small"
    plan = ShrinkPlan.from_text("prune(macs=0.7, multiple=2, epochs=6, batches=4), int8(samples=8)")
    result = shrink(run / "bundle", rows, plan, max_drop=100, out=out, latency_seconds=0.4)
    assert result.accepted
    assert result.verification is not None
    assert result.verification.ok
    return out


def test_the_chain_gives_a_bundle_that_verifies(pruned: Path, run: Path, rows: Manifest) -> None:
    assert verify(pruned).ok
    small, large = Bundle.load(pruned), Bundle.load(run / "bundle")
    example = restore_input(large).make_example(1)
    before, after = (profile_network(restore_network(b), example) for b in (large, small))
    assert after.macs <= 0.72 * before.macs
    assert sum(v.size for v in small.tensors.values()) < sum(v.size for v in large.tensors.values())
    scores = [
        np.mean(
            [
                r["correct"]
                for r in open_model(folder).evaluate(rows.rows_with_role("train")).records
            ]
        )
        for folder in (run / "bundle", pruned)
    ]
    assert scores[1] >= scores[0] - 0.2


def test_the_receipt_compares_with_the_model_before(pruned: Path, run: Path) -> None:
    import json

    receipt = json.loads((pruned / "receipt.json").read_text())
    original = (run / "bundle" / "weights.safetensors").stat().st_size
    assert receipt["sizes"]["float32_weights"] == original
    step = receipt["steps"][0]
    assert step["name"] == "prune"
    assert step["facts"]["macs"][1] <= 0.72 * step["facts"]["macs"][0]
    assert {ratio["fast"] for ratio in receipt["latency"]["ratios"]} == {"openvino-int8"}


def test_a_stop_while_learning_again_leaves_no_model(
    run: Path, rows: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise Interrupted("saved", signal_number=15, hint="The same command goes on.")

    monkeypatch.setattr(recover, "fit", stopped)
    plan = ShrinkPlan.from_text("prune(macs=0.9, multiple=2, batches=1)")
    with pytest.raises(Interrupted, match="original model is unchanged") as caught:
        shrink(run / "bundle", rows, plan, max_drop=100, out=tmp_path / "new")
    assert caught.value.exit_code == 143
    assert "restarts" in str(caught.value.hint)
    assert [path.name for path in tmp_path.iterdir()] == ["new.unfinished"]  # to resume from


def test_a_model_of_unknown_training_is_refused(run: Path, rows: Manifest, tmp_path: Path) -> None:
    bundle = Bundle.load(run / "bundle")
    bundle.lineage = {"seed": 0}
    bundle.save(tmp_path / "bare")
    work = StepContext(
        tmp_path / "bare",
        tmp_path / "new",
        rows.rows_with_role("train"),
        rows.rows_with_role("val"),
    )
    with pytest.raises(Refusal, match="has no training recipe"):
        run_steps(ShrinkPlan.from_text("prune(batches=1)"), work)
