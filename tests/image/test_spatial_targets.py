"""Targets that lie on pictures move with them, whatever is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from skipstone.core.errors import UsageError
from skipstone.data.mask_files import IGNORE_INDEX
from skipstone.data.samples import Sample, SampleMeta
from skipstone.image.augment import ImageAugmentation
from skipstone.image.augment_factory import make_image_augmentation, make_image_mixing
from skipstone.image.augment_options import ImageAugmentOptions
from skipstone.image.input import ImageInput
from skipstone.image.options import ImageOptions
from tests.auditing.picture_rows import FakeTask

KEPT = ImageInput(
    ImageOptions(size=256, resize="keep", channels=3), {"channels": 3, "typical_size": [90, 120]}
)


class PlacedTask(FakeTask):
    spatial_targets = frozenset({"mask"})


def sample(height: int = 80, width: int = 100, id: int = 0) -> Sample:
    """A picture whose red channel is its mask, 0, 100, 200 in large blocks: a shift shows."""
    y, x = np.mgrid[0:height, 0:width]
    mask = ((x // 32 + y // 32) % 3).astype(np.uint8)
    picture = np.stack([mask * 100, mask * 0 + 9, mask * 0 + 9], -1).astype(np.uint8)
    target = tv_tensors.Mask(torch.from_numpy(mask.astype(np.int64)))
    meta = SampleMeta(id, "a", size=(height, width), to_source=(1.0, 0, 0, 0, 1.0, 0))
    return Sample({"image": torch.from_numpy(picture)}, {"mask": target}, meta)


@pytest.mark.parametrize("words", ["flip,vflip", "scale", "crop", "shift", "rotate", "flip,scale"])
def test_a_mask_follows_its_picture(words: str) -> None:
    options = ImageAugmentOptions(augment=words, **({"shift": 0.2} if "shift" in words else {}))
    augment = make_image_augmentation(options, KEPT, PlacedTask())  # type: ignore[arg-type]
    assert augment is not None
    moved = 0
    for epoch in range(6):
        seen = augment(sample(), seed=1, epoch=epoch)
        assert seen.y is not None
        red, mask = seen.x["image"][..., 0].float(), seen.y["mask"]
        assert mask.shape == red.shape == (96, 128)  # the frame, whatever the picture's size
        assert mask.dtype == torch.int64
        counted = mask != IGNORE_INDEX
        assert set(mask.unique().tolist()) <= {0, 1, 2, IGNORE_INDEX}
        # but for blurred edges, the picture still says what the mask says
        right = ((red / 100).round() == mask)[counted].float().mean()
        assert right > 0.9, (epoch, right)
        moved += not torch.equal(mask[:80, :100], sample().y["mask"])  # type: ignore[index]
        assert seen.meta.to_source is None
    assert moved > 3


def test_what_lies_beyond_counts_for_nothing() -> None:
    """A small picture on a large frame: grey around it, and IGNORE in its mask."""
    augment = make_image_augmentation(ImageAugmentOptions(augment="none"), KEPT, PlacedTask())  # type: ignore[arg-type]
    assert augment is not None
    seen = augment(sample(40, 50), seed=0, epoch=0)
    assert seen.y is not None
    outside = seen.y["mask"] == IGNORE_INDEX
    assert int((~outside).sum()) == 40 * 50
    assert (seen.x["image"][outside] == 128).all()
    turned = ImageAugmentation({"rotate": 45.0})(sample(), seed=3, epoch=0)
    assert turned.y is not None
    assert int((turned.y["mask"] == IGNORE_INDEX).sum()) > 50


def test_scale_keeps_the_shape_of_things() -> None:
    """A square stays a square: both sides are zoomed alike."""
    mask = np.zeros((96, 128), np.int64)
    mask[30:60, 50:80] = 1
    target = tv_tensors.Mask(torch.from_numpy(mask))
    picture = torch.zeros(96, 128, 3, dtype=torch.uint8)
    sides = []
    for epoch in range(40):
        given = Sample({"image": picture}, {"mask": target}, SampleMeta(0))
        seen = ImageAugmentation({"scale": 2.0})(given, seed=0, epoch=epoch)
        assert seen.y is not None
        found = torch.nonzero(seen.y["mask"] == 1)
        height, width = (
            (found.max(0).values - found.min(0).values + 1).tolist() if len(found) else (0, 0)
        )
        if len(found) and found.min() > 0 and (found.max(0).values < torch.tensor([95, 127])).all():
            assert abs(height - width) <= 2
            sides.append(height)
    assert len(sides) > 10
    assert min(sides) < 22
    assert max(sides) > 42
    assert min(sides) >= 14
    assert max(sides) <= 61


def test_what_would_leave_a_mask_behind_is_refused() -> None:
    task = PlacedTask()
    for name in ("randaugment", "trivialaugment"):
        with pytest.raises(UsageError, match="without its mask or boxes"):
            make_image_augmentation(ImageAugmentOptions(augment=name), KEPT, task)  # type: ignore[arg-type]
    for name in ("mixup", "cutmix"):
        with pytest.raises(UsageError, match="targets lie on the pictures"):
            make_image_mixing(ImageAugmentOptions(augment=name), task)  # type: ignore[arg-type]
    for preset in ("none", "light", "standard", "strong"):
        options = ImageAugmentOptions(augment=preset)
        assert make_image_mixing(options, task) is None  # type: ignore[arg-type]
        assert make_image_augmentation(options, KEPT, task) is not None  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"scale is 0\.5"):
        ImageAugmentOptions(scale=0.5)


def test_a_zoomed_mask_lies_on_its_picture_to_the_pixel() -> None:
    """Nothing is moved by half a pixel: both sides of every edge err alike."""
    mask = np.zeros((64, 64), np.int64)
    mask[20:40, 24:44] = 1
    picture = torch.from_numpy((mask * 255).astype(np.uint8))[..., None].repeat(1, 1, 3)
    offsets = []
    for epoch in range(60):
        given = Sample(
            {"image": picture}, {"mask": tv_tensors.Mask(torch.from_numpy(mask))}, SampleMeta(0)
        )
        seen = ImageAugmentation({"scale": 2.0})(given, seed=0, epoch=epoch)
        assert seen.y is not None
        bright = seen.x["image"][..., 0].float() * (seen.y["mask"] != IGNORE_INDEX) / 255
        bright[(seen.x["image"] == 128).all(-1)] = 0
        shown = (seen.y["mask"] == 1).float()
        if shown[0].any() or shown[-1].any() or shown[:, 0].any() or shown[:, -1].any():
            continue  # cut by the border
        if shown.sum() < 50:
            continue
        x = torch.arange(64.0)
        offsets.append(
            (
                (bright.sum(0) * x).sum() / bright.sum() - (shown.sum(0) * x).sum() / shown.sum()
            ).item()
        )
    assert len(offsets) > 15
    assert abs(float(np.mean(offsets))) < 0.05
