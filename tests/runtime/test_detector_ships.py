"""A head with several outputs and a task from outside the package: bundle, export, verify."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from skipstone import events
from skipstone.bundle.arch import Arch, Part
from skipstone.bundle.format import Bundle
from skipstone.errors import UsageError
from skipstone.inputs.image import ImageInput
from skipstone.inputs.options import ImageOptions
from skipstone.models.build import build_network, network_tensors
from skipstone.proof.parity import verify
from skipstone.runtime.export_openvino import export_openvino
from skipstone.runtime.goldens import store_goldens
from skipstone.runtime.open import open_model
from skipstone.runtime.standalone import write_standalone
from tests.detector import Boxes, BoxesOptions, install, registered

SCHEMA = {"classes": ["disc", "square"]}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    input = ImageInput(ImageOptions(size=32, channels=3))
    arch = Arch(
        Part("resnet20", {"options": {"width": 0.25, "depth": 0.34}}),
        Boxes(BoxesOptions(), SCHEMA).head(),
    )
    folder = tmp_path_factory.mktemp("detector") / "bundle"
    with registered():
        torch.manual_seed(0)
        network = build_network(arch, input)
        Bundle(
            arch=arch,
            input={
                "name": "image",
                "options": dataclasses.asdict(input.options),
                "state": input.state()[0],
            },
            task={"name": "boxes", "options": {}, "schema": SCHEMA},
            post={"score": 0.2},
            tensors=network_tensors(network),
        ).save(folder)
        store_goldens(folder)
        export_openvino(folder)
    return folder


def test_every_runtime_gives_every_output(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # for the process that verifies
    found = verify(shipped)
    assert found.problems == []
    names = [row["name"] for row in found.rows if "max_difference" in row]
    assert names == ["torch-f32", "onnxruntime-f32", "openvino-f32", "openvino-bf16"]
    with registered():
        predictor = open_model(shipped, "openvino")
        outputs = predictor.runtime.run(predictor.input.example(2))
    assert {name: value.shape for name, value in outputs.items()} == {
        "boxes": (2, 64, 4),
        "scores": (2, 64, 2),
    }


def test_it_has_no_stand_alone_script(shipped: Path, tmp_path: Path) -> None:
    heard: list[events.Event] = []
    with registered(), events.listen(heard.append):
        assert write_standalone(shipped, tmp_path / "out") is None
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.onnx"]
    assert "the task 'boxes' has no stand-alone form" in str(heard)


def test_without_the_plugin_it_says_what_is_missing(shipped: Path) -> None:
    with pytest.raises(UsageError, match="needs the task 'boxes'"):
        verify(shipped)
