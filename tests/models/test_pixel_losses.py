"""Losses on masks equal torch's, torchvision's and segmentation_models_pytorch's."""

from __future__ import annotations

from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from skipstone.models.losses import (
    PIXEL_LOSSES,
    CrossEntropy,
    CrossEntropyDice,
    Dice,
    PixelFocal,
)

K, IGNORE = 5, 255
WEIGHTS = [0.5, 1.0, 2.0, 0.1, 3.0]
each_loss = pytest.mark.parametrize("name", sorted(PIXEL_LOSSES))
weighted = pytest.mark.parametrize("weights", [None, WEIGHTS])


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(3, K, 8, 9, generator=torch.Generator().manual_seed(0)) * 3


@pytest.fixture
def mask() -> Tensor:
    mask = torch.randint(0, K, (3, 8, 9), generator=torch.Generator().manual_seed(1))
    mask[0, :3] = IGNORE
    mask[1, 2, 2:5] = IGNORE
    mask[2][mask[2] == 4] = 1  # the last picture has no class 4
    return mask


@weighted
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_torch(
    logits: Tensor, mask: Tensor, weights: list[float] | None, smoothing: float
) -> None:
    loss = CrossEntropy(class_weights=weights, ignore_index=IGNORE, label_smoothing=smoothing)
    expected = F.cross_entropy(
        logits,
        mask,
        weight=None if weights is None else torch.tensor(weights),
        ignore_index=IGNORE,
        label_smoothing=smoothing,
    )
    torch.testing.assert_close(loss(logits, mask) / loss.weight(mask), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_of_two_classes_equals_torchvision(
    logits: Tensor, mask: Tensor, gamma: float
) -> None:
    two, kept = logits[:, :2], mask != IGNORE
    mask = torch.where(kept, mask % 2, IGNORE)
    difference = (two[:, 1] - two[:, 0])[kept]
    expected = sigmoid_focal_loss(
        difference, mask[kept].float(), alpha=-1, gamma=gamma, reduction="mean"
    )
    loss = PixelFocal(gamma=gamma, ignore_index=IGNORE)
    torch.testing.assert_close(loss(two, mask) / loss.weight(mask), expected)


@weighted
def test_focal_without_gamma_is_cross_entropy(
    logits: Tensor, mask: Tensor, weights: list[float] | None
) -> None:
    ours = PixelFocal(gamma=0.0, class_weights=weights, ignore_index=IGNORE)
    expected = CrossEntropy(class_weights=weights, ignore_index=IGNORE)
    torch.testing.assert_close(ours(logits, mask), expected(logits, mask))


def test_dice_of_a_picture_equals_smp(logits: Tensor, mask: Tensor) -> None:
    loss = Dice(ignore_index=IGNORE)
    for row in range(len(mask)):
        here, truth = logits[row : row + 1], mask[row : row + 1]
        present = [k for k in range(K) if bool((truth == k).any())]
        theirs = smp.losses.DiceLoss("multiclass", classes=present, ignore_index=IGNORE)
        torch.testing.assert_close(loss(here, truth) / loss.weight(truth), theirs(here, truth))
    assert len(present) == K - 1


def test_weighted_dice_weighs_classes_as_smp_does(logits: Tensor, mask: Tensor) -> None:
    loss = Dice(ignore_index=IGNORE, class_weights=WEIGHTS)
    theirs = smp.losses.DiceLoss("multiclass", ignore_index=IGNORE, class_weights=WEIGHTS)
    expected = theirs(logits[:1], mask[:1])
    torch.testing.assert_close(loss(logits[:1], mask[:1]) / loss.weight(mask[:1]), expected)


def test_cross_entropy_and_dice_is_their_sum(logits: Tensor, mask: Tensor) -> None:
    args: dict[str, Any] = {"ignore_index": IGNORE, "class_weights": WEIGHTS}
    both = CrossEntropyDice(**args)(logits, mask)
    expected = CrossEntropy(**args)(logits, mask) + Dice(**args)(logits, mask)
    torch.testing.assert_close(both, expected)


@each_loss
@weighted
def test_it_splits_over_micro_batches(
    logits: Tensor, mask: Tensor, name: str, weights: list[float] | None
) -> None:
    loss = PIXEL_LOSSES[name](ignore_index=IGNORE, class_weights=weights)
    parts = [slice(0, 1), slice(1, 3)]
    torch.testing.assert_close(
        torch.stack([loss(logits[part], mask[part]) for part in parts]).sum(), loss(logits, mask)
    )
    torch.testing.assert_close(
        torch.stack([loss.weight(mask[part]) for part in parts]).sum(), loss.weight(mask)
    )


@each_loss
def test_what_is_ignored_has_no_gradient(logits: Tensor, mask: Tensor, name: str) -> None:
    logits.requires_grad_()
    loss = PIXEL_LOSSES[name](ignore_index=IGNORE)
    loss(logits, mask).backward()
    assert logits.grad is not None
    seen = logits.grad.abs().sum(1) > 0
    assert torch.equal(seen, mask != IGNORE)


@each_loss
def test_extremes_stay_finite(name: str) -> None:
    logits = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2).clone()
    logits.requires_grad_()
    loss = PIXEL_LOSSES[name](ignore_index=IGNORE)
    for mask in (torch.zeros(1, 2, 2), torch.ones(1, 2, 2), torch.full((1, 2, 2), IGNORE)):
        value = loss(logits, mask.long())
        value.backward()
        assert value.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
    assert value == 0  # nothing is labelled


@each_loss
def test_half_precision_logits_are_summed_in_float32(
    logits: Tensor, mask: Tensor, name: str
) -> None:
    loss, low = PIXEL_LOSSES[name](ignore_index=IGNORE), logits.bfloat16()
    assert loss(low, mask).dtype == torch.float32
    torch.testing.assert_close(loss(low, mask), loss(low.float(), mask))
