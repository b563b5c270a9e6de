"""A detector from an installed package: ragged targets, a loss in its head, several outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.detector import install, write_boxes
from tests.plugin.installed import skipstone


class Chain(NamedTuple):
    home: Path
    train: Any
    predict: Any
    evaluate: Any
    export: Any
    verify: Any
    shrink: Any
    onnx: Any
    err: str


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    home = tmp_path_factory.mktemp("boxes")
    (home / "site").mkdir()
    install(home / "site")
    write_boxes(home / "data", 32)
    train = ["train", "data", "--reader", "boxes", "--model", "resnet20", "--width", 0.5]
    train += ["--depth", 0.34, "--size", 48, "--augment", "none", "--epochs", 8, "--lr", 0.01]
    train += ["--optimizer", "adamw", "--batch-size", 8, "--threads", 1, "--precision", "f32"]
    answers, err = skipstone(
        train,
        ["predict", "runs/001", "data/pictures/0.png"],
        ["evaluate", "runs", "data", "--reader", "boxes"],
        ["export", "runs/001", "--to", "openvino"],
        ["verify", "runs/001"],
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


def test_verify(chain: Chain) -> None:
    code, value = chain.verify
    assert (code, value["ok"]) == (0, True)
    assert {"onnxruntime-f32", "openvino-bf16"} <= {row["name"] for row in value["rows"]}


def test_export(chain: Chain) -> None:
    assert chain.export[0] == 0
    code, value = chain.onnx  # without a script, as the task has no stand-alone form
    assert (code, set(value["files"])) == (0, {"model.onnx"})


def test_shrink(chain: Chain) -> None:
    code, value = chain.shrink
    assert code == 0, value
    assert value["receipt"]["metric"] == "f1"


def test_the_bundle_names_the_package_and_no_import_path(chain: Chain) -> None:
    text = (chain.home / "runs/001/bundle/bundle.json").read_text()
    assert json.loads(text)["plugins"] == {"boxes": "skipstone-boxes", "grid": "skipstone-boxes"}
    assert "skipstone_boxes" not in text


def test_without_the_package_its_name_is_told(chain: Chain) -> None:
    run = chain.home / "runs" / "001"
    ((code, value),), _ = skipstone(["verify", run], path=None, cwd=chain.home)
    assert code == 2
    assert "needs the task 'boxes', which the package skipstone-boxes brings" in value["error"]
    assert value["hint"] == "Install it: pip install skipstone-boxes"
