"""The steps `sparsify` and `share`: what becomes zero, what is shared, and the file that comes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import nn
from torch.nn.utils import prune as torch_prune

from skipstone.bundle.compact import DATA, TABLE, encode_tensors
from skipstone.bundle.format import WEIGHTS_FILE, Bundle
from skipstone.compression import recover as remade
from skipstone.compression.apply_plan import shrink
from skipstone.compression.options import SparsifyOptions
from skipstone.compression.shrink_plan import ShrinkPlan, StepContext, run_steps
from skipstone.compression.steps.share import SharedWeight
from skipstone.compression.steps.sparsify import (
    MaskedWeight,
    choose_masks,
    find_two_of_four,
    plan_densities,
)
from skipstone.compression.weight_layers import constrain_weights, list_weights
from skipstone.data.manifest import Manifest
from skipstone.inference.open_model import open_model
from skipstone.inference.restore import restore_single_network
from tests.text_bundles import text_run


def work_on(source: Path, rows: Manifest, out: Path) -> StepContext:
    return StepContext(source, out, rows.rows_with_role("train"), rows.rows_with_role("val"))


# --- which weights become zero ------------------------------------------------------------------


@pytest.fixture
def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 8, 3), nn.Linear(8, 5))


def test_the_largest_weights_of_the_network_remain(layers: nn.Sequential) -> None:
    weights = {name: p.detach().clone() for name, p in layers.named_parameters() if p.ndim > 1}
    masks = choose_masks(weights, SparsifyOptions(), 0.25)
    torch_prune.global_unstructured(
        [(layer, "weight") for layer in layers],
        pruning_method=torch_prune.L1Unstructured,
        amount=0.75,
    )
    for name, mask in masks.items():
        assert torch.equal(mask, layers.get_buffer(f"{name}_mask").bool())


def test_each_layer_keeps_its_share(layers: nn.Sequential) -> None:
    weights = {name: p.detach() for name, p in layers.named_parameters() if p.ndim > 1}
    for name, mask in choose_masks(weights, SparsifyOptions(scope="layer"), 0.1).items():
        assert int(mask.sum()) == round(0.1 * mask.numel())
        assert weights[name][mask].abs().min() > weights[name][~mask].abs().max()


def test_two_of_four_inputs_remain() -> None:
    weight = torch.randn(6, 8, 3, 3)
    mask = find_two_of_four(weight)
    kept = (weight * mask).numpy()
    for output, row, column, four in np.ndindex(6, 3, 3, 2):
        values = weight[output, 4 * four : 4 * four + 4, row, column].abs().numpy()
        remaining = kept[output, 4 * four : 4 * four + 4, row, column]
        assert sorted(np.flatnonzero(remaining)) == sorted(np.argsort(values)[2:])
    assert find_two_of_four(torch.randn(5, 3, 3, 3)).all()  # three inputs are not a multiple


def test_a_sparse_weight_is_stored_as_what_remains_and_gaps() -> None:
    """Negative weights, too, become +0.0: the bits of -0.0 are not zero."""
    torch.manual_seed(0)
    weight = torch.randn(200, 100)
    (mask,) = choose_masks({"w": weight}, SparsifyOptions(), 0.1).values()
    stored = encode_tensors({"w": MaskedWeight(mask)(weight).numpy()})
    assert stored.keys() == {TABLE, DATA}
    assert 4 * 2000 < len(stored[DATA]) < 4 * 2000 + 20_000 / 8 * entropy([0.1, 0.9], base=2) * 1.06


def test_the_density_falls_as_zhu_and_gupta_have_it() -> None:
    plan = plan_densities(SparsifyOptions(density=0.2), 6)
    assert [epochs for _, epochs in plan] == [1, 1, 1, 3]
    assert [density for density, _ in plan] == pytest.approx(
        [0.2 + 0.8 * (1 - t) ** 3 for t in (0.25, 0.5, 0.75, 1)]
    )
    assert plan_densities(SparsifyOptions(gradual=False), 6) == [(0.2, 6)]
    assert plan_densities(SparsifyOptions(), 0) == [(0.2, 0)]


# --- which weights are shared -------------------------------------------------------------------


def test_a_value_gets_the_gradients_of_all_its_weights() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(20, 10)
    shared, x = SharedWeight(layer.weight.detach(), 4), torch.randn(7, 20)
    with constrain_weights(layer, {"weight": shared}):  # type: ignore[arg-type]
        assert set(dict(layer.named_parameters())) == {"bias", "parametrizations.weight.original"}
        weight = layer.weight.detach().clone().requires_grad_()
        layer(x).square().sum().backward()
        gradient = layer.get_parameter("parametrizations.weight.original").grad
        assert gradient is not None
        (x @ weight.T + layer.bias).square().sum().backward()
        assert weight.grad is not None
        expected = [float(weight.grad[shared.indices == k].sum()) for k in range(4)]
        assert gradient.tolist() == pytest.approx(expected, rel=1e-4)
    assert set(dict(layer.named_parameters())) == {"bias", "weight"}
    assert torch.equal(layer.weight, weight)
    assert len(layer.weight.unique()) == 4


def test_zeros_stay_zero_and_the_entropy_is_that_of_the_indices() -> None:
    weight = torch.randn(40, 30) * (torch.rand(40, 30) < 0.3)
    shared = SharedWeight(weight, 8)
    decoded = shared(shared.right_inverse(weight))
    assert torch.equal(decoded == 0, weight == 0)
    assert len(decoded.unique()) == 9
    counts = decoded.unique(return_counts=True)[1].numpy()
    assert shared.entropy() == pytest.approx(entropy(counts, base=2))


# --- the whole way ------------------------------------------------------------------------------


def test_both_give_a_small_file_with_exactly_the_evaluated_weights(
    run: Path, rows: Manifest, tmp_path: Path
) -> None:
    plan = ShrinkPlan.from_text("sparsify(density=0.3, epochs=2), share(bits=3, epochs=1)")
    out = tmp_path / "small"
    result = shrink(run / "bundle", rows, plan, max_drop=100, out=out, latency_seconds=0.2)
    assert result.accepted
    assert result.verification is not None
    assert result.verification.ok
    sizes, size = result.receipt["sizes"], (out / WEIGHTS_FILE).stat().st_size
    assert sizes["default"] == "torch-f32"
    assert sizes["programs"] == {}
    assert sizes["ships"] - sizes["input"][1] == size
    assert size < 0.5 * (run / "bundle" / WEIGHTS_FILE).stat().st_size
    bundle = Bundle.load(out)
    assert bundle.compact
    weights = list_weights(restore_single_network(bundle, "the test"))
    total, remaining = result.receipt["steps"][0]["facts"]["weights"]
    assert total == sum(weight.numel() for weight in weights.values())
    assert remaining == sum(int((weight != 0).sum()) for weight in weights.values())
    assert remaining == pytest.approx(0.3 * total, abs=1)
    shared = [weight for weight in weights.values() if weight.count_nonzero() > 16]
    assert len(shared) == result.receipt["steps"][1]["facts"]["layers"]
    assert all(len(weight.unique()) <= 9 for weight in shared)


def test_a_closed_form_is_compressed_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for export in ("export_onnx", "export_openvino"):
        monkeypatch.setattr(remade, export, lambda folder: None)
    _, rows = text_run(tmp_path / "001", "logistic", count=60, steps=20)
    out = tmp_path / "new"
    plan = ShrinkPlan.from_text("sparsify(density=0.5), share(bits=4)")
    steps = run_steps(plan, work_on(tmp_path / "001/bundle", rows, out))
    assert all("recovery" not in step["facts"] for step in steps)
    sizes = [(folder / WEIGHTS_FILE).stat().st_size for folder in (tmp_path / "001/bundle", out)]
    assert sizes[1] < sizes[0]
    (answer,) = open_model(out).predict([rows.rows_with_role("val").list_sources()[0]])
    assert answer.fields["label"]  # type: ignore[attr-defined]
