"""YOLO's decoding, assigner and losses, against hand examples and a slow reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou, generalized_box_iou_loss

from skipstone.models.box_losses import make_anchors
from skipstone.models.heads.options import YoloOptions
from skipstone.models.heads.yolo_head import YoloHead, assign_sim_ota, decode_cells
from skipstone.models.losses import Targets

CHANNELS, STRIDES = (4, 8, 12, 16, 20), (2, 4, 8, 16, 32)


def make_head(classes: int = 3) -> YoloHead:
    torch.manual_seed(0)
    options = YoloOptions(pyramid_channels=16, branch_layers=1)
    return YoloHead(options, channels=CHANNELS, strides=STRIDES, classes=classes)


def make_features(size: tuple[int, int], batch: int = 2) -> tuple[Tensor, ...]:
    return tuple(
        torch.randn(batch, channels, -(-size[0] // stride), -(-size[1] // stride))
        for channels, stride in zip(CHANNELS, STRIDES, strict=True)
    )


@pytest.mark.parametrize("size", [(64, 64), (75, 130)])
def test_outputs_have_a_box_per_cell_of_three_grids(size: tuple[int, int]) -> None:
    head = make_head().eval()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = head(make_features(size), size)
    count = sum(-(-size[0] // s) * -(-size[1] // s) for s in (8, 16, 32))
    assert outputs["boxes"].shape == (2, count, 4)
    assert outputs["scores"].shape == (2, count, 3)
    assert {value.dtype for value in outputs.values()} == {torch.float32}
    assert ((outputs["scores"] >= 0) & (outputs["scores"] <= 1)).all()


def test_boxes_decode_as_by_hand() -> None:
    points, strides = make_anchors([torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 1)], [8, 16])
    offsets = torch.tensor(
        [[[0.0, 0.0, 0.0, 0.0], [0.5, -0.25, math.log(2), math.log(3)], [-1, 0, 0, 99]]]
    )
    boxes = decode_cells(offsets, points, strides)[0]
    assert boxes[0].tolist() == [0, 0, 8, 8]  # the cell itself
    # centre 12 + 4, 4 - 2; sides 16, 24
    assert boxes[1].tolist() == pytest.approx([8, -10, 24, 14])
    assert boxes[2, 0::2].tolist() == [-16, 0]
    assert bool(torch.isfinite(boxes).all())


def assign_slowly(
    scores: np.ndarray,
    boxes: list[list[float]],
    cells: list[list[float]],
    objects: list[list[float]],
    labels: list[int],
) -> list[int]:
    """SimOTA, one cell and one object at a time; scores are those of class and object together."""
    costs: list[dict[int, float]] = []
    takes: list[list[int]] = []
    for (x1, y1, x2, y2), label in zip(objects, labels, strict=True):
        cost, overlaps = {}, []
        for number, (x, y, stride) in enumerate(cells):
            inside = x1 < x < x2 and y1 < y < y2
            radius = 2.5 * stride
            central = abs(x - (x1 + x2) / 2) < radius and abs(y - (y1 + y2) / 2) < radius
            if not inside and not central:
                continue
            left, top, right, bottom = boxes[number]
            common = max(min(x2, right) - max(x1, left), 0) * max(min(y2, bottom) - max(y1, top), 0)
            union = (x2 - x1) * (y2 - y1) + (right - left) * (bottom - top) - common
            entropy = sum(
                -math.log(p if code == label else 1 - p)
                for code, p in enumerate(np.sqrt(scores[number]).tolist())
            )
            far = 0.0 if inside and central else 1e5
            cost[number] = entropy - 3 * math.log(common / union + 1e-8) + far
            overlaps.append(common / union)
        wanted = max(1, int(sum(sorted(overlaps, reverse=True)[:10])))
        takes.append(sorted(cost, key=lambda number: cost[number])[:wanted])
        costs.append(cost)
    answer = []
    for number in range(len(cells)):
        owners = [which for which, taken in enumerate(takes) if number in taken]
        answer.append(min(owners, key=lambda which: costs[which][number]) if owners else -1)
    return answer


@pytest.mark.parametrize("seed", range(5))
def test_the_assigner_equals_a_slow_one(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    maps = [torch.zeros(1, 1, 64 // stride, 64 // stride) for stride in (4, 8, 16)]
    points, strides = (value.double() for value in make_anchors(maps, [4, 8, 16]))
    corner = draw(6, 2) * 45
    objects = torch.cat([corner, corner + 1 + draw(6, 2) * 30], dim=1)  # they overlap
    labels = (draw(6) * 3).long()
    near = objects[(draw(len(points)) * 6).long()] + 6 * draw(len(points), 4) - 3
    boxes = torch.cat([torch.minimum(near[:, :2], near[:, 2:] - 1), near[:, 2:]], dim=1)
    logits, objectness = 4 * draw(len(points), 3) - 2, 4 * draw(len(points)) - 2
    assigned, overlap = assign_sim_ota(logits, objectness, boxes, points, strides, objects, labels)
    scores = (logits.float().sigmoid() * objectness.float().sigmoid()[:, None]).numpy()
    cells = torch.cat([points, strides], dim=1).tolist()
    expected = assign_slowly(scores, boxes.tolist(), cells, objects.tolist(), labels.tolist())
    assert assigned.tolist() == expected
    assert len(set(expected)) >= 5
    taken = assigned >= 0
    iou = box_iou(boxes, objects)[taken, assigned[taken]]
    torch.testing.assert_close(overlap[taken], iou)


def test_an_object_smaller_than_a_cell_has_a_cell() -> None:
    points, strides = make_anchors([torch.zeros(1, 1, 8, 8)], [8])
    objects = torch.tensor([[15.5, 15.5, 16.5, 16.5]])  # between four cells
    boxes = torch.cat([points - 4, points + 4], dim=1)
    assigned, _ = assign_sim_ota(
        *(torch.zeros(64, 1), torch.zeros(64), boxes), points, strides, objects, torch.tensor([0])
    )
    assert (assigned == 0).sum() == 1


def test_losses_equal_their_formulas() -> None:
    head = make_head(classes=2)
    raw = head.training_outputs(make_features((64, 64), batch=1), (64, 64))
    goal, label = torch.tensor([[8.0, 8.0, 40.0, 44.0]]), torch.tensor([1])
    y: Targets = {"boxes": [goal], "labels": [label], "ignored": [_none(1)]}
    losses = head.criterion()(raw, y)
    logits, presence, boxes = raw["logits"][0], raw["objectness"][0], raw["boxes"][0]
    assigned, overlap = assign_sim_ota(
        logits, presence, boxes, raw["points"], raw["strides"], goal, label
    )
    cells = assigned == 0
    assert cells.any()
    wanted = torch.stack([torch.zeros_like(overlap), overlap], dim=1)[cells]
    entropy = F.binary_cross_entropy(logits[cells].sigmoid(), wanted, reduction="sum")
    torch.testing.assert_close(losses["score"], entropy)
    present = F.binary_cross_entropy(presence.sigmoid(), cells.float(), reduction="sum")
    torch.testing.assert_close(losses["objectness"], present)
    giou = generalized_box_iou_loss(boxes[cells], goal.expand(int(cells.sum()), 4), reduction="sum")
    torch.testing.assert_close(losses["box"], 5 * giou)


def test_cells_on_ignored_objects_are_not_trained() -> None:
    head = make_head(classes=1)
    raw = head.training_outputs(make_features((64, 64), batch=1), (64, 64))
    raw["objectness"] = raw["objectness"].detach().requires_grad_()
    box = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    y: Targets = {"boxes": [box], "labels": [torch.tensor([0])], "ignored": [~_none(1)]}
    losses = head.criterion()(raw, y)
    assert losses["box"] == losses["score"] == 0
    losses["objectness"].backward()
    gradient = raw["objectness"].grad
    assert gradient is not None
    inside = (raw["points"] < 16).all(dim=1)
    assert torch.equal(gradient[0] == 0, inside)


def test_learning_finds_the_objects_and_a_student_follows() -> None:
    head, size = make_head(classes=2), (64, 64)
    features = make_features(size)
    goals = [torch.tensor([[8.0, 8.0, 40.0, 40.0]]), torch.tensor([[4.0, 4.0, 60.0, 60.0]])]
    codes = [torch.tensor([0]), torch.tensor([1])]
    y: Targets = {"boxes": goals, "labels": codes, "ignored": [_none(1), _none(1)]}
    criterion = head.criterion()

    def learn(network: YoloHead, teacher: dict[str, Tensor] | None) -> None:
        optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
        for _ in range(60):
            raw = network.training_outputs(features, size)
            losses = (
                criterion(raw, y)
                if teacher is None
                else criterion.distillation_loss(raw, teacher, y)
            )
            optimizer.zero_grad()
            (sum(losses.values()) / criterion.weight(y)).backward()
            optimizer.step()

    def check(network: YoloHead) -> None:
        outputs = network.eval()(features, size)
        for row, (goal, code) in enumerate(zip(goals, codes, strict=True)):
            best = int(outputs["scores"][row, :, code].argmax())
            assert outputs["scores"][row, best].argmax() == code
            assert box_iou(outputs["boxes"][row, best][None], goal) > 0.6

    learn(head, None)
    check(head)
    with torch.no_grad():
        teacher = head.training_outputs(features, size)
    torch.manual_seed(7)
    student = YoloHead(
        YoloOptions(pyramid_channels=16, branch_layers=1),
        channels=CHANNELS,
        strides=STRIDES,
        classes=2,
    )
    learn(student, teacher)
    check(student)


def _none(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.bool)
