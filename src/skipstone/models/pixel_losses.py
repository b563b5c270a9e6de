"""Losses on masks: logits (N, K, H, W), class numbers (N, H, W), one of which is ignored.

Like those of `skipstone.models.losses`, each is a sum with a divisor that depends on targets alone.
That divisor is the number of labelled pixels (or the sum of their classes' weights), also for Dice,
which is a figure of a whole picture: a picture counts by its labelled pixels, so that Dice can be
added to cross-entropy, and accumulated micro-batches give what one batch gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from skipstone.models.losses import TEMPERATURE, CrossEntropy


class PixelFocal(CrossEntropy):
    """Focal loss over softmax: each pixel's term is scaled by (1 - p)^gamma (Lin 2017, sec. 3.2).

    With gamma 0 it is cross-entropy; with two classes it is the paper's on the difference of the
    logits, class weights being its alpha.
    """

    def __init__(self, *, gamma: float = 2.0, **args: Any) -> None:
        super().__init__(**args)
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        kept, safe = _kept(target, self.ignore_index)
        log_p = F.log_softmax(logits.float(), dim=1).gather(1, safe[:, None])[:, 0]  # (N, H, W)
        # 1 - p, kept above 0: its logarithm's slope is infinite there
        rest = (-torch.expm1(log_p)).clamp_min(1e-7)
        term = -rest.pow(self.gamma) * log_p
        if self.class_weights is not None:
            term = term * self.class_weights[safe]
        return (term * kept).sum()


class Dice(CrossEntropy):
    """1 - Dice coefficient of each picture (Milletari et al. 2016, V-Net, sec. 3).

    For every class that a picture's mask has, 1 - 2 |A and B| / (|A| + |B|) with probabilities as
    soft membership, averaged over those classes (by their weights, where there are any). The
    denominator holds plain sums, not the paper's squares, as is common. For one picture, sum /
    weight equals segmentation_models_pytorch's DiceLoss over the classes that it has.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.dice(logits, target)

    def dice(self, logits: Tensor, target: Tensor) -> Tensor:
        kept, safe = _kept(target, self.ignore_index)
        p = logits.float().softmax(dim=1) * kept[:, None]  # (N, K, H, W)
        hit = p.gather(1, safe[:, None])[:, 0].flatten(1)  # (N, H * W)
        place, real = safe.flatten(1), kept.float().flatten(1)
        nothing = p.new_zeros(p.shape[:2])
        both = nothing.scatter_add(1, place, hit)  # (N, K): probability where the class is
        size = nothing.scatter_add(1, place, real)  # (N, K): pixels of the class
        missed = 1 - 2 * both / (p.sum((2, 3)) + size).clamp_min(1e-7)
        counts = (size > 0).float()
        if self.class_weights is not None:
            counts = counts * self.class_weights
        mean = (missed * counts).sum(1) / counts.sum(1).clamp_min(1e-7)  # (N,)
        return (mean * self.picture_weights(target)).sum()

    def picture_weights(self, target: Tensor) -> Tensor:
        """What each picture adds to `weight`: (N,)."""
        kept, safe = _kept(target, self.ignore_index)
        each = kept.float() if self.class_weights is None else self.class_weights[safe] * kept
        return each.sum((1, 2))


class CrossEntropyDice(Dice):
    """Cross-entropy plus Dice: the one judges pixels, the other whole classes (Isensee 2018)."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return CrossEntropy.forward(self, logits, target) + self.dice(logits, target)


PIXEL_LOSSES: Mapping[str, type[CrossEntropy]] = {
    "cross_entropy": CrossEntropy,
    "focal": PixelFocal,
    "dice": Dice,
    "cross_entropy_dice": CrossEntropyDice,
}


def make_pixel_loss(name: str, args: Mapping[str, Any]) -> CrossEntropy:
    """The loss called `name`, built with JSON-able `args`: class_weights, ignore_index, gamma."""
    return PIXEL_LOSSES[name](**args)


def imitate_pixels(
    criterion: CrossEntropy, logits: Tensor, answers: Tensor, target: Tensor
) -> Tensor:
    """KL divergence from the teacher's probabilities of each pixel at temperature T, times T^2.

    Hinton et al. 2015 (arXiv:1503.02531, section 2), pixel by pixel (Liu et al. 2019,
    arXiv:1903.04197, section 3.1). Pixels count as `criterion.weight` counts them: what is ignored
    does not, and the others by the weight of their class.

    Args:
        logits, answers: (N, K, H, W), the student's and the teacher's.
        target: (N, H, W) of class numbers.
    """
    kept, safe = _kept(target, criterion.ignore_index)
    own = F.log_softmax(logits.float() / TEMPERATURE, dim=1)
    taught = F.log_softmax(answers.float() / TEMPERATURE, dim=1)
    gap = F.kl_div(own, taught, reduction="none", log_target=True).sum(1)  # (N, H, W)
    weight = kept.float()
    if criterion.class_weights is not None:
        weight = weight * criterion.class_weights[safe]
    return (gap * weight).sum() * TEMPERATURE**2


def _kept(target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Which pixels count, and the target with class 0 in place of what is ignored."""
    kept = target != ignore_index
    return kept, target.where(kept, 0)
