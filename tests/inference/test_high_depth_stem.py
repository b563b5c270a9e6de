"""Pixels of 16 bits stay exact through the first layer, whatever the rest is computed in.

The network's stem is blind to anything smooth and its norm is tuned to the low byte, so that what
rounds pixels or the stem's weights to 8 bits changes answers by as much as they differ.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.compression.options import Int8Options
from skipstone.compression.steps.int8 import quantize_model
from skipstone.core.registry import TASKS
from skipstone.image.input import make_image_input
from skipstone.image.options import ImageOptions
from skipstone.inference.backends.libraries import import_openvino
from skipstone.inference.backends.onnx_backend import OnnxRuntime
from skipstone.inference.backends.openvino_backend import OpenVinoRuntime
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.export.onnx_export import onnx_bytes
from skipstone.inference.export.openvino_export import (
    list_stem_names,
    mark_stem_precise,
    serialize_ir,
)
from skipstone.models.build import build_network
from skipstone.models.network import Network

SIDE, CHANNELS = 32, 5


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """High byte: one number a picture. Low byte: noise."""
    rng = np.random.default_rng(0)
    high = rng.integers(0, 256, (8, 1, 1, 1))
    return (high * 256 + rng.integers(0, 256, (8, SIDE, SIDE, CHANNELS))).astype(np.uint16)


@pytest.fixture(scope="module")
def network(pixels: np.ndarray) -> Network:
    return sensitive("resnet20", pixels)


def sensitive(
    name: str, pixels: np.ndarray, rounds: int = 40, detail: list[float] | None = None
) -> Network:
    several = {"low": 0.0, "middle": 3e4, "high": 6e4, "mean": 32768.0, "std": 19000.0}
    state = {key: [value] * CHANNELS for key, value in several.items()}
    state |= {"dtype": "uint16", "channels": CHANNELS, "typical_size": [SIDE, SIDE]}  # type: ignore[dict-item]
    state["detail"] = detail
    input = make_image_input(ImageOptions(size=SIDE, normalize="fit"), state)
    task = TASKS["classify"].load()(TASKS["classify"].make_options(), {"classes": ["a", "b"]})
    torch.manual_seed(0)
    options = {"width": 0.5, "depth": 0.34} if name == "resnet20" else {}
    made = build_network(
        Arch(ComponentConfig(name, {"options": options}), task.default_head()), input
    )
    stem = next(module for module in made.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        stem.weight -= stem.weight.mean((2, 3), keepdim=True)
        for _ in range(rounds):  # running statistics of the low byte's noise
            made.train()({"image": torch.from_numpy(pixels.astype(np.float32))})
    return made.eval()


def far(found: np.ndarray, wanted: np.ndarray) -> float:
    """Greatest difference over the answers' own spread."""
    return float(np.abs(found - wanted).max() / wanted.std())


def test_autocast_leaves_the_stem_alone(network: Network, pixels: np.ndarray) -> None:
    arrays = {"image": pixels}
    wanted = TorchRuntime(network).run(arrays)["logits"]
    low = far(TorchRuntime(network, precision="bf16").run(arrays)["logits"], wanted)
    stem = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    exact = type(stem)
    stem.__class__ = exact.__mro__[2]  # what it was before
    try:
        without = far(TorchRuntime(network, precision="bf16").run(arrays)["logits"], wanted)
    finally:
        stem.__class__ = exact
    assert low < without / 3, (low, without)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "timm/mobilenetv3_small_050", "resnet18"])
def test_any_first_convolution_gives_the_bits_of_float32(name: str, pixels: np.ndarray) -> None:
    network = sensitive(name, pixels, rounds=0)
    stem = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    seen = []
    stem.register_forward_hook(lambda layer, given, output: seen.append(output))
    for precision in ("f32", "bf16"):
        TorchRuntime(network, precision=precision).run({"image": pixels[:2]})
    assert seen[1].dtype == torch.float32
    assert torch.equal(*seen)


def test_in_training_gradients_reach_it(network: Network, pixels: np.ndarray) -> None:
    stem = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    with torch.autocast("cpu", torch.bfloat16):
        outputs = network({"image": torch.from_numpy(pixels.astype(np.float32))})
    outputs["logits"].float().square().sum().backward()
    assert stem.weight.grad is not None
    assert stem.weight.grad.dtype == torch.float32
    assert float(stem.weight.grad.abs().sum()) > 0
    network.zero_grad()


def test_programs_keep_it_in_float32(network: Network, pixels: np.ndarray) -> None:
    wanted = TorchRuntime(network).run({"image": pixels})["logits"]
    example = {"image": torch.from_numpy(pixels[:2])}
    onnx = onnx_bytes(network, example, {})
    assert far(OnnxRuntime(onnx).run({"image": pixels})["logits"], wanted) < 2e-3
    core = import_openvino().Core()
    xml, weights = serialize_ir(core.read_model(onnx, b""))
    marked = mark_stem_precise(xml)

    def run(program: bytes, precision: str) -> tuple[float, dict[str, int]]:
        runtime = OpenVinoRuntime(program, weights, precision=precision)
        found = runtime.run({"image": pixels})["logits"]
        return far(found, wanted), runtime.runtime_info()["layers"]

    assert run(marked, "f32")[0] < 2e-3
    (plain, _), (exact, layers) = run(xml, "bf16"), run(marked, "bf16")
    if "bf16" not in layers:
        pytest.skip("this processor has no bfloat16: OpenVINO computes in float32 anyway")
    assert layers["f32"] == 1
    assert exact < plain / 2, (exact, plain)


def test_int8_leaves_it_in_float32_too(network: Network, pixels: np.ndarray) -> None:
    example = {"image": torch.from_numpy(pixels[:2])}
    onnx = onnx_bytes(network, example, {})
    model = import_openvino().Core().read_model(onnx, b"")
    names = list_stem_names(model)
    assert sum("Conv" in name for name in names) == 1
    samples = [{"image": picture} for picture in pixels]
    xml, weights = quantize_model(model, samples, Int8Options(samples=8), exact_stem=True)
    for floats in ("bf16", "f32"):
        runtime = OpenVinoRuntime(xml, weights, precision="int8", floats=floats)
        runtime.run({"image": pixels[:1]})
        layers = runtime.runtime_info()["layers"]
        assert layers["f32"] == 1, layers
        assert layers["int8"] > 1


def test_faint_detail_stays_exact_too(pixels: np.ndarray) -> None:
    """Its way to the first convolution is longer: pooling, sums, tanh."""
    network = sensitive("resnet20", pixels, detail=[60.0] * CHANNELS)
    wanted = TorchRuntime(network).run({"image": pixels})["logits"]
    onnx = onnx_bytes(network, {"image": torch.from_numpy(pixels[:2])}, {})
    assert far(OnnxRuntime(onnx).run({"image": pixels})["logits"], wanted) < 2e-3
    xml, weights = serialize_ir(import_openvino().Core().read_model(onnx, b""))
    errors = {}
    for name, program in (("plain", xml), ("exact", mark_stem_precise(xml))):
        runtime = OpenVinoRuntime(program, weights, precision="bf16")
        errors[name] = far(runtime.run({"image": pixels})["logits"], wanted)
        one = runtime.run({"image": pixels[:1]})["logits"]
        if name == "exact":
            assert float(np.abs(one - wanted[:1]).max()) < 0.1 * wanted.std()
    if "bf16" not in runtime.runtime_info()["layers"]:
        pytest.skip("this processor has no bfloat16: OpenVINO computes in float32 anyway")
    assert errors["exact"] < errors["plain"] / 5, errors
