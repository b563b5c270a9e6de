"""Criteria and the losses on logits that they are made of.

A loss is a sum with the divisor that turns it into a mean. It never averages by itself: the
objective divides the sum by `weight`, which depends on targets alone, so that accumulated
micro-batches and many machines divide by the global amount. Losses are computed in float32,
whatever the network ran in.

Losses on masks take logits (N, K, H, W) and class numbers (N, H, W), one of which is ignored. Their
divisor is the number of labelled pixels (or the sum of their classes' weights), also for Dice, which
is a figure of the whole image: an image counts by its labelled pixels, so that Dice can be added to
cross-entropy, and accumulated micro-batches give what one batch gives.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipstone.core.errors import Refusal

Outputs = dict[str, Tensor]
Targets = dict[str, Tensor | list[Tensor]]

#: log p stays this far below 0 where log(1 - p) is needed, so that its gradient is finite
_MAX_LOG_P = -1e-7

#: Softens a teacher's probabilities, so that those of wrong classes count (Hinton et al. 2015).
DISTILLATION_TEMPERATURE = 2.0


class Criterion(nn.Module, ABC):
    """What training minimises: named losses of a network's outputs.

    `Task.criterion` gives one; a head whose loss needs its own layers brings its own
    (`Head.criterion`). Bundles store no criterion, so buffers of one are not persistent.
    """

    @abstractmethod
    def forward(self, outputs: Outputs, y: Targets) -> dict[str, Tensor]:
        """Named losses, each the *sum* over what `weight` counts, float32.

        Args:
            outputs: of `Network.training_outputs`, batch first.
            y: targets by name, batch first.
        """

    @abstractmethod
    def weight(self, y: Targets) -> Tensor:
        """Scalar float32: what the sums are divided by (samples, labelled pixels, matched boxes).

        It depends on targets alone.
        """

    def distillation_loss(
        self, outputs: Outputs, teacher_outputs: Outputs, y: Targets
    ) -> dict[str, Tensor]:
        """Named losses against a teacher's outputs, sums as `forward` gives them.

        Args:
            y: the targets, which say what counts.

        Raises:
            Refusal: outputs of this kind cannot be distilled.
        """
        raise Refusal(
            f"{type(self).__name__} cannot learn from a teacher's outputs.",
            hint="Leave the teacher out, such as prune(teacher=0).",
        )


class Loss(nn.Module, ABC):
    """`forward` sums the loss over a batch; `weight` is what to divide that sum by."""

    @abstractmethod
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """logits (N, K, ...) and targets -> scalar sum, float32."""

    @abstractmethod
    def weight(self, target: Tensor) -> Tensor:
        """Scalar float32."""

    @abstractmethod
    def distillation_loss(self, logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        """Scalar sum: divergence of `logits` from a teacher's, both (N, K, ...)."""


class LogitsCriterion(Criterion):
    """{"loss": a loss of the output "logits" against one of the targets}.

    Args:
        target: its name in y; class numbers of any integer type, or floats.
    """

    def __init__(self, loss: Loss, target: str) -> None:
        super().__init__()
        self.loss = loss
        self.target = target

    def forward(self, outputs: Outputs, y: Targets) -> dict[str, Tensor]:
        return {"loss": self.loss(outputs["logits"], self._target(y))}

    def weight(self, y: Targets) -> Tensor:
        return self.loss.weight(self._target(y))

    def distillation_loss(
        self, outputs: Outputs, teacher_outputs: Outputs, y: Targets
    ) -> dict[str, Tensor]:
        logits, teacher_logits = outputs["logits"], teacher_outputs["logits"]
        return {"loss": self.loss.distillation_loss(logits, teacher_logits, self._target(y))}

    def _target(self, y: Targets) -> Tensor:
        target = y[self.target]
        assert isinstance(target, Tensor), f"{self.target!r} must be one tensor per batch"
        return target if target.is_floating_point() else target.long()


class AuxiliaryCriterion(Criterion):
    """A criterion plus the losses of auxiliary heads, which only training has.

    For deep supervision (Lee et al. 2015, arXiv:1409.5185) and auxiliary classifiers (Szegedy et
    al. 2015, arXiv:1409.4842, section 5, with a factor of 0.3).

    Args:
        main: of the network's own outputs; its `weight` divides the auxiliary losses too.
        auxiliary: {name in `Network.auxiliary`: criterion of that head's outputs}.
        factor: of each auxiliary loss.
    """

    def __init__(
        self, main: Criterion, auxiliary: Mapping[str, Criterion], *, factor: float = 0.3
    ) -> None:
        super().__init__()
        self.main = main
        self.auxiliary = nn.ModuleDict(auxiliary)
        self.factor = factor

    def forward(self, outputs: Outputs, y: Targets) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.main(outputs, y)
        for name, criterion in self.auxiliary.items():
            prefix = f"{name}."
            head_outputs = {
                key.removeprefix(prefix): value
                for key, value in outputs.items()
                if key.startswith(prefix)
            }
            for part, value in criterion(head_outputs, y).items():
                losses[prefix + part] = self.factor * value
        return losses

    def weight(self, y: Targets) -> Tensor:
        return self.main.weight(y)

    def distillation_loss(
        self, outputs: Outputs, teacher_outputs: Outputs, y: Targets
    ) -> dict[str, Tensor]:
        return self.main.distillation_loss(outputs, teacher_outputs, y)


class CrossEntropy(Loss):
    """Softmax cross-entropy on class numbers (N,) or on probabilities (N, K).

    sum / weight equals `torch.nn.functional.cross_entropy` of class numbers. For probabilities
    the divisor is sum(target * class weight), so that a one-hot target and its class number give
    the same loss (torch divides by N there, which differs when there are class weights).

    Maps are fine too: logits (N, K, H, W) and class numbers (N, H, W).

    Args:
        label_smoothing: share of the target spread over all classes (Szegedy et al. 2016, sec. 7).
        class_weights: (K,) factor of each class, or None.
        ignore_index: the class number that counts for nothing.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.ignore_index = ignore_index
        self.register_buffer("class_weights", _weights_buffer(class_weights), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if target.is_floating_point():
            target = target.float()
        return F.cross_entropy(
            logits.float(),
            target,
            weight=self.class_weights,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
            reduction="sum",
        )

    def weight(self, target: Tensor) -> Tensor:
        if target.is_floating_point():
            total = target.float()
            return (total if self.class_weights is None else total * self.class_weights).sum()
        labelled = target != self.ignore_index
        if self.class_weights is None:
            return labelled.sum().float()
        return self.class_weights[target[labelled]].sum()

    def distillation_loss(self, logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        """KL divergence from the teacher's probabilities at temperature T, times T^2.

        Hinton et al. 2015 (arXiv:1503.02531, section 2).
        """
        log_p = F.log_softmax(logits.float() / DISTILLATION_TEMPERATURE, dim=1)
        log_q = F.log_softmax(teacher_logits.float() / DISTILLATION_TEMPERATURE, dim=1)
        divergence = F.kl_div(log_p, log_q, reduction="sum", log_target=True)
        return divergence * DISTILLATION_TEMPERATURE**2


def dist_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Scalar mean: 1 - correlation of probabilities with a teacher's, both from logits (N, K): over
    the classes of each sample, plus over the samples of each class.

    DIST (Huang et al. 2022, arXiv:2205.10536, eq. 6 to 9).
    """
    p, q = logits.float().softmax(1), teacher_logits.float().softmax(1)
    terms = []
    for dim in (1, 0):
        a, b = p - p.mean(dim, keepdim=True), q - q.mean(dim, keepdim=True)
        terms.append(1 - F.cosine_similarity(a, b, dim=dim).mean())
    return terms[0] + terms[1]


class SoftmaxFocal(CrossEntropy):
    """Focal loss over softmax: each class's term is scaled by (1 - p)^gamma.

    Lin et al. 2017 (sec. 3.2) define it for two classes; with two classes this equals theirs on
    the difference of the logits, and with gamma 0 it is cross-entropy. Class weights are their
    alpha.
    """

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(label_smoothing=label_smoothing, class_weights=class_weights)
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        classes = logits.shape[1]
        share = target if target.is_floating_point() else F.one_hot(target, classes)
        share = share.float()
        share = share * (1 - self.label_smoothing) + self.label_smoothing / classes  # (N, K)
        if self.class_weights is not None:
            share = share * self.class_weights
        log_p = F.log_softmax(logits.float(), dim=1)
        log_not_p = torch.log(-torch.expm1(log_p.clamp(max=_MAX_LOG_P)))  # log(1 - p)
        return -(share * torch.exp(self.gamma * log_not_p) * log_p).sum()


class BinaryCrossEntropy(Loss):
    """Sigmoid cross-entropy on each of K tags; the divisor counts N x K decisions.

    sum / weight equals `torch.nn.functional.binary_cross_entropy_with_logits`.

    Args:
        label_smoothing: moves targets this share of the way to 0.5.
        class_weights: (K,) factor of each tag's positive term (torch's `pos_weight`), or None.
    """

    class_weights: Tensor | None

    def __init__(
        self, *, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", _weights_buffer(class_weights), persistent=False)

    def smooth_targets(self, target: Tensor) -> Tensor:
        return target.float() * (1 - self.label_smoothing) + 0.5 * self.label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            logits.float(),
            self.smooth_targets(target),
            pos_weight=self.class_weights,
            reduction="sum",
        )

    def weight(self, target: Tensor) -> Tensor:
        return torch.tensor(float(target.numel()), device=target.device)

    def distillation_loss(self, logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        """Binary KL divergence from the teacher's probability of each tag."""
        q = torch.sigmoid(teacher_logits.float())
        entropy = F.binary_cross_entropy_with_logits(teacher_logits.float(), q, reduction="sum")
        return F.binary_cross_entropy_with_logits(logits.float(), q, reduction="sum") - entropy


class SigmoidFocal(BinaryCrossEntropy):
    """Focal loss on each of K tags (Lin et al. 2017, eq. 4 and 5).

    A `compute_class_weights` of alpha / (1 - alpha) is their alpha-balanced form, up to 1 / (1 - alpha).
    """

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(label_smoothing=label_smoothing, class_weights=class_weights)
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits, target = logits.float(), self.smooth_targets(target)
        log_p, log_not_p = F.logsigmoid(logits), F.logsigmoid(-logits)
        positive = -target * torch.exp(self.gamma * log_not_p) * log_p
        if self.class_weights is not None:
            positive = positive * self.class_weights
        negative = -(1 - target) * torch.exp(self.gamma * log_p) * log_not_p
        return (positive + negative).sum()


def _weights_buffer(values: Sequence[float] | None) -> Tensor | None:
    return None if values is None else torch.tensor(list(values), dtype=torch.float32)


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
