"""The parts of the test's own detector; the chain tests run it through everything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from skipstone.core.errors import DataError
from skipstone.core.registry import HEADS, TASKS
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.data.samples import Sample, SampleMeta, collate_samples
from skipstone.evaluation.intervals import metric_intervals
from tests.plugin import skipstone_boxes
from tests.plugin.installed import registered
from tests.plugin.skipstone_boxes import BoxesOptions
from tests.plugin.skipstone_boxes.detector import Boxes, GridHead
from tests.plugin.skipstone_boxes.files import write_boxes

SCHEMA = {"classes": ["disc", "square"]}


def test_reader_and_ragged_targets(tmp_path: Path) -> None:
    root = write_boxes(tmp_path / "data", 4)
    with registered(skipstone_boxes):
        manifest = read_manifest(root, ReadOptions(reader="boxes"))
        task = TASKS["boxes"].load()(TASKS["boxes"].make_options(), manifest.schema)
    assert dict(manifest.schema) == SCHEMA
    assert manifest.task == "boxes"
    targets = manifest.column_values("target")
    assert all(0 <= value <= 1 for boxes in targets for item in boxes for value in item["box"])
    samples = [
        Sample({"image": torch.zeros(1)}, task.encode_target(value), SampleMeta(row))
        for row, value in enumerate(targets)
    ]
    batch = collate_samples(samples, task.ragged)
    assert [tuple(boxes.shape) for boxes in batch.y["boxes"]] == [(len(t), 4) for t in targets]
    with pytest.raises(DataError, match="no list of boxes"):
        task.encode_target([{"label": "zebra", "box": [0, 0, 1, 1]}])


def test_right_boxes_score_one_and_nothing_scores_nothing() -> None:
    task = Boxes(BoxesOptions(), SCHEMA)
    target = [
        {"label": "disc", "box": [0.1, 0.1, 0.4, 0.5]},
        {"label": "square", "box": [0.6, 0, 1, 1]},
    ]
    outputs = {
        "boxes": np.array([[[0.1, 0.1, 0.4, 0.5], [0.6, 0, 1, 1], [0.1, 0.1, 0.4, 0.52]]], "f4"),
        "scores": np.array([[[9, -9], [-9, 9], [4, -9]]], "f4"),
    }
    (prediction,) = task.predict(outputs, [SampleMeta(0)], {})
    assert prediction.fields["label"] == ["disc", "square"]  # the near copy is suppressed
    record = task.score_prediction(prediction, target)
    assert (record["hits"], record["answered"], record["truths"]) == (2, 2, 2)
    assert task.compute_metrics([record]) == pytest.approx({"f1": 1.0, "mean_iou": 1.0})
    swapped = {**outputs, "scores": outputs["scores"][..., ::-1].copy()}
    assert task.score_prediction(task.predict(swapped, [SampleMeta(0)], {})[0], target)["hits"] == 0
    assert task.compute_metrics([task.score_prediction(prediction, [])])["f1"] == 0
    assert json.loads(json.dumps(record)) == record


def test_head_learns_boxes(tmp_path: Path) -> None:
    """A tiny network finds them after a few steps, through the task's own records and intervals."""
    torch.manual_seed(0)
    rows = _arrays(write_boxes(tmp_path / "data", 16))
    task = Boxes(BoxesOptions(), SCHEMA)
    with registered(skipstone_boxes):
        part = task.default_head()
        args: dict[str, Any] = dict(part.args)
        head = HEADS[part.name].load()(None, channels=(32,), strides=(8,), **args["shape"])
    assert isinstance(head, GridHead)
    layers: list[nn.Module] = []
    for width in (3, 16, 32):
        layers += [nn.Conv2d(width, 32 if width > 3 else 16, 3, 2, 1), nn.ReLU()]
    body = nn.Sequential(*layers)
    x = torch.stack([pixels for pixels, _ in rows])
    targets = [target for _, target in rows]
    stacked = [task.encode_target(target) for target in targets]
    y = {key: [item[key] for item in stacked] for key in ("boxes", "labels")}
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=5e-3)

    criterion = head.criterion()

    def losses_of(y: Any) -> dict[str, torch.Tensor]:
        losses: dict[str, torch.Tensor] = criterion(head.training_outputs((body(x),), (64, 64)), y)
        return losses

    def step() -> float:
        total = sum(losses_of(y).values()) / criterion.weight(y)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        return float(total.item())

    losses = [step() for _ in range(80)]
    assert losses[-1] < 0.5 * losses[0]
    outputs = {key: value.detach().numpy() for key, value in head((body(x),), (64, 64)).items()}
    assert outputs["boxes"].shape == (16, 64, 4)
    assert outputs["scores"].shape == (16, 64, 2)
    predictions = task.predict(
        outputs, [SampleMeta(row) for row in range(16)], task.fit_postprocessing(outputs, targets)
    )
    records = [task.score_prediction(p, t) for p, t in zip(predictions, targets, strict=True)]
    found = metric_intervals(records, task)
    assert found["f1"].low <= found["f1"].value <= found["f1"].high
    assert found["f1"].value > 0.5
    empty = {"boxes": [torch.zeros(0, 4)] * 16, "labels": [torch.zeros(0, dtype=torch.int64)] * 16}
    assert all(value.isfinite() for value in losses_of(empty).values())
    assert criterion.weight(empty) == 1


def _arrays(root: Path) -> list[tuple[torch.Tensor, Any]]:
    with registered(skipstone_boxes):
        manifest = read_manifest(root, ReadOptions(reader="boxes"))
    found = []
    for source, target in zip(
        manifest.list_sources(), manifest.column_values("target"), strict=True
    ):
        pixels = np.asarray(Image.open(source.path))
        found.append((torch.from_numpy(pixels / np.float32(255)).permute(2, 0, 1), target))
    return found


def test_difference() -> None:
    task = Boxes(BoxesOptions(), SCHEMA)
    rng = np.random.default_rng(0)
    one = {"boxes": rng.random((3, 5, 4)), "scores": rng.normal(size=(3, 5, 2))}
    same = task.compare_outputs(one, one, {})
    assert (same.max_probability, same.flips) == (0, 0)
    moved = {**one, "boxes": one["boxes"] + 0.01}
    assert task.compare_outputs(one, moved, {}).max_relative > 0.005
    flipped = {**one, "scores": -one["scores"]}
    assert task.compare_outputs(one, flipped, {}).flips == 3
