"""Every detector the whole way through the product: exported, evaluated by each program, quantized,
verified. Tiny networks that have learnt a little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skipstone.compression.shrink_plan import ShrinkPlan, StepContext, run_steps
from skipstone.core.registry import HEADS
from skipstone.data.manifest import Manifest
from skipstone.data.read import read_manifest
from skipstone.evaluation.parity import run_checks
from skipstone.inference.export.onnx_export import export_onnx
from skipstone.inference.export.openvino_export import (
    export_openvino,
    list_tail_names,
    load_onnx_as_openvino,
)
from skipstone.inference.golden_outputs import store_goldens
from skipstone.inference.open_model import open_model
from skipstone.inference.programs import read_programs
from tests.box_bundles import box_bundle, taught_boxes
from tests.box_data import make_scenes, write_voc

#: What makes a head small.
OPTIONS: dict[str, dict[str, Any]] = {
    "pyramid": {"pyramid_channels": 32, "branch_layers": 1},
    "ssd": {"ssd_maps": 3},
    "yolo": {"pyramid_channels": 32, "branch_layers": 1},
    "fast-rcnn": {"region_channels": 32, "region_hidden": 32},
    "faster-rcnn": {"pyramid_channels": 32, "region_hidden": 32, "max_regions": 40},
}
HEAD_NAMES = [entry.name for entry in HEADS if entry.output_level == "box"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    root = tmp_path_factory.mktemp("scenes")
    return read_manifest(write_voc(root, make_scenes(12)))


@pytest.mark.proof
@pytest.mark.parametrize("head", HEAD_NAMES)
def test_a_detector_ships(head: str, scenes: Manifest, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    taught_boxes(box_bundle(head, **OPTIONS.get(head, {}))).save(folder)
    for step in (store_goldens, export_onnx, export_openvino):
        step(folder)
    assert {"onnxruntime-f32", "openvino-f32"} <= set(read_programs(folder).by_name)
    graph = load_onnx_as_openvino(folder)
    exact, decoding = set(list_tail_names(graph)), ("Exp", "Softmax", "TopK", "NonMaxSuppression")
    found = [op for op in graph.get_ordered_ops() if op.get_type_name() in decoding]
    assert found
    assert {op.get_friendly_name() for op in found} <= exact
    right = map50(folder, "torch", scenes)
    assert right > 0.5
    for runtime in ("onnxruntime", "openvino-f32"):
        assert map50(folder, runtime, scenes) == pytest.approx(right, abs=1e-3)

    small = tmp_path / "small"
    small.mkdir()
    work = StepContext(folder, small, scenes, scenes.take_rows([]))
    (fact,) = run_steps(ShrinkPlan.from_text("int8(samples=8)"), work)
    assert fact["facts"]["layers"].get("int8", 0) > 0
    assert map50(small, "auto", scenes) > right - 0.1
    rows = {row["name"]: row for row in run_checks(small)}
    assert all(row["ok"] for row in rows.values()), rows


def map50(folder: Path, runtime: str, scenes: Manifest) -> float:
    predictor = open_model(folder, runtime)
    return predictor.task.compute_metrics(predictor.evaluate(scenes).records)["map50"]
