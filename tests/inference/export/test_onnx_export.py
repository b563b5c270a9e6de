from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from skipstone.bundle.files import read_file
from skipstone.core.errors import Refusal
from skipstone.inference.backends.libraries import import_openvino
from skipstone.inference.backends.onnx_backend import OnnxRuntime
from skipstone.inference.export.onnx_export import ONNX_OPSET, _enlarge_dynamic_axes, onnx_bytes
from skipstone.inputs.base import DynamicAxis
from tests.small_bundles import CLASSES


@pytest.fixture(scope="module")
def model(exported: Path) -> onnx.ModelProto:
    return onnx.load_model_from_string(read_file(exported, "exports/onnx/model.onnx"))


def test_it_is_one_file_with_a_dynamic_batch_and_a_pinned_opset(model: onnx.ModelProto) -> None:
    (entry,) = [item for item in model.opset_import if item.domain == ""]
    assert entry.version == ONNX_OPSET
    (image,) = model.graph.input
    assert image.name == "image"
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    first, *rest = image.type.tensor_type.shape.dim
    assert first.dim_param == "batch"
    assert [dim.dim_value for dim in rest] == [24, 24, 3]
    assert not any(onnx.external_data_helper.uses_external_data(t) for t in model.graph.initializer)


def test_metadata_holds_classes_and_preprocessing(model: onnx.ModelProto) -> None:
    facts = {item.key: json.loads(item.value) for item in model.metadata_props}
    assert facts["skipstone.task"]["schema"]["classes"] == CLASSES
    assert facts["skipstone.input"]["name"] == "image"
    assert facts["skipstone.spec"]["interpolation"] == "bilinear"
    assert facts["skipstone.post"] == {"temperature": 1.5}


def test_no_trace_of_the_machine_it_was_made_on(exported: Path) -> None:
    for name in ("onnx/model.onnx", "openvino/model.xml"):
        data = read_file(exported, f"exports/{name}")
        for trace in (b".py", b"site-packages", b"/tmp", str(Path.cwd()).encode(), b'File "'):
            assert trace not in data, (name, trace)


class Several(nn.Module):
    """Two inputs, three outputs, of which one is whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.dropout = nn.Dropout(0.9)

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        y = self.dropout(self.norm(x["a"].float() + x["b"]))
        return {"z": y, "argmax": y.argmax(1), "sum": y.sum(1)}


def test_several_inputs_and_outputs_keep_their_names_in_evaluation_mode() -> None:
    generator = torch.Generator().manual_seed(0)
    example = {
        "a": torch.randint(0, 256, (2, 4), dtype=torch.uint8, generator=generator),
        "b": torch.randn(2, 4, generator=generator),
    }
    network = Several().train()
    runtime = OnnxRuntime(onnx_bytes(network, example, {}))
    arrays = {"b": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)}
    arrays["a"] = np.arange(12, dtype=np.uint8).reshape(3, 4)
    found = runtime.run(arrays)
    with torch.no_grad():
        expected = network({name: torch.from_numpy(value) for name, value in arrays.items()})
    assert list(found) == ["z", "argmax", "sum"]
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value.numpy(), rtol=1e-5, atol=1e-5)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    onnx_bytes(Several(), {"a": torch.zeros(2, 4), "b": torch.zeros(2, 4)}, {})
    assert capfd.readouterr() == ("", "")


class Alike(nn.Module):
    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"a": x["a"] * 2}


def test_an_output_named_as_an_input_is_refused() -> None:
    with pytest.raises(Refusal, match="cannot share a name: a"):
        onnx_bytes(Alike(), {"a": torch.zeros(2, 4)}, {})


class Untraceable(nn.Module):
    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"y": x["a"] * (2.0 if float(x["a"].sum()) > 0 else 3.0)}


def test_a_network_that_cannot_be_traced_is_refused() -> None:
    with pytest.raises(Refusal, match="does not export to ONNX"):
        onnx_bytes(Untraceable(), {"a": torch.ones(2, 4)}, {})


class Overwriting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.activation = nn.ReLU6(inplace=True)

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"y": self.activation(x["a"] * 2)}


def test_activations_are_traced_out_of_place_and_overwrite_again_afterwards() -> None:
    network = Overwriting()
    seen = []
    network.activation.register_forward_hook(lambda module, *_: seen.append(module.inplace))
    data = onnx_bytes(network, {"a": torch.full((2, 4), 5.0)}, {})
    assert True not in seen[1:]  # the first is the product's own look at the outputs
    assert len(seen) > 1
    assert network.activation.inplace
    assert (OnnxRuntime(data).run({"a": np.full((2, 4), 5, np.float32)})["y"] == 6).all()


def test_an_example_has_room_along_axes_of_any_size() -> None:
    """Pictures of one multiple of what sides are filled up to would be taken as the only ones."""
    free = {"image": {1: DynamicAxis("height", 32), 2: DynamicAxis("width", 32)}}
    example = {"image": torch.zeros(2, 32, 96, 3), "other": torch.zeros(2, 5)}
    found = _enlarge_dynamic_axes(example, free)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "image": (2, 64, 96, 3),
        "other": (2, 5),
    }
    assert _enlarge_dynamic_axes(example, {"other": {1: DynamicAxis("length", 5, 5)}})[
        "other"
    ].shape == (2, 5)


class PositionTable(nn.Module):
    """Adds a table, resized to the grid of the image, as vision transformers do."""

    def __init__(self, **resize: object) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 2, 5, 5))
        self.resize = resize

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        size = x["image"].shape[2:]
        table = nn.functional.interpolate(self.table * 2, size=size, **self.resize)  # type: ignore[arg-type]
        return {"y": x["image"] + table}


@pytest.mark.parametrize(
    "resize",
    [
        {"mode": "bicubic", "antialias": True},
        {"mode": "bicubic", "antialias": False},
        {"mode": "bilinear", "antialias": True},
        {"mode": "nearest"},
    ],
)
@pytest.mark.parametrize("side", [3, 7])
def test_a_resized_table_is_a_constant_that_openvino_has_too(
    resize: dict[str, object], side: int
) -> None:
    import_openvino()
    import openvino

    torch.manual_seed(0)
    network = PositionTable(**resize)
    x = torch.randn(2, 2, side, side)
    data = onnx_bytes(network, {"image": x}, {})
    nodes = onnx.load_from_string(data).graph.node
    assert [node.op_type for node in nodes] == ["Add"]
    with torch.no_grad():
        expected = network({"image": x})["y"].numpy()
    np.testing.assert_allclose(
        OnnxRuntime(data).run({"image": x.numpy()})["y"], expected, atol=1e-5
    )
    compiled = openvino.Core().compile_model(openvino.Core().read_model(data), "CPU")
    np.testing.assert_allclose(compiled([x.numpy()])[0], expected, atol=1e-5)


def test_a_resize_of_the_image_stays() -> None:
    class Enlarge(nn.Module):
        def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"y": nn.functional.interpolate(x["image"], scale_factor=2, mode="bilinear")}

    data = onnx_bytes(Enlarge(), {"image": torch.randn(2, 2, 4, 4)}, {})
    assert "Resize" in [node.op_type for node in onnx.load_from_string(data).graph.node]
