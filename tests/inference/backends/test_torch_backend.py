from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from skipstone.core.errors import UsageError
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.restore import restore_input, restore_network
from tests.small_bundles import small_bundle


def _arrays(batch: int) -> dict[str, np.ndarray]:
    return restore_input(small_bundle()).make_example(batch)


def test_it_gives_the_networks_own_answers_in_float32() -> None:
    network, arrays = restore_network(small_bundle()), _arrays(4)
    with torch.no_grad():
        expected = network({"image": torch.from_numpy(arrays["image"])})["logits"].numpy()
    outputs = TorchRuntime(network).run(arrays)
    assert outputs["logits"].dtype == np.float32
    np.testing.assert_allclose(outputs["logits"], expected, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_near_and_not_the_same() -> None:
    network, arrays = restore_network(small_bundle()), _arrays(4)
    exact = TorchRuntime(network).run(arrays)["logits"]
    rough = TorchRuntime(network, precision="bf16").run(arrays)["logits"]
    assert rough.dtype == np.float32
    gap = np.abs(rough - exact).max() / np.abs(exact).max()
    assert 1e-4 < gap < 0.05
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_a_network_in_training_stays_as_it_was() -> None:
    network = restore_network(small_bundle()).train()
    frozen = network.get_submodule("backbone.bn1").eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    TorchRuntime(network).run(_arrays(4))
    assert network.training
    assert network.head.training
    assert not frozen.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_network_answers_where_it_is() -> None:
    """Training asks each epoch, and goes on with the same network on its own device."""
    network = nn.Linear(2, 2, device="meta")
    assert TorchRuntime(network).runtime_info()["device"] == "meta"
    assert network.weight.device.type == "meta"


def test_once_bound_nothing_is_prepared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed beside programs that only compute must only compute."""
    network, arrays = restore_network(small_bundle()), _arrays(1)
    runtime = TorchRuntime(network, threads=1)
    expected, call = runtime.run(arrays), runtime.bind_inputs(arrays)
    for name in ("eval", "modules"):
        monkeypatch.setattr(network, name, lambda: pytest.fail("the network is walked"))
    monkeypatch.setattr(torch, "from_numpy", lambda array: pytest.fail("arrays are converted"))
    for _ in range(2):
        np.testing.assert_array_equal(call()["logits"], expected["logits"])


def test_threads_are_those_asked_for_while_it_runs_only() -> None:
    class Counting(nn.Module):
        def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"threads": torch.tensor([torch.get_num_threads()])}

    before = torch.get_num_threads()
    runtime = TorchRuntime(Counting(), threads=before + 1)
    assert runtime.run({})["threads"].tolist() == [before + 1]
    assert torch.get_num_threads() == before


def test_counts_stay_integers() -> None:
    class Count(nn.Module):
        def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"count": x["image"].flatten(1).long().sum(1)}

    assert TorchRuntime(Count()).run(_arrays(2))["count"].dtype == np.int64


def test_another_precision_is_refused() -> None:
    with pytest.raises(UsageError, match="f32 or bf16, not in 'int4'"):
        TorchRuntime(nn.Identity(), precision="int4")
