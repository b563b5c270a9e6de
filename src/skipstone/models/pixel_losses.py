"""Losses on masks: logits (N, K, H, W), class numbers (N, H, W), one of which is ignored.

Like those of `skipstone.models.losses`, each is a sum with a divisor that depends on targets alone.
That divisor is the number of labelled pixels (or the sum of their classes' weights), also for Dice,
which is a figure of the whole image: an image counts by its labelled pixels, so that Dice can be
added to cross-entropy, and accumulated micro-batches give what one batch gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from skipstone.models.losses import DISTILLATION_TEMPERATURE, CrossEntropy


class PixelCrossEntropy(CrossEntropy):
    """Cross-entropy of each labelled pixel."""

    def distillation_loss(self, logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        """KL divergence from the teacher's probabilities of each pixel at temperature T, times T^2.

        Hinton et al. 2015 (arXiv:1503.02531, section 2), pixel by pixel (Liu et al. 2019,
        arXiv:1903.04197, section 3.1). Pixels count as in `weight`: ignored ones do not, and the
        others count by the weight of their class.
        """
        labelled, codes = _labelled(target, self.ignore_index)
        log_p = F.log_softmax(logits.float() / DISTILLATION_TEMPERATURE, dim=1)
        log_q = F.log_softmax(teacher_logits.float() / DISTILLATION_TEMPERATURE, dim=1)
        divergence = F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(1)  # (N, H, W)
        weight = labelled.float()
        if self.class_weights is not None:
            weight = weight * self.class_weights[codes]
        return (divergence * weight).sum() * DISTILLATION_TEMPERATURE**2


class PixelFocal(PixelCrossEntropy):
    """Focal loss over softmax: each pixel's term is scaled by (1 - p)^gamma (Lin 2017, sec. 3.2).

    With gamma 0 it is cross-entropy; with two classes it is the paper's on the difference of the
    logits, class weights being its alpha.
    """

    def __init__(self, *, gamma: float = 2.0, **args: Any) -> None:
        super().__init__(**args)
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        labelled, codes = _labelled(target, self.ignore_index)
        log_p = F.log_softmax(logits.float(), dim=1).gather(1, codes[:, None])[:, 0]  # (N, H, W)
        # 1 - p stays above 0: the slope of its logarithm is infinite there
        not_p = (-torch.expm1(log_p)).clamp_min(1e-7)
        term = -not_p.pow(self.gamma) * log_p
        if self.class_weights is not None:
            term = term * self.class_weights[codes]
        return (term * labelled).sum()


class Dice(PixelCrossEntropy):
    """1 - Dice coefficient of each image (Milletari et al. 2016, V-Net, sec. 3).

    For every class in an image's mask, 1 - 2 |A and B| / (|A| + |B|) with probabilities as soft
    membership, averaged over those classes (by their weights, where there are any). The
    denominator holds plain sums, not the paper's squares, as is common. For one image, sum /
    weight equals segmentation_models_pytorch's DiceLoss over the classes of its mask.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.dice_loss(logits, target)

    def dice_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        labelled, codes = _labelled(target, self.ignore_index)
        p = logits.float().softmax(dim=1) * labelled[:, None]  # (N, K, H, W)
        true_p = p.gather(1, codes[:, None])[:, 0].flatten(1)  # (N, H * W)
        flat_codes, flat_labelled = codes.flatten(1), labelled.float().flatten(1)
        zeros = p.new_zeros(p.shape[:2])
        overlap = zeros.scatter_add(1, flat_codes, true_p)  # (N, K): probability in the class
        size = zeros.scatter_add(1, flat_codes, flat_labelled)  # (N, K): pixels of the class
        loss = 1 - 2 * overlap / (p.sum((2, 3)) + size).clamp_min(1e-7)
        counts = (size > 0).float()
        if self.class_weights is not None:
            counts = counts * self.class_weights
        mean = (loss * counts).sum(1) / counts.sum(1).clamp_min(1e-7)  # (N,)
        return (mean * self.image_weights(target)).sum()

    def image_weights(self, target: Tensor) -> Tensor:
        """What each image adds to `weight`: (N,)."""
        labelled, codes = _labelled(target, self.ignore_index)
        if self.class_weights is None:
            return labelled.float().sum((1, 2))
        return (self.class_weights[codes] * labelled).sum((1, 2))


class CrossEntropyDice(Dice):
    """Cross-entropy of pixels plus Dice of whole classes (Isensee 2018)."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return CrossEntropy.forward(self, logits, target) + self.dice_loss(logits, target)


PIXEL_LOSSES: Mapping[str, type[PixelCrossEntropy]] = {
    "cross_entropy": PixelCrossEntropy,
    "focal": PixelFocal,
    "dice": Dice,
    "cross_entropy_dice": CrossEntropyDice,
}


def _labelled(target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Which pixels count, and the target with class 0 in place of `ignore_index`."""
    labelled = target != ignore_index
    return labelled, target.where(labelled, 0)
