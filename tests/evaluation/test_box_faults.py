"""INT8 detectors that lost their boxes: `verify` and `shrink` refuse them. And tiles of a photo."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from skipstone.bundle.files import read_file
from skipstone.compression.apply_plan import shrink
from skipstone.compression.shrink_plan import ShrinkPlan, StepContext, run_steps
from skipstone.compression.steps import int8
from skipstone.core.errors import Refusal, UsageError
from skipstone.data.manifest import Manifest
from skipstone.data.read import read_manifest
from skipstone.evaluation.parity import run_checks
from skipstone.inference.backends.libraries import import_openvino
from skipstone.inference.export.onnx_export import export_onnx
from skipstone.inference.export.openvino_export import export_openvino, serialize_ir
from skipstone.inference.golden_outputs import store_goldens
from skipstone.inference.open_model import open_model
from skipstone.inference.predictor import Failure
from skipstone.inference.tiled_predictor import TiledPredictor
from skipstone.tasks.detection.metrics import box_overlaps
from skipstone.workflows.answer import predict
from tests.box_bundles import box_bundle, taught_boxes
from tests.box_data import make_scenes, write_voc
from tests.small_bundles import replace_file, small_bundle

pytestmark = pytest.mark.proof

#: A range that 8 bits get if one far anchor sets it: 256 steps of 16 pixels.
FAR = 2048.0


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Pictures as train rows and as val rows."""
    manifest = read_manifest(write_voc(tmp_path_factory.mktemp("scenes"), make_scenes(12)))
    return manifest.with_column("role", ["train", "val"] * 6)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with float programs."""
    folder = tmp_path_factory.mktemp("shipped") / "bundle"
    taught_boxes(box_bundle("pyramid", pyramid_channels=32, branch_layers=1)).save(folder)
    for step in (store_goldens, export_onnx, export_openvino):
        step(folder)
    return folder


def sabotage(kind: str, xml: bytes, weights: bytes) -> tuple[bytes, bytes]:
    """The program with its outputs as careless INT8 gives them."""
    library = import_openvino()
    from openvino import opset13 as ops

    model = library.Core().read_model(xml, weights)
    ends = {
        name: result
        for result in model.get_results()
        for name in result.input_value(0).get_names() & {"boxes", "scores"}
    }
    boxes, scores = (ends[name].input_value(0) for name in ("boxes", "scores"))

    def round_to_8_bits(value: Any) -> Any:
        low, high = (ops.constant(np.float32(sign * FAR)) for sign in (-1, 1))
        return ops.fake_quantize(value, low, high, low, high, 256).output(0)

    if kind == "concatenated outputs":
        joined = round_to_8_bits(ops.concat([boxes, scores], 2).output(0))
        parts = ops.variadic_split(joined, 2, np.array([4, 2], np.int64)).outputs()
        changed = dict(zip(("boxes", "scores"), parts, strict=True))
    elif kind == "quantized decoding":
        changed = {"boxes": round_to_8_bits(boxes)}
    else:
        changed = {"scores": ops.multiply(scores, ops.constant(np.float32(0))).output(0)}
    for name, value in changed.items():
        ends[name].input_value(0).set_names(set())
        value.set_names({name})
        ends[name].input(0).replace_source_output(value)
    model.validate_nodes_and_infer_types()
    return serialize_ir(model)


SABOTAGES = ("concatenated outputs", "quantized decoding", "all scores 0")


@pytest.fixture(scope="module")
def small(shipped: Path, scenes: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle with an INT8 program."""
    folder = tmp_path_factory.mktemp("small") / "bundle"
    folder.mkdir()
    work = StepContext(shipped, folder, scenes, scenes.take_rows([]))
    run_steps(ShrinkPlan.from_text("int8(samples=8)"), work)
    return folder


@pytest.mark.parametrize("kind", SABOTAGES)
def test_verify_refuses_a_ruined_int8_program(kind: str, small: Path, tmp_path: Path) -> None:
    """By the boxes that are lost, whatever its own stored outputs say."""
    folder = tmp_path / "bundle"
    shutil.copytree(small, folder)
    green = {row["name"]: row for row in run_checks(folder)}
    assert green[int8.NAME]["ok"]
    xml, weights = (read_file(folder, int8.FILES[role]) for role in ("model", "weights"))
    ruined = sabotage(kind, xml, weights)
    for role, content in zip(("model", "weights"), ruined, strict=True):
        replace_file(folder, int8.FILES[role], content)
    red = {row["name"]: row for row in run_checks(folder) if not row["ok"]}
    assert set(red) == {int8.NAME}
    assert "pixels or boxes changed" in red[int8.NAME]["problem"]


@pytest.mark.parametrize("kind", SABOTAGES)
def test_shrink_refuses_a_ruined_int8_program(
    kind: str, shipped: Path, scenes: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantize: Callable[..., tuple[bytes, bytes]] = int8.quantize_model

    def quantize_badly(*values: Any, **options: Any) -> tuple[bytes, bytes]:
        return sabotage(kind, *quantize(*values, **options))

    monkeypatch.setattr(int8, "quantize_model", quantize_badly)
    plan, out = ShrinkPlan.from_text("int8(samples=4)"), tmp_path / "out"
    with pytest.raises(Refusal, match="pixels or boxes changed"):
        shrink(shipped, scenes, plan, max_drop=100.0, out=out)
    assert not out.exists()


def test_tiles_find_small_objects_in_a_large_photo(shipped: Path, tmp_path: Path) -> None:
    """A canvas of 4 x 3 pictures: stretched to 64 pixels, its objects are too small to find."""
    scenes = list(make_scenes(12, seed=0).values())
    rows = [np.concatenate([s.picture for s in scenes[at : at + 4]], axis=1) for at in (0, 4, 8)]
    canvas = tmp_path / "canvas.png"
    Image.fromarray(np.concatenate(rows)).save(canvas)
    labels, boxes = [], []
    for at, scene in enumerate(scenes):
        for label, box in scene.objects:
            labels.append(label)
            boxes.append(np.array(box) + np.array([at % 4, at // 4] * 2) * 64)

    def count_hits(tiles: int | None) -> int:
        (row,) = predict(shipped, [canvas], tiles=tiles).to_json()["predictions"]
        assert row["size"] == [256, 192]
        found = np.array(row["box"], np.float64).reshape(-1, 4)
        overlap = box_overlaps(found, np.array(boxes), np.zeros(len(boxes), bool))
        same = np.array(row["label"])[:, None] == np.array(labels)
        return int(((overlap > 0.5) & same).any(axis=0).sum())

    assert count_hits(64) > 0.7 * len(boxes)
    assert count_hits(None) < 0.3 * len(boxes)
    assert count_hits(256) == count_hits(None)  # the photo is one tile


def test_tiles_that_cannot_be_read_or_merged(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    tiled = TiledPredictor(open_model(shipped), 64)
    good = np.zeros((100, 90, 3), np.uint8)
    failure, answer = tiled.predict([tmp_path / "bad.png", good])
    assert isinstance(failure, Failure)
    assert "bad.png" in failure.name
    assert failure.index == 0
    assert not isinstance(answer, Failure)
    assert answer.meta.id == 1
    assert answer.meta.size == (100, 90)
    with pytest.raises(UsageError, match="allowed: 32 or more"):
        TiledPredictor(open_model(shipped), 31)
    small_bundle().save(tmp_path / "classify")
    with pytest.raises(UsageError, match="'classify'"):
        TiledPredictor(open_model(tmp_path / "classify"), 64)
