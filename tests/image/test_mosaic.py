"""Mosaic: boxes surround in the window what they surrounded in the four pictures."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from skipstone.core.errors import UsageError
from skipstone.data.samples import Batch, collate_samples
from skipstone.image.augment_factory import make_image_mixing
from skipstone.image.augment_options import ImageAugmentOptions
from skipstone.image.contact_sheet import make_sheet_rows
from tests.image.test_augment_boxes import RAGGED, SIDE, make_sample


class BoxTask:
    name, ragged, spatial_targets = "boxes", RAGGED, frozenset({"boxes"})


class PlainTask:
    name, ragged, spatial_targets = "plain", frozenset[str](), frozenset[str]()


def make_mosaic(strength: float, task: Any = BoxTask) -> Any:
    return make_image_mixing(ImageAugmentOptions(augment="none", mosaic=strength), task())


def mix(strength: float, epoch: int, dtype: torch.dtype = torch.uint8) -> tuple[Batch, Batch]:
    batch = collate_samples([make_sample(number) for number in range(6)], RAGGED)
    batch.x["image"] = batch.x["image"].to(dtype)
    return batch, make_mosaic(strength)(batch, seed=1, epoch=epoch, step=2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.uint16])
def test_boxes_surround_what_they_surrounded(dtype: torch.dtype) -> None:
    checked = 0
    for epoch in range(8):
        _, mixed = mix(1.0, epoch, dtype)
        assert mixed.x["image"].dtype == dtype
        assert mixed.x["image"].shape == (6, SIDE, SIDE, 3)
        for row in range(6):
            boxes, labels = mixed.y["boxes"][row], mixed.y["labels"][row]
            assert len(boxes) == len(labels)
            for (x1, y1, x2, y2), code in zip(boxes.tolist(), labels.tolist(), strict=True):
                assert 0 <= x1 < x2 <= SIDE
                assert 0 <= y1 < y2 <= SIDE
                inner = mixed.x["image"][row, round(y1) : round(y2), round(x1) : round(x2), code]
                outer = mixed.x["image"][
                    row,
                    max(0, round(y1) - 2) : round(y2) + 2,
                    max(0, round(x1) - 2) : round(x2) + 2,
                    code,
                ]
                assert inner.float().mean() > 200
                bright = (outer.float() > 127).sum()
                assert bright <= 1.1 * (x2 - x1 + 1) * (y2 - y1 + 1)
                checked += 1
    assert checked > 100


def test_it_is_keyed_and_drawn_with_its_probability() -> None:
    batch, first = mix(0.5, 3)
    _, again = mix(0.5, 3)
    _, other = mix(0.5, 4)
    assert torch.equal(first.x["image"], again.x["image"])
    assert not torch.equal(first.x["image"], other.x["image"])
    same = [torch.equal(first.x["image"][row], batch.x["image"][row]) for row in range(6)]
    assert any(same)
    assert not all(same)
    assert torch.equal(first.y["boxes"][same.index(True)], batch.y["boxes"][same.index(True)])


def test_it_is_off_by_default_and_refused_without_boxes() -> None:
    for preset in ("none", "light", "standard", "strong"):
        assert make_image_mixing(ImageAugmentOptions(augment=preset), BoxTask()) is None  # type: ignore[arg-type]
    named = make_image_mixing(ImageAugmentOptions(augment="flip,mosaic"), BoxTask())  # type: ignore[arg-type]
    assert named is not None
    with pytest.raises(UsageError, match="'plain' has no boxes"):
        make_mosaic(1.0, PlainTask)


def test_a_contact_sheet_draws_the_moved_boxes() -> None:
    seen: list[int] = []

    def draw(picture: Any, y: Any) -> Any:
        seen.append(len(y["boxes"]))
        return picture

    samples = [(make_sample(number), str(number)) for number in range(4)]
    rows = make_sheet_rows(samples, None, seed=0, draw_targets=draw, mix=make_mosaic(1.0))
    assert len(rows) == 4
    assert max(seen) > 2
