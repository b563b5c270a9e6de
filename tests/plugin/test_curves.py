"""A reader, an input and a backbone that an installed package brings go through everything,
and no file of skipstone knows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.plugin.installed import install_curves, skipstone
from tests.plugin.skipstone_curves import parts


class Chain(NamedTuple):
    home: Path
    train: Any
    predict: Any
    evaluate: Any
    export: Any
    verify: Any
    models: Any
    other_backbone: Any
    other_augmentation: Any
    err: str


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    home = tmp_path_factory.mktemp("curves")
    plugin = install_curves(home / "site")
    parts.write_curves(home / "data", 30)
    (home / "bad.txt").write_text("1 2 three")
    train = ["train", "data", "--model", "curvenet", "--hidden", 8, "--epochs", 6, "--lr", 0.02]
    train += ["--optimizer", "adamw", "--batch-size", 8, "--threads", 1, "--precision", "f32"]
    answers, err = skipstone(
        train,
        ["predict", "runs/001", "data/sine-1.txt", "bad.txt"],
        ["evaluate", "runs/001", "data"],
        ["export", "runs/001", "--to", "openvino"],
        ["verify", "runs/001"],
        ["models", "curvenet"],
        ["train", "data", "--model", "resnet20"],
        ["train", "data", "--model", "curvenet", "--flip", "0.5"],
        path=plugin,
        cwd=home,
    )
    return Chain(home, *answers, err)


def test_train(chain: Chain) -> None:
    code, value = chain.train
    assert code == 0, (value, chain.err)
    assert value["verified"] is True
    assert value["metrics"]["accuracy"]["value"] > 0.8


def test_predict(chain: Chain) -> None:
    code, value = chain.predict
    assert code == 1
    good, bad = value["predictions"]
    assert good["label"] == "sine"
    assert bad == {"path": "bad.txt", "error": "bad.txt holds more than numbers."}


def test_evaluate_export_verify(chain: Chain) -> None:
    assert chain.evaluate[0] == 0
    assert chain.evaluate[1]["metrics"]["accuracy"]["n"] == 60
    assert set(chain.export[1]["files"]) == {"model.xml", "model.bin"}
    code, value = chain.verify
    assert (code, value["ok"]) == (0, True)
    assert {"torch-f32", "onnxruntime-f32", "openvino-f32"} <= {r["name"] for r in value["rows"]}


def test_the_listing_names_the_package(chain: Chain) -> None:
    (row,) = chain.models[1]["models"]
    assert row["plugin"] == "skipstone-curves"


def test_without_the_package_its_name_is_told(chain: Chain) -> None:
    run = chain.home / "runs" / "001"
    ((code, value),), _ = skipstone(["predict", run, "x.txt"], path=None, cwd=chain.home)
    assert code == 2
    assert value["error"].endswith(
        "needs the input 'curve', which the package skipstone-curves brings."
    )
    assert value["hint"] == "Install it: pip install skipstone-curves"


def test_what_cannot_go_together_is_refused_before_a_run_is_made(chain: Chain) -> None:
    code, value = chain.other_backbone
    assert code == 2
    assert "'resnet20' takes image, and this input gives curve." in value["error"]
    assert "curvenet" in value["hint"]
    code, value = chain.other_augmentation
    assert code == 2
    assert "'curve'" in value["error"]
    assert [path.name for path in (chain.home / "runs").iterdir() if path.is_dir()] == ["001"]
