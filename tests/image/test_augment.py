"""Augmentation against torchvision's transforms.v2, and its keys."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from skipstone.core.errors import UsageError
from skipstone.core.rng import border_colour, scoped_seed
from skipstone.data.samples import Sample, SampleMeta
from skipstone.image import augment as augment_module
from skipstone.image import random_policies
from skipstone.image.augment import ImageAugmentation, draw_crop_box
from skipstone.image.augment_options import MIXING, OPERATIONS, PRESETS, TINY, ImageAugmentOptions
from skipstone.image.random_policies import CHANGES
from tests.auditing.picture_rows import augment_for, make_sample

SINGLE = [name for name in OPERATIONS if name not in MIXING]


def chw(sample: Sample) -> torch.Tensor:
    return sample.x["image"].permute(2, 0, 1).contiguous()


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize(("side", "channels"), [(8, 1), (28, 1), (32, 3), (96, 3)])
def test_each_operation_alone(name: str, side: int, channels: int) -> None:
    """Same shape and type, a picture still, changed in some epochs; the input is untouched."""
    if channels == 1 and name in ("saturation", "hue"):
        with pytest.raises(
            UsageError, match=f"{name} would change nothing: these pictures are grey"
        ):
            augment_for(side, channels, augment=name)
        return
    augment = augment_for(side, channels, augment=name)
    assert augment is not None
    sample = make_sample(side, channels)
    before = sample.x["image"].clone()
    views = [augment(sample, seed=1, epoch=epoch).x["image"] for epoch in range(12)]
    for view in views:
        assert view.shape == before.shape
        assert view.dtype == torch.uint8
        assert view.is_contiguous()
    assert torch.equal(sample.x["image"], before)
    changed = sum(not torch.equal(view, before) for view in views)
    assert changed >= (1 if name in ("blur", "erase") else 3)


@pytest.mark.parametrize("preset", ["light", "standard", "strong"])
@pytest.mark.parametrize("side", [28, 96])
def test_the_key_decides_and_nothing_else(preset: str, side: int) -> None:
    augment = augment_for(side, augment=preset)
    assert augment is not None
    assert augment.is_thread_safe
    samples = [make_sample(side, number=number) for number in range(8)]
    torch.manual_seed(1)
    random.seed(1)
    forward = [augment(s, seed=5, epoch=2).x["image"] for s in samples]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1]
    backward = [augment(s, seed=5, epoch=2).x["image"] for s in reversed(samples)]
    assert all(map(torch.equal, forward, reversed(backward)))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])

    def differ(**change: int) -> bool:
        meta = replace(samples[0].meta, view=change.get("view", 0), id=change.get("id", 0))
        keys = {"seed": change.get("seed", 5)}
        base, other = samples[0], Sample(samples[0].x, samples[0].y, meta)
        return any(
            not torch.equal(
                augment(base, seed=5, epoch=e).x["image"],
                augment(other, epoch=e + change.get("epoch", 0), **keys).x["image"],
            )
            for e in range(6)
        )

    assert not differ()
    assert differ(seed=6)
    assert differ(epoch=50)
    assert differ(view=1)
    assert differ(id=9)


def test_flips_equal_v2() -> None:
    sample = make_sample()
    always = ImageAugmentation({"flip": 1.0})(sample, seed=0, epoch=0)
    assert torch.equal(chw(always), v2.RandomHorizontalFlip(p=1)(chw(sample)))
    always = ImageAugmentation({"vflip": 1.0})(sample, seed=0, epoch=0)
    assert torch.equal(chw(always), v2.RandomVerticalFlip(p=1)(chw(sample)))


@pytest.mark.parametrize("name", ["flip", "vflip"])
def test_flips_keep_their_probability(name: str) -> None:
    augment, sample = ImageAugmentation({name: 0.3}), make_sample(8)
    flipped = sum(
        not torch.equal(augment(sample, seed=0, epoch=e).x["image"], sample.x["image"])
        for e in range(1000)
    )
    assert 230 <= flipped <= 370  # 0.3 of 1000, five standard deviations


def test_crop_equals_v2_with_the_same_box(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = make_sample()
    monkeypatch.setattr(augment_module, "draw_crop_box", lambda *_: (7, 11, 60, 52))
    ours = chw(ImageAugmentation({"crop": 0.3})(sample, seed=0, epoch=0))
    reference = v2.RandomResizedCrop(96, antialias=True)
    theirs = reference.transform(chw(sample), {"top": 7, "left": 11, "height": 60, "width": 52})
    assert torch.equal(ours, theirs)


def test_crop_boxes_are_distributed_as_v2s() -> None:
    """Means of area, ratio and position over 3,000 draws, within five standard errors."""
    scale, ratio = (0.35, 1.0), (3 / 4, 4 / 3)
    rng = random.Random(0)
    ours = np.array([draw_crop_box(90, 120, scale, ratio, rng) for _ in range(3000)], float)
    transform = v2.RandomResizedCrop(10, scale=scale, ratio=ratio)
    image = torch.empty(3, 90, 120)
    with scoped_seed(0):
        drawn = [transform.make_params([image]) for _ in range(3000)]
    theirs = np.array([[d["top"], d["left"], d["height"], d["width"]] for d in drawn], float)
    for measure in (
        lambda b: b[:, 2] * b[:, 3],
        lambda b: b[:, 3] / b[:, 2],
        lambda b: b[:, 0],
        lambda b: b[:, 1],
    ):
        a, b = measure(ours), measure(theirs)
        assert abs(a.mean() - b.mean()) < 5 * np.sqrt((a.var() + b.var()) / 3000)
    assert (ours[:, 0] + ours[:, 2] <= 90).all()
    assert (ours[:, 1] + ours[:, 3] <= 120).all()


def test_a_box_that_never_fits_falls_back_to_the_centre() -> None:
    rng = random.Random(0)
    assert draw_crop_box(10, 100, (1.0, 1.0), (3 / 4, 4 / 3), rng) == (0, 43, 10, 13)
    assert draw_crop_box(100, 10, (1.0, 1.0), (3 / 4, 4 / 3), rng) == (43, 0, 13, 10)


def test_shift_moves_whole_pixels_and_repeats_edges() -> None:
    sample = make_sample(32, 1)
    before = sample.x["image"][..., 0].numpy()
    offsets = set()
    for epoch in range(200):
        after = (
            ImageAugmentation({"shift": 1 / 16})(sample, seed=0, epoch=epoch)
            .x["image"][..., 0]
            .numpy()
        )
        padded = np.pad(before, 2, mode="edge")
        found = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if np.array_equal(padded[y : y + 32, x : x + 32], after)
        ]
        assert len(found) == 1
        offsets.update(found)
    assert len(offsets) == 25


class Fixed(random.Random):
    """Dice that always show `value`."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def random(self) -> float:
        return self.value


def test_color_equals_v2_with_the_same_factors() -> None:
    image = chw(make_sample())
    (ours,) = augment_module._color([image], Fixed(0.75), 0.4)  # each factor 1.2
    jitter = v2.ColorJitter(0.4, 0.4, 0.4)
    params = {
        "fn_idx": torch.arange(4),
        "brightness_factor": 1.2,
        "contrast_factor": 1.2,
        "saturation_factor": 1.2,
        "hue_factor": None,
    }
    assert torch.equal(ours, jitter.transform(image, params))


@pytest.mark.parametrize(
    ("name", "kind", "strength", "value"),
    [
        ("brightness", "brightness", 0.4, 1.2),
        ("contrast", "contrast", 0.4, 1.2),
        ("saturation", "saturation", 0.4, 1.2),
        ("hue", "hue", 0.1, 0.05),
    ],
)
def test_each_part_of_the_colour_equals_v2(
    name: str, kind: str, strength: float, value: float
) -> None:
    image = chw(make_sample())
    (ours,) = augment_module.OPERATIONS[name]([image], Fixed(0.75), strength)
    factors = dict.fromkeys(
        ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")
    )
    params = {"fn_idx": torch.arange(4), **factors, f"{kind}_factor": value}
    jitter = v2.ColorJitter(0.4, 0.4, 0.4, 0.1)
    assert torch.equal(ours, jitter.transform(image, params))
    assert not torch.equal(ours, image)


def test_translate_and_pad_equal_v2() -> None:
    image = chw(make_sample(32))
    (moved,) = augment_module._translate([image], Fixed(0.9), 0.25)  # 8 pixels: 7 up and left
    theirs = F.affine(image, 0.0, [-7, -7], 1.0, [0.0, 0.0], fill=128.0)
    assert torch.equal(moved, theirs)
    (padded,) = augment_module._pad_crop([image], Fixed(0.9), 1 / 8)
    theirs = F.crop(F.pad(image, [4, 4, 4, 4]), 8, 8, 32, 32)
    assert torch.equal(padded, theirs)
    assert ImageAugmentOptions(augment="pad").get_strengths(32) == {"pad_crop": 1 / 8}
    assert ImageAugmentOptions(augment="pad-crop").get_strengths(32) == {"pad_crop": 1 / 8}


def test_noise_has_the_deviation_that_is_drawn() -> None:
    image = torch.full((3, 200, 200), 128, dtype=torch.uint8)
    (noisy,) = augment_module._noise([image], Fixed(0.5), 0.1)
    difference = noisy.float() - 128
    assert abs(float(difference.mean())) < 0.2
    assert float(difference.std()) == pytest.approx(0.05 * 255, rel=0.02)
    (again,) = augment_module._noise([image], random.Random(1), 0.1)
    (same,) = augment_module._noise([image], random.Random(1), 0.1)
    assert torch.equal(again, same)


def equal_but_at_the_seam(
    ours: torch.Tensor, theirs: torch.Tensor, move: Callable[[torch.Tensor], torch.Tensor]
) -> bool:
    """Within a level of rounding wherever a pixel comes from within, or from beyond, alone."""
    share = move(torch.ones(1, *ours.shape[1:]))[0]
    alone = (share > 1 - 1e-5) | (share < 1e-5)
    far = (ours.int() - theirs.int()).abs().amax(0)
    return bool((far[alone] <= 1).all()) and bool(alone.float().mean() > 0.7)


@pytest.mark.parametrize("colour", [(255, 255, 255), (200, 90, 3)])
@pytest.mark.parametrize("name", ["rotate", "ShearX", "ShearY", "Rotate"])
def test_a_plain_picture_has_no_seam_where_it_was_moved(
    name: str, colour: tuple[int, int, int]
) -> None:
    """v2's own fill is blended with pixels that it has darkened: the edge would be seen."""
    plain = torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1).expand(3, 40, 40).contiguous()
    if name == "rotate":
        (found,) = augment_module._rotate([plain], Fixed(0.9), 30.0)
        theirs = F.rotate(plain, 24.0, InterpolationMode.BILINEAR, fill=list(map(float, colour)))
        assert not torch.equal(theirs, plain), "v2 has mended it: ours is not needed any more"
    else:
        found = CHANGES[name](plain, 25.0 if name == "Rotate" else 0.3)
    assert torch.equal(found, plain)


def test_rotate_and_erase_equal_v2() -> None:
    image = chw(make_sample())
    (turned,) = augment_module._rotate([image], Fixed(0.75), 20.0)
    fill = border_colour(image)
    reference = v2.RandomRotation(20, interpolation=InterpolationMode.BILINEAR, fill=fill)

    def turn(image: torch.Tensor) -> torch.Tensor:
        return F.rotate(image, 10.0, InterpolationMode.BILINEAR)

    assert equal_but_at_the_seam(turned, reference.transform(image, {"angle": 10.0}), turn)
    (erased,) = augment_module._erase([image], Fixed(0.1), 0.5)
    top, left, height, width = draw_crop_box(96, 96, (0.02, 0.33), (0.3, 3.3), Fixed(0.1))
    grey = torch.full((3, height, width), 128, dtype=torch.uint8)
    assert torch.equal(erased, F.erase(image, top, left, height, width, grey))
    assert (erased == 128).all(0).sum() >= height * width


def test_blur_equals_v2() -> None:
    image = chw(make_sample(224))
    (blurred,) = augment_module._blur([image], Fixed(0.5), 0.6)
    sigma = 0.3 + 0.5 * (2 - 0.3)
    reference = v2.GaussianBlur(7, sigma=sigma)
    assert torch.equal(blurred, reference.transform(image, {"sigma": [sigma, sigma]}))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("policy", [v2.RandAugment, v2.TrivialAugmentWide])
@pytest.mark.parametrize("channels", [1, 3])
def test_policies_equal_v2(name: str, policy: type, channels: int) -> None:
    """Each operation at several strengths: same strength, same pixels."""
    image = chw(make_sample(48, channels))
    reference = policy(interpolation=InterpolationMode.BILINEAR, fill=border_colour(image))
    magnitudes, signed = reference._AUGMENTATION_SPACE[name]
    table = magnitudes(31, 48, 48)
    assert signed == (name in random_policies._SIGNED)
    for step in (0, 9, 17, 30):
        strength = 0.0 if table is None else float(table[step])
        ours = (
            random_policies._rand_strength(name, step, image)
            if policy is v2.RandAugment
            else random_policies._trivial_strength(name, step)
        )
        assert ours == pytest.approx(strength, rel=1e-6, abs=1e-6)
        for sign in (1, -1) if signed else (1,):
            theirs = reference._apply_image_or_video_transform(
                image, name, sign * strength, reference.interpolation, reference._fill
            )
            found = CHANGES[name](image, sign * strength)
            if name in ("ShearX", "ShearY", "Rotate"):

                def move(image: torch.Tensor, by: float = sign * strength) -> torch.Tensor:
                    moved: torch.Tensor = reference._apply_image_or_video_transform(
                        image, name, by, reference.interpolation, {torch.Tensor: [0.0]}
                    )
                    return moved

                assert equal_but_at_the_seam(found, theirs, move)
            else:
                assert torch.equal(found, theirs)


def test_policies_draw_every_operation_of_v2() -> None:
    assert set(CHANGES) == set(v2.RandAugment._AUGMENTATION_SPACE)
    rng = random.Random(0)
    assert {random_policies._draw_operation(rng) for _ in range(500)} == set(CHANGES)


@pytest.mark.parametrize(
    "name", ["flip", "vflip", "crop", "shift", "rotate", "translate", "pad_crop"]
)
def test_masks_and_boxes_move_with_the_picture(name: str) -> None:
    """A bright square, its mask and its box stay together."""
    side = 96
    pixels = torch.zeros(side, side, 3, dtype=torch.uint8)
    pixels[20:44, 30:60] = 255
    mask = tv_tensors.Mask((pixels[..., 0] > 0).to(torch.uint8)[None])
    boxes = tv_tensors.BoundingBoxes(
        torch.tensor([[30.0, 20.0, 60.0, 44.0]]), format="XYXY", canvas_size=(side, side)
    )
    sample = Sample({"image": pixels}, {"mask": mask, "boxes": boxes}, make_sample().meta)
    moved = 0
    for epoch in range(8):
        after = ImageAugmentation({name: OPERATIONS[name][0]})(sample, seed=3, epoch=epoch)
        assert after.y is not None
        bright = after.x["image"][..., 0] > 130  # not the grey that fills
        assert (bright != (after.y["mask"][0] == 1)).float().mean() < 0.02
        assert after.meta.to_source is None
        rows, columns = torch.where(bright)
        left, top, right, bottom = after.y["boxes"][0].clamp(0, side).tolist()
        slack = 8 if name == "rotate" else 2  # a turned box holds its corners
        assert abs(left - columns.min()) <= slack
        assert abs(right - columns.max() - 1) <= slack
        assert abs(top - rows.min()) <= slack
        assert abs(bottom - rows.max() - 1) <= slack
        moved += not torch.equal(after.x["image"], pixels)
    assert moved


def test_presets_adapt_to_tiny_pictures() -> None:
    for preset in PRESETS:
        tiny = ImageAugmentOptions(augment=preset).get_strengths(TINY)
        assert "flip" not in tiny
        assert "crop" not in tiny
    assert ImageAugmentOptions(flip=0.5).get_strengths(28)["flip"] == 0.5
    assert "flip" in ImageAugmentOptions().get_strengths(224)
    assert "flip" not in ImageAugmentOptions(flip=0).get_strengths(224)
    assert "not mirrored" in ImageAugmentOptions().describe_operations(28)
    assert "crop 0.35" in ImageAugmentOptions().describe_operations(224)
    assert ImageAugmentOptions(augment="flip,mixup").get_strengths(224) == {
        "flip": 0.5,
        "mixup": 0.2,
    }
    assert augment_for(28, augment="none") is None
    assert augment_for(28, augment="mixup") is None


def test_every_wrong_option_is_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        ImageAugmentOptions(augment="flipp", crop=1.5, mixup=-1, custom="nothing")
    for word in ("'flipp'", "Did you mean 'flip'", "crop is 1.5", "mixup is -1", "'nothing'"):
        assert word in str(caught.value)


def test_options_are_free_of_torch() -> None:
    code = (
        "import sys, skipstone.image.augment_options, skipstone.image.options\n"
        "import skipstone.inputs.catalog\n"
        "assert not {'torch', 'numpy', 'PIL'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_target_with_places_is_never_left_behind() -> None:
    boxes = torch.tensor([[1.0, 2.0, 8.0, 9.0]])
    picture = torch.zeros(28, 28, 3, dtype=torch.uint8)
    sample = Sample({"image": picture}, {"boxes": boxes}, SampleMeta(0))
    with pytest.raises(UsageError, match="not the target 'boxes'"):
        augment_for(28, augment="none", shift=0.1)(sample, seed=0, epoch=0)  # type: ignore[misc]
    still = augment_for(28, augment="none", erase=1.0)(sample, seed=0, epoch=0)  # type: ignore[misc]
    assert still.y is not None
    assert torch.equal(still.y["boxes"], boxes)
