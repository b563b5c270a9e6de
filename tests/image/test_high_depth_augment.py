"""Augmentation beyond photos: the same geometry, and of colour only what means the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from skipstone.core.errors import UsageError
from skipstone.data.samples import Sample, SampleMeta
from skipstone.data.sources import Inline
from skipstone.image.augment import ImageAugmentation
from skipstone.image.augment_factory import make_image_augmentation
from skipstone.image.augment_options import MIXING, OPERATIONS, ImageAugmentOptions
from skipstone.image.high_depth_augment import _PHOTO_ONLY, HighDepthAugmentation
from skipstone.image.input import ImageInput
from skipstone.image.options import ImageOptions
from tests.high_depth_pictures import npy

SIDE = 72
RNG = np.random.default_rng(0)
#: Dim: all pixels between 1,000 and 1,040 of 65,535.
PIXELS = RNG.integers(1000, 1041, (SIDE, SIDE, 5)).astype(np.uint16)


def deep_input(array: np.ndarray = PIXELS) -> ImageInput:
    return ImageInput(ImageOptions(size=SIDE)).fit([Inline(npy(array))])


def sample(array: np.ndarray = PIXELS, number: int = 0) -> Sample:
    return Sample({"image": torch.from_numpy(array.astype(np.float32))}, None, SampleMeta(number))


def made(input: ImageInput, **options: object) -> ImageAugmentation:
    augment = make_image_augmentation(ImageAugmentOptions(**options), input)  # type: ignore[arg-type]
    assert isinstance(augment, HighDepthAugmentation)
    return augment


IN_PLACE = [name for name in OPERATIONS if name not in (*MIXING, "scale")]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("name", [n for n in IN_PLACE if n not in _PHOTO_ONLY])
def test_every_operation_takes_every_depth(name: str, dtype: type) -> None:
    array = (PIXELS % 200).astype(dtype)
    augment = made(deep_input(array), augment=name)
    before = sample(array)
    views = [augment(before, seed=1, epoch=epoch).x["image"] for epoch in range(12)]
    assert {view.dtype for view in views} == {torch.float32}
    assert {tuple(view.shape) for view in views} == {(SIDE, SIDE, 5)}
    assert all(bool(torch.isfinite(view).all()) for view in views)
    assert any(not torch.equal(view, before.x["image"]) for view in views)
    again = augment(before, seed=1, epoch=3).x["image"]
    assert torch.equal(again, views[3])


def test_what_lies_beyond_is_neither_black_nor_the_grey_of_photos() -> None:
    """A turned or erased dim picture stays dim: 128 or 0 would be the brightest edge in it."""
    for name in ("rotate", "erase", "shift", "crop", "blur"):
        augment = made(deep_input(), augment=name)
        for epoch in range(8):
            view = augment(sample(), seed=0, epoch=epoch).x["image"]
            assert float(view.min()) > 990, name
            assert float(view.max()) < 1050, name


def test_gain_is_above_the_dark_level_and_contrast_about_the_mean() -> None:
    augment = made(deep_input(), augment="color", color=0.5)
    spreads = []
    for epoch in range(20):
        view = augment(sample(), seed=0, epoch=epoch).x["image"]
        assert 980 < float(view.mean()) < 1060
        spreads.append(float(view.std()))
    assert max(spreads) > 1.3 * PIXELS.std()
    assert min(spreads) < 0.75 * PIXELS.std()
    bright = np.full((SIDE, SIDE, 1), 65535, np.uint16)
    bright[0] = 0
    views = [
        made(deep_input(bright), augment="color", color=0.9)(sample(bright), seed=0, epoch=epoch)
        for epoch in range(20)
    ]
    assert all(float(view.x["image"].min()) >= 0 for view in views)
    assert all(float(view.x["image"].max()) <= 65535 for view in views)


def test_a_mirrored_picture_is_torchvisions() -> None:
    augment = made(deep_input(), augment="flip", flip=1.0)
    found = augment(sample(), seed=0, epoch=0).x["image"]
    wanted = F.horizontal_flip(sample().x["image"].permute(2, 0, 1)).permute(1, 2, 0)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("name", ["brightness", "contrast", "noise", "translate", "pad_crop"])
def test_operations_of_any_sensor_change_pictures_within_their_range(name: str) -> None:
    augment = made(deep_input(), augment=name)
    before = sample().x["image"].float()
    views = [augment(sample(), seed=0, epoch=epoch).x["image"] for epoch in range(8)]
    assert sum(not torch.equal(view, before) for view in views) >= 6
    assert all(view.dtype == torch.float32 for view in views)
    assert all(float(view.min()) >= 0 and float(view.max()) <= 65535 for view in views)


@pytest.mark.parametrize(
    "options",
    [{"augment": "randaugment"}, {"trivialaugment": 0.5}, {"hue": 0.1}, {"augment": "saturation"}],
)
def test_what_needs_256_steps_is_refused_by_name(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="the 256 steps") as caught:
        make_image_augmentation(ImageAugmentOptions(**options), deep_input())  # type: ignore[arg-type]
    assert "--augment strong" in str(caught.value.hint)


def test_the_strong_preset_does_without_it() -> None:
    augment = made(deep_input(), augment="strong")
    photos = ImageInput(ImageOptions(size=SIDE, channels=3))
    assert len(augment.operations) == len(made_for_photos(photos).operations) + 1
    view = augment(sample(), seed=0, epoch=0)
    assert view.x["image"].dtype == torch.float32


def made_for_photos(input: ImageInput) -> ImageAugmentation:
    augment = make_image_augmentation(ImageAugmentOptions(augment="strong"), input)
    assert augment is not None
    assert not isinstance(augment, HighDepthAugmentation)
    return augment


def test_a_users_own_callable_is_given_float32() -> None:
    augment = made(
        deep_input(), augment="none", custom="tests.image.test_high_depth_augment:add_one"
    )
    found = augment(sample(), seed=0, epoch=0).x["image"]
    assert torch.equal(found, sample().x["image"] + 1)


def add_one(image: torch.Tensor) -> torch.Tensor:
    assert image.dtype == torch.float32
    return image + 1


def test_what_is_said_is_what_is_done() -> None:
    options = ImageAugmentOptions(augment="strong")
    augment = made(deep_input(), augment="strong")
    said = options.describe_operations(SIDE, used_strengths=augment.strengths)
    assert "trivialaugment" not in said
    assert "rotate 15" in said
    assert "cutmix 1" in said
