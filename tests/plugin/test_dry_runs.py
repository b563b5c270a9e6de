"""An input and a shrink step of other packages, each one file, go the whole way; no file of
skipstone knows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.plugin import skipstone_bands, skipstone_rounding
from tests.plugin.installed import install, skipstone


class Chain(NamedTuple):
    home: Path
    answers: list[tuple[int, Any]]
    err: str


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    home = tmp_path_factory.mktemp("bands")
    plugin = install(skipstone_bands, home / "site")
    install(skipstone_rounding, home / "site")
    skipstone_bands.write_sounds(home / "sounds", 24)
    (home / "bad.pcm").write_bytes(b"short")
    train = ["train", "sounds", "--model", "resnet20", "--width", 0.25, "--epochs", 4]
    train += ["--lr", 0.05, "--batch-size", 8, "--threads", 1, "--precision", "f32"]
    train += ["--augment", "none"]
    answers, err = skipstone(
        train,
        ["predict", "runs/001", "sounds/low/1.pcm", "bad.pcm"],
        ["export", "runs/001", "--to", "onnx"],
        ["verify", "runs/001"],
        ["shrink", "runs/001", "--plan", "round(bits=6)", "--max-drop", 50, "--out", "small"],
        ["predict", "small", "sounds/high/1.pcm"],
        path=plugin,
        cwd=home,
    )
    return Chain(home, answers, err)


def test_an_input_trains_predicts_exports_and_verifies(chain: Chain) -> None:
    trained, predicted, exported, verified = (answer for answer in chain.answers[:4])
    assert trained[0] == 0, (trained, chain.err)
    assert trained[1]["metrics"]["accuracy"]["value"] > 0.8
    assert predicted[0] == 1
    good, bad = predicted[1]["predictions"]
    assert good["label"] == "low"
    assert bad["error"] == "bad.pcm has 5 bytes, not 4096."
    assert "model.onnx" in exported[1]["files"]
    assert verified[1]["ok"]
    assert {"torch-f32", "onnxruntime-f32"} <= {row["name"] for row in verified[1]["rows"]}


def test_a_step_shrinks_what_an_input_trained(chain: Chain) -> None:
    code, shrunk = chain.answers[4]
    assert code == 0, (shrunk, chain.err)
    (step,) = shrunk["receipt"]["steps"]
    assert (step["name"], step["options"], step["facts"]) == ("round", {"bits": 6}, {"bits": 6})
    weights = load_file(chain.home / "small" / "weights.safetensors")
    value = next(value for name, value in weights.items() if name.endswith("conv1.weight"))
    fraction, _ = np.frexp(value)
    assert np.array_equal(fraction * 64, np.rint(fraction * 64))
    code, predicted = chain.answers[5]
    assert (code, predicted["predictions"][0]["label"]) == (0, "high")
    assert json.loads((chain.home / "small" / "bundle.json").read_text())["plugins"] == {
        "bands": "skipstone-bands"
    }
