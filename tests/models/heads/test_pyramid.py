"""The default detector and its losses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from skipstone.models.box_losses import (
    DistributionCriterion,
    assign_task_aligned,
    decode_distances,
    make_anchors,
)
from skipstone.models.heads.options import PyramidOptions
from skipstone.models.heads.pyramid import PyramidHead
from skipstone.models.losses import Targets

CHANNELS, STRIDES = (4, 8, 12, 16, 20), (2, 4, 8, 16, 32)


def make_head(classes: int = 3) -> PyramidHead:
    torch.manual_seed(0)
    options = PyramidOptions(pyramid_channels=16, distance_bins=8)
    return PyramidHead(options, channels=CHANNELS, strides=STRIDES, classes=classes)


def make_features(size: tuple[int, int], batch: int = 2) -> tuple[Tensor, ...]:
    return tuple(
        torch.randn(batch, channels, -(-size[0] // stride), -(-size[1] // stride))
        for channels, stride in zip(CHANNELS, STRIDES, strict=True)
    )


@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_outputs_have_an_anchor_per_pixel_of_four_maps(size: tuple[int, int]) -> None:
    head = make_head().eval()
    outputs = head(make_features(size), size)
    count = sum(-(-size[0] // s) * -(-size[1] // s) for s in (8, 16, 32, 64))
    assert set(outputs) == {"boxes", "scores"}
    assert outputs["boxes"].shape == (2, count, 4)
    assert outputs["scores"].shape == (2, count, 3)
    assert ((outputs["scores"] >= 0) & (outputs["scores"] <= 1)).all()


def test_outputs_are_float32_under_autocast() -> None:
    head = make_head().eval()
    features = make_features((64, 64))
    with torch.autocast("cpu", torch.bfloat16):
        outputs = head(features, (64, 64))
    assert {value.dtype for value in outputs.values()} == {torch.float32}


def test_anchors_are_the_middles_of_pixels() -> None:
    points, strides = make_anchors([torch.zeros(1, 1, 2, 3), torch.zeros(1, 1, 1, 2)], [8, 16])
    assert points.tolist()[:4] == [[4, 4], [12, 4], [20, 4], [4, 12]]
    assert points.tolist()[6:] == [[8, 8], [24, 8]]
    assert strides[:, 0].tolist() == [8] * 6 + [16] * 2


def test_distances_are_means_of_distributions() -> None:
    logits = torch.full((1, 1, 4, 5), -50.0)
    for side, step in enumerate((1, 2, 3, 4)):
        logits[0, 0, side, step] = 0.0
    logits[0, 0, 3, 3] = 0.0  # half 3, half 4
    boxes = decode_distances(logits, torch.tensor([[20.0, 30.0]]), torch.tensor([[2.0]]))
    assert boxes[0, 0].tolist() == pytest.approx([18, 26, 26, 37])


def test_quality_focal_loss_equals_its_formula() -> None:
    """On scores alone: no object, so every target is 0."""
    logits = torch.randn(1, 21, 2)
    y = {"boxes": [torch.zeros(0, 4)], "labels": [torch.zeros(0).long()], "ignored": [_none(0)]}
    losses = DistributionCriterion()(_raw(logits), y)
    p = logits.sigmoid()
    expected = (p**2 * F.binary_cross_entropy(p, torch.zeros_like(p), reduction="none")).sum()
    torch.testing.assert_close(losses["score"], expected)
    assert losses["box"] == losses["distance"] == 0


def test_the_closest_anchors_answer_for_an_object() -> None:
    points, strides = make_anchors([torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2)], [8, 16])
    objects = torch.tensor([[0.0, 0.0, 16.0, 16.0], [14.0, 14.0, 32.0, 32.0]])
    scores = torch.full((20, 2), 0.1)
    boxes = torch.cat([points - 8, points + 8], dim=1)
    assigned, quality = assign_task_aligned(
        scores, boxes, points, strides, objects, torch.tensor([0, 1])
    )
    inside = (points < 16).all(dim=1)
    assert (assigned[inside] == 0).all()
    best = int((quality * (assigned == 0)).argmax())
    assert boxes[best].tolist() == [0, 0, 16, 16]
    assert quality[best] == pytest.approx(1.0, abs=1e-4)
    assert (quality[assigned < 0] == 0).all()


def test_a_tiny_object_has_an_anchor() -> None:
    points, strides = make_anchors([torch.zeros(1, 1, 8, 8)], [8])
    objects = torch.tensor([[15.0, 15.0, 17.0, 17.0]])  # between four anchors
    assigned, _ = assign_task_aligned(
        torch.full((64, 1), 0.1), torch.zeros(64, 4), points, strides, objects, torch.tensor([0])
    )
    assert (assigned == 0).any()


def test_ignored_objects_teach_nothing() -> None:
    logits = torch.randn(1, 21, 1, requires_grad=True)
    box = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    y = {"boxes": [box], "labels": [torch.zeros(1).long()], "ignored": [~_none(1)]}
    losses = DistributionCriterion()(_raw(logits), y)
    losses["score"].backward()
    assert logits.grad is not None
    inside = (_raw(logits)["points"] < 16).all(dim=1)
    assert (logits.grad[0, inside] == 0).all()
    assert (logits.grad[0, ~inside] != 0).all()


def test_a_perfect_box_has_no_box_loss_and_learning_lowers_the_loss() -> None:
    head = make_head(classes=2)
    size = (64, 64)
    features = make_features(size)
    goals = [torch.tensor([[8.0, 8.0, 40.0, 40.0]]), torch.tensor([[4.0, 4.0, 60.0, 60.0]])]
    y: Targets = {
        "boxes": goals,
        "labels": [torch.tensor([0]), torch.tensor([1])],
        "ignored": [_none(1), _none(1)],
    }
    criterion = head.criterion()
    optimizer = torch.optim.AdamW(head.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        total = sum(criterion(head.training_outputs(features, size), y).values())
        loss = total / criterion.weight(y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    outputs = head.eval()(features, size)
    for row, (goal, code) in enumerate(((goals[0][0], 0), (goals[1][0], 1))):
        best = int(outputs["scores"][row, :, code].argmax())
        assert outputs["scores"][row, best].argmax() == code
        assert (outputs["boxes"][row, best] - goal).abs().max() < 8


def _none(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.bool)


def _raw(logits: Tensor) -> dict[str, Tensor]:
    """Training outputs with these logits (N, 21, K) on maps of 4 x 4, 2 x 2 and 1 x 1 pixels."""
    maps = [torch.zeros(1, 1, side, side) for side in (4, 2, 1)]
    points, strides = make_anchors(maps, [8, 16, 32])
    distances = torch.zeros(*logits.shape[:2], 4, 8)
    return {"logits": logits, "distances": distances, "points": points, "strides": strides}
