"""Losses equal torch's and torchvision's; soft targets agree with class numbers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from skipstone.models.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Loss,
    SigmoidFocal,
    SoftmaxFocal,
)

N, K = 16, 5
WEIGHTS = [0.5, 1.0, 2.0, 0.1, 3.0]


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(N, K, generator=torch.Generator().manual_seed(0)) * 3


@pytest.fixture
def target() -> Tensor:
    return torch.arange(N) % K


@pytest.fixture
def tags() -> Tensor:
    return (torch.rand(N, K, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def mean(loss: Loss, logits: Tensor, target: Tensor) -> Tensor:
    value: Tensor = loss(logits, target) / loss.weight(target)
    return value


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy_equals_torch(
    logits: Tensor, target: Tensor, smoothing: float, weights: list[float] | None
) -> None:
    loss = CrossEntropy(label_smoothing=smoothing, class_weights=weights)
    weight = None if weights is None else torch.tensor(weights)
    expected = F.cross_entropy(logits, target, weight=weight, label_smoothing=smoothing)
    torch.testing.assert_close(mean(loss, logits, target), expected)


@pytest.mark.parametrize("kind", [CrossEntropy, SoftmaxFocal])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_one_hot_and_class_number_agree(
    kind: type[CrossEntropy], logits: Tensor, target: Tensor, weights: list[float] | None
) -> None:
    loss = kind(label_smoothing=0.1, class_weights=weights)
    hot = F.one_hot(target, K).float()
    torch.testing.assert_close(mean(loss, logits, hot), mean(loss, logits, target))


def test_mixed_targets_give_the_mixed_loss(logits: Tensor, target: Tensor) -> None:
    other = target.flip(0)
    mixed = 0.3 * F.one_hot(target, K).float() + 0.7 * F.one_hot(other, K).float()
    loss = CrossEntropy(label_smoothing=0.1, class_weights=WEIGHTS)
    expected = 0.3 * loss(logits, target) + 0.7 * loss(logits, other)
    torch.testing.assert_close(loss(logits, mixed), expected)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_bce_equals_torch(logits: Tensor, tags: Tensor, weights: list[float] | None) -> None:
    weight = None if weights is None else torch.tensor(weights)
    expected = F.binary_cross_entropy_with_logits(logits, tags, pos_weight=weight)
    torch.testing.assert_close(
        mean(BinaryCrossEntropy(class_weights=weights), logits, tags), expected
    )
    smooth = mean(BinaryCrossEntropy(label_smoothing=0.2), logits, tags)
    torch.testing.assert_close(smooth, F.binary_cross_entropy_with_logits(logits, tags * 0.8 + 0.1))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_sigmoid_focal_equals_torchvision(logits: Tensor, tags: Tensor, gamma: float) -> None:
    expected = sigmoid_focal_loss(logits, tags, alpha=-1, gamma=gamma, reduction="sum")
    torch.testing.assert_close(SigmoidFocal(gamma=gamma)(logits, tags), expected)
    balanced = sigmoid_focal_loss(logits, tags, alpha=0.25, gamma=gamma, reduction="sum")
    ours = SigmoidFocal(gamma=gamma, class_weights=[0.25 / 0.75] * K)(logits, tags)
    torch.testing.assert_close(ours * 0.75, balanced)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_softmax_focal_of_two_classes_equals_torchvision(logits: Tensor, gamma: float) -> None:
    two, target = logits[:, :2], torch.arange(N) % 2
    expected = sigmoid_focal_loss(
        two[:, 1] - two[:, 0], target.float(), alpha=-1, gamma=gamma, reduction="sum"
    )
    torch.testing.assert_close(SoftmaxFocal(gamma=gamma)(two, target), expected)


def test_softmax_focal_without_gamma_is_cross_entropy(logits: Tensor, target: Tensor) -> None:
    ours = SoftmaxFocal(gamma=0.0, label_smoothing=0.1, class_weights=WEIGHTS)
    expected = CrossEntropy(label_smoothing=0.1, class_weights=WEIGHTS)
    torch.testing.assert_close(ours(logits, target), expected(logits, target))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gradients_stay_finite_where_the_network_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    (SoftmaxFocal(gamma=gamma)(logits, torch.tensor([0, 0]))).backward()
    tags = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    (SigmoidFocal(gamma=gamma)(logits, tags)).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("loss", [CrossEntropy(), SoftmaxFocal()])
def test_half_precision_logits_are_summed_in_float32(
    loss: Loss, logits: Tensor, target: Tensor
) -> None:
    low = logits.bfloat16()
    assert loss(low, target).dtype == torch.float32
    torch.testing.assert_close(loss(low, target), loss(low.float(), target))
