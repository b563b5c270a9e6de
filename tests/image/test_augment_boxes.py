"""Augmentation moves boxes with the picture, and drops those that leave it."""

from __future__ import annotations

import pytest
import torch
from torchvision import tv_tensors

from skipstone.data.samples import Sample, SampleMeta
from skipstone.image.augment import MIN_VISIBLE, ImageAugmentation, drop_hidden_boxes

RAGGED = frozenset({"boxes", "labels"})
SIDE = 64


def make_boxes(values: list[list[float]]) -> tv_tensors.BoundingBoxes:
    return tv_tensors.BoundingBoxes(
        torch.tensor(values).reshape(-1, 4), format="XYXY", canvas_size=(SIDE, SIDE)
    )


def make_sample(number: int) -> Sample:
    """Two bright rectangles on black, of different colours."""
    generator = torch.Generator().manual_seed(number)
    picture = torch.zeros(SIDE, SIDE, 3, dtype=torch.uint8)
    boxes = []
    for left in (2, 36):
        x, y = (int(torch.randint(0, 8, (), generator=generator)) for _ in range(2))
        box = [left + x, 10 + 3 * y, left + x + 16, 10 + 3 * y + 12]
        picture[box[1] : box[3], box[0] : box[2], len(boxes)] = 255
        boxes.append([float(value) for value in box])
    y_ = {"boxes": make_boxes(boxes), "labels": torch.tensor([0, 1])}
    return Sample({"image": picture}, y_, SampleMeta(number))


@pytest.mark.parametrize(
    "strengths", [{"flip": 1.0}, {"scale": 2.0}, {"crop": 0.3}, {"shift": 0.2}]
)
def test_boxes_surround_what_they_surrounded(strengths: dict[str, float]) -> None:
    augment = ImageAugmentation(strengths, ragged=RAGGED)
    checked = 0
    for number in range(40):
        sample = augment(make_sample(number), seed=0, epoch=number)
        assert sample.y is not None
        boxes, labels = sample.y["boxes"], sample.y["labels"]
        assert len(boxes) == len(labels) >= 1
        for box, code in zip(boxes.tolist(), labels.tolist(), strict=True):
            rows, columns = torch.nonzero(
                (sample.x["image"][..., code] > 128) & (sample.x["image"][..., 1 - code] < 100),
                as_tuple=True,
            )
            edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            if strengths.get("shift") and (0 in edges or SIDE in edges):
                continue  # edge pixels are repeated
            assert box == pytest.approx([float(edge) for edge in edges], abs=1.6)
            checked += 1
    assert checked > 30


def test_hidden_boxes_go_with_their_labels() -> None:
    inside = 10.0
    hidden = SIDE - inside * (MIN_VISIBLE - 0.1)
    visible = SIDE - inside * (MIN_VISIBLE + 0.1)
    boxes = make_boxes([[hidden, 0, hidden + 10, 9], [visible, 0, visible + 10, 9]])
    y = drop_hidden_boxes({"boxes": boxes, "labels": torch.tensor([3, 4])}, RAGGED)
    assert y["labels"].tolist() == [4]
    assert y["boxes"].tolist() == [[visible, 0, SIDE, 9]]


def test_no_boxes_are_fine() -> None:
    augment = ImageAugmentation({"flip": 0.5, "scale": 2.0}, ragged=RAGGED)
    y = {"boxes": make_boxes([]), "labels": torch.zeros(0, dtype=torch.int64)}
    sample = Sample({"image": torch.zeros(SIDE, SIDE, 3, dtype=torch.uint8)}, y, SampleMeta(0))
    augmented = augment(sample, seed=0, epoch=0)
    assert augmented.y is not None
    assert augmented.y["boxes"].shape == (0, 4)
