from __future__ import annotations

from pathlib import Path

import pytest

from skipstone.core.errors import UsageError
from skipstone.inference.open_model import open_model
from tests.small_bundles import write_small


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("auto", "torch-f32"),
        ("torch", "torch-f32"),
        ("torch-bf16", "torch-bf16"),
        ("onnxruntime", "onnxruntime-f32"),
        ("openvino", "openvino-f32"),
        ("openvino-bf16", "openvino-bf16"),
    ],
)
def test_names_of_runtimes(exported: Path, asked: str, name: str) -> None:
    assert open_model(exported, asked).runtime.name == name


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("openvin", "Did you mean 'openvino"),
        ("onnxruntime-bf16", "does not run in 'bf16'. Allowed: f32"),
        (
            "openvino-int8",
            "no program for openvino-int8; it has: onnxruntime-f32.*skipstone shrink",
        ),
    ],
)
def test_a_runtime_that_is_not_there(exported: Path, asked: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        open_model(exported, asked)


def test_a_bundle_without_programs_says_how_to_make_one(tmp_path: Path) -> None:
    folder = write_small(tmp_path / "bundle", goldens=False)
    with pytest.raises(UsageError, match=r"it has: none\. .*export MODEL --to onnx"):
        open_model(folder, "onnxruntime")
