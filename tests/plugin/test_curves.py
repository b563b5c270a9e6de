"""A reader, an input, a backbone and a task that an installed package brings go the whole way, and
no file of skipstone knows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.pipelines.command import ask
from tests.plugin import skipstone_curves
from tests.plugin.installed import install, skipstone
from tests.plugin.skipstone_curves import parts


class Chain(NamedTuple):
    home: Path
    audit: Any
    train: Any
    predict: Any
    evaluate: Any
    shrink: Any
    small_verify: Any
    small_predict: Any
    small_evaluate: Any
    export: Any
    models: Any
    other_backbone: Any
    other_augmentation: Any
    err: str


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    home = tmp_path_factory.mktemp("curves")
    plugin = install(skipstone_curves, home / "site")
    parts.write_curves(home / "data", 24)
    (home / "bad.txt").write_text("1 2 three")
    train = ["train", "data", "--model", "curvenet", "--hidden", 8, "--epochs", 8, "--lr", 0.02]
    train += ["--optimizer", "adamw", "--batch-size", 8, "--threads", 1, "--precision", "f32"]
    answers, err = skipstone(
        ["audit", "data"],
        [*train, "--near", 0],
        ["predict", "runs/001", "data/slow-1.txt", "bad.txt"],
        ["evaluate", "runs/001", "data"],
        ["shrink", "runs/001", "--max-drop", 10, "--out", "small"],
        ["verify", "small"],
        ["predict", "small", "data/slow-1.txt", "data/fast-1.txt"],
        ["evaluate", "small", "data"],
        ["export", "small", "--to", "openvino"],
        ["models", "curvenet"],
        ["train", "data", "--model", "resnet20"],
        ["train", "data", "--model", "curvenet", "--flip", "0.5"],
        path=plugin,
        cwd=home,
    )
    return Chain(home, *answers, err)


def test_audit(chain: Chain) -> None:
    code, value = chain.audit
    assert code == 0, (value, chain.err)
    assert value["counts"]["rows"] == 72


def test_train(chain: Chain) -> None:
    code, value = chain.train
    assert code == 0, (value, chain.err)
    assert value["verified"] is True
    assert list(value["metrics"]) == ["near", "accuracy", "levels_off"]
    assert value["metrics"]["accuracy"]["value"] > 0.8
    assert value["metrics"]["near"] == value["metrics"]["accuracy"]  # --near 0 is the task's own


def test_predict(chain: Chain) -> None:
    code, value = chain.predict
    assert code == 1
    good, bad = value["predictions"]
    assert good["label"] == "slow"
    assert bad == {"path": "bad.txt", "error": "bad.txt holds more than numbers."}


def test_evaluate(chain: Chain) -> None:
    code, value = chain.evaluate
    assert code == 0
    assert value["metrics"]["near"]["n"] == 72


def test_shrink(chain: Chain) -> None:
    """INT8, judged by the task's own headline; what is left verifies, answers and ships."""
    code, value = chain.shrink
    assert code == 0, (value, chain.err)
    assert value["accepted"]
    assert value["receipt"]["metric"] == "near"
    assert value["receipt"]["sizes"]["default"] == "openvino-int8"
    code, value = chain.small_verify
    assert (code, value["ok"]) == (0, True)
    assert {"torch-f32", "openvino-int8"} <= {row["name"] for row in value["rows"]}
    code, value = chain.small_predict
    assert (code, [row["label"] for row in value["predictions"]]) == (0, ["slow", "fast"])
    before, after = (
        answer[1]["metrics"]["accuracy"]["value"]
        for answer in (chain.evaluate, chain.small_evaluate)
    )
    assert after > before - 0.1
    assert {"model-int8.xml", "model-int8.bin"} <= set(chain.export[1]["files"])


def test_report(chain: Chain) -> None:
    page = (chain.home / "runs" / "001" / "report.html").read_text(encoding="utf-8")
    assert "slow &lt; faster &lt; fast" in page  # the task's own section
    assert "levels off" in page
    assert "int8" in page


def test_the_listing_names_the_package(chain: Chain) -> None:
    (row,) = chain.models[1]["models"]
    assert row["plugin"] == "skipstone-curves"


def test_the_bundle_names_the_package_and_no_import_path(chain: Chain) -> None:
    for bundle in ("runs/001/bundle", "small"):
        text = (chain.home / bundle / "bundle.json").read_text()
        names = ("curve", "curvenet", "grade")
        assert json.loads(text)["plugins"] == dict.fromkeys(names, "skipstone-curves")
        assert "skipstone_curves" not in text


def test_without_the_package_its_name_is_told(chain: Chain) -> None:
    answer = ask(
        "predict", chain.home / "runs" / "001", "x.txt"
    )  # this process has no such package
    assert answer.code == 2
    assert answer.value["error"].endswith(
        "needs the input 'curve' of the package skipstone-curves."
    )
    assert answer.value["hint"] == "Install it: pip install skipstone-curves"


def test_what_cannot_go_together_is_refused_before_a_run_is_made(chain: Chain) -> None:
    code, value = chain.other_backbone
    assert code == 2
    assert "'resnet20' takes image or spectrogram, and this input gives curve." in value["error"]
    assert "curvenet" in value["hint"]
    code, value = chain.other_augmentation
    assert code == 2
    assert "'curve'" in value["error"]
    assert [path.name for path in (chain.home / "runs").iterdir() if path.is_dir()] == ["001"]
