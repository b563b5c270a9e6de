"""Every decoder the whole way through the product: exported, with its answer inside the graph, on
files of several sizes, quantized, verified. Tiny networks that have learnt a little."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.agreement import measure_agreement
from skipstone.compression.shrink_plan import ShrinkPlan, StepContext, run_steps
from skipstone.core.registry import BACKBONES, HEADS
from skipstone.data.manifest import Manifest
from skipstone.data.read import read_manifest
from skipstone.evaluation.parity import run_checks, verify
from skipstone.inference.backends.onnx_backend import OnnxRuntime
from skipstone.inference.export.onnx_export import export_argmax, export_onnx
from skipstone.inference.export.openvino_export import export_openvino
from skipstone.inference.golden_outputs import store_goldens
from skipstone.inference.open_model import open_model
from skipstone.inference.programs import read_programs
from skipstone.inference.restore import restore_network
from skipstone.tasks.segmentation.crf import CrfOptions
from tests.mask_data import write_scenes
from tests.small_bundles import mask_bundle, taught_masks

pytestmark = pytest.mark.proof

#: What makes a head small, and each of its kinds where an option makes another network of it.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "fcn": [{"fcn_stride": stride} for stride in (8, 16, 32)],
    "unet": [{"decoder_channels": (24, 16, 16, 8, 8)}],
    "lraspp": [{"lraspp_channels": 16}],
    "deeplabv3": [{"aspp_channels": 16}],
    "deeplabv3plus": [{"aspp_channels": 16}],
}
KINDS = [
    pytest.param(entry.name, options, id="-".join([entry.name, *map(str, options.values())]))
    for entry in HEADS
    if entry.output_level == "pixel"
    for options in OPTIONS.get(entry.name, [{}])
]


def backbone_for(head: str) -> tuple[str, dict[str, Any]]:
    """Maps of strides up to 32 (a residual network), or what the head needs."""
    needs = set(HEADS[head].requires)
    if needs:
        found = next(e.name for e in BACKBONES if needs <= set(e.provides))
        return found, {"width": 0.125}
    return "resnet18", {"width": 0.125, "depth": 0.5}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Three pictures, each of a size of its own."""
    root = tmp_path_factory.mktemp("scenes")
    for number, size in enumerate([(61, 75), (96, 40), (128, 192)]):
        write_scenes(root, 1, start=20 + number, height=size[0], width=size[1])
    return read_manifest(root)


@pytest.mark.parametrize(("head", "options"), KINDS)
def test_a_decoder_ships(
    head: str, options: dict[str, Any], scenes: Manifest, tmp_path: Path
) -> None:
    backbone, shape = backbone_for(head)
    size = (128, 192) if "fcn_stride" in options else (64, 96)  # coarse ones need room
    bundle = mask_bundle(head, backbone, shape=shape, **options)
    bundle = taught_masks(bundle, size=size, steps=80 if "fcn_stride" in options else 40)
    if "fcn_stride" in options:
        decoder: Any = restore_network(bundle).head
        assert len(decoder.scores) == {8: 2, 16: 1, 32: 0}[options["fcn_stride"]]
        assert all(bool(score.weight.any()) for score in decoder.scores)  # it has learnt
    folder = tmp_path / "bundle"
    bundle.save(folder)
    for step in (store_goldens, export_onnx, export_openvino):
        step(folder)
    assert {"onnxruntime-f32", "openvino-f32"} <= set(read_programs(folder).by_name)
    right = miou(folder, "torch", scenes)
    assert right > 0.25

    # its answer inside the graph, at sizes that were never traced
    inside, plain = OnnxRuntime(export_argmax(folder)), open_model(folder, "onnxruntime")
    seen: set[int] = set()
    for source in scenes.list_sources():
        arrays = {name: value[None] for name, value in plain.encode(source)[0].items()}
        mask, logits = inside.run(arrays)["mask"], plain.runtime.run(arrays)["logits"]
        assert mask.dtype == np.uint8
        assert (mask == logits.argmax(1)).mean() > 0.999
        seen |= set(mask.ravel().tolist())
    assert len(seen) > 1

    # on files of several sizes: its float32 programs answer as the network
    for row in measure_agreement(folder, scenes.list_sources(), precisions=["f32"]):
        assert row.n == 3
        assert row.share is not None
        assert row.share <= 1e-3, row
        if not HEADS[head].discontinuous:
            assert not row.problem, row

    small = tmp_path / "small"
    small.mkdir()
    work = StepContext(folder, small, scenes, scenes.take_rows([]))
    (fact,) = run_steps(ShrinkPlan.from_text("int8(samples=8)"), work)
    assert fact["facts"]["layers"].get("int8", 0) > 0
    assert miou(small, "auto", scenes) > right - 0.1
    rows = {row["name"]: row for row in run_checks(small)}
    assert all(row["ok"] for row in rows.values()), rows
    assert rows["openvino-int8"]["share"] < 0.2


def test_a_model_with_a_crf_ships(tmp_path: Path) -> None:
    """Every program's answers are refined alike."""
    bundle = taught_masks(mask_bundle(lraspp_channels=16))
    bundle.post = {"temperature": 1.0, "crf": dataclasses.asdict(CrfOptions())}
    bundle.save(tmp_path / "bundle")
    for step in (store_goldens, export_onnx, export_openvino):
        step(tmp_path / "bundle")
    verification = verify(tmp_path / "bundle")
    assert verification.ok, verification.problems
    assert export_argmax(tmp_path / "bundle")


def miou(folder: Path, runtime: str, scenes: Manifest) -> float:
    predictor = open_model(folder, runtime)
    records = predictor.evaluate(scenes).records
    assert len(records) == len(scenes)
    return predictor.task.compute_metrics(records)["miou"]
