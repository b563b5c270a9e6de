"""A detector from an installed package: ragged targets, a loss in its head, several outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from skipstone.inference.open_model import open_model
from tests.pipelines.command import ask
from tests.plugin import skipstone_boxes
from tests.plugin.installed import install, registered, skipstone
from tests.plugin.skipstone_boxes.files import write_boxes

pytestmark = pytest.mark.proof  # minutes


class Chain(NamedTuple):
    home: Path
    train: Any
    predict: Any
    evaluate: Any
    export: Any
    shrink: Any
    onnx: Any
    err: str


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    home = tmp_path_factory.mktemp("boxes")
    install(skipstone_boxes, home / "site")
    write_boxes(home / "data", 32)
    train = ["train", "data", "--reader", "boxes", "--model", "resnet20", "--width", 0.5]
    train += ["--depth", 0.34, "--size", 48, "--augment", "none", "--epochs", 16, "--lr", 0.01]
    train += ["--optimizer", "adamw", "--batch-size", 8, "--threads", 1, "--precision", "f32"]
    answers, err = skipstone(
        train,
        ["predict", "runs/001", "data/pictures/0.png"],
        ["evaluate", "runs", "data", "--reader", "boxes"],
        ["export", "runs/001", "--to", "openvino"],
        ["shrink", "runs/001", "--max-drop", 100],
        ["export", "runs/001"],
        path=home / "site",
        cwd=home,
    )
    return Chain(home, *answers, err)


def test_train(chain: Chain) -> None:
    code, value = chain.train
    assert code == 0, (value, chain.err)
    assert value["verified"] is True
    assert set(value["metrics"]) == {"f1", "mean_iou"}
    assert value["metrics"]["mean_iou"]["value"] > 0.1


def test_predict(chain: Chain) -> None:
    code, value = chain.predict
    assert code == 0
    (row,) = value["predictions"]
    assert len(row["label"]) == len(row["boxes"]) == len(row["probability"])


def test_evaluate(chain: Chain) -> None:
    code, value = chain.evaluate
    assert code == 0
    assert value["metrics"]["f1"]["n"] == 32


def test_every_program_is_verified(chain: Chain) -> None:
    """As `train` has done it, in a fresh process."""
    story = json.loads((chain.home / "runs" / "001" / "report.json").read_text())["story"]
    found = story["verification"]
    assert found["ok"]
    names = [row["name"] for row in found["rows"] if "max_difference" in row]
    assert names == ["torch-f32", "onnxruntime-f32", "openvino-f32", "openvino-bf16"]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_program_gives_every_output(chain: Chain, runtime: str) -> None:
    with registered(skipstone_boxes):
        predictor = open_model(chain.home / "runs" / "001", runtime)
        outputs = predictor.runtime.run(predictor.input.make_example(2))
    shapes = {name: value.shape for name, value in outputs.items()}
    assert shapes == {"boxes": (2, 144, 4), "scores": (2, 144, 2)}


def test_export(chain: Chain) -> None:
    assert chain.export[0] == 0
    code, value = chain.onnx
    assert (code, set(value["files"])) == (0, {"model.onnx"})
    assert "the task 'boxes' has no stand-alone form" in chain.err


def test_shrink(chain: Chain) -> None:
    code, value = chain.shrink
    assert code == 0, value
    assert value["receipt"]["metric"] == "f1"


def test_the_bundle_names_the_package_and_no_import_path(chain: Chain) -> None:
    text = (chain.home / "runs/001/bundle/bundle.json").read_text()
    assert json.loads(text)["plugins"] == {"boxes": "skipstone-boxes", "grid": "skipstone-boxes"}
    assert "skipstone_boxes" not in text


def test_without_the_package_its_name_is_told(chain: Chain) -> None:
    answer = ask(
        "verify", chain.home / "runs" / "001"
    )  # in this process, which has no such package
    assert answer.code == 2
    told = "needs the task 'boxes' of the package skipstone-boxes"
    assert told in answer.value["error"]
    assert answer.value["hint"] == "Install it: pip install skipstone-boxes"
