"""Losses on logits, each a sum with the divisor that turns it into a mean.

A loss never averages by itself: the objective divides the sum by `weight`, which depends on
targets alone, so that accumulated micro-batches and many machines divide by the global amount.
Everything is computed in float32, whatever the network ran in.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: log p is kept this far below 0 where log(1 - p) is needed, so that its gradient stays finite
_CERTAIN = -1e-7

#: Softens a teacher's probabilities, so that those of wrong classes count (Hinton et al. 2015).
TEMPERATURE = 2.0


class Loss(nn.Module, ABC):
    """`forward` sums the loss over a batch; `weight` is what to divide that sum by."""

    @abstractmethod
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """logits (N, K) and targets -> scalar sum, float32."""

    @abstractmethod
    def weight(self, target: Tensor) -> Tensor:
        """Scalar float32."""

    @abstractmethod
    def imitate(self, logits: Tensor, answers: Tensor) -> Tensor:
        """Scalar sum: how far `logits` are from a teacher's, both (N, K) or (N, K, ...)."""

    @abstractmethod
    def vote(self, logits: Sequence[Tensor]) -> Tensor:
        """Logits (N, K, ...) of the mean of the probabilities that each of `logits` stands for."""


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
        self.register_buffer("class_weights", _buffer(class_weights), persistent=False)

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
        kept = target != self.ignore_index
        if self.class_weights is None:
            return kept.sum().float()
        return self.class_weights[target[kept]].sum()

    def imitate(self, logits: Tensor, answers: Tensor) -> Tensor:
        """KL divergence from the teacher's probabilities at temperature T, times T^2.

        Hinton et al. 2015 (arXiv:1503.02531, section 2).
        """
        own = F.log_softmax(logits.float() / TEMPERATURE, dim=1)
        taught = F.log_softmax(answers.float() / TEMPERATURE, dim=1)
        return F.kl_div(own, taught, reduction="sum", log_target=True) * TEMPERATURE**2

    def vote(self, logits: Sequence[Tensor]) -> Tensor:
        """The logarithm of the mean probability, without leaving logarithms."""
        each = torch.stack([F.log_softmax(own.float(), dim=1) for own in logits])
        return torch.logsumexp(each, dim=0) - math.log(len(logits))


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
        log_rest = torch.log(-torch.expm1(log_p.clamp(max=_CERTAIN)))  # log(1 - p)
        return -(share * torch.exp(self.gamma * log_rest) * log_p).sum()


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
        self.register_buffer("class_weights", _buffer(class_weights), persistent=False)

    def smooth(self, target: Tensor) -> Tensor:
        return target.float() * (1 - self.label_smoothing) + 0.5 * self.label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            logits.float(), self.smooth(target), pos_weight=self.class_weights, reduction="sum"
        )

    def weight(self, target: Tensor) -> Tensor:
        return torch.tensor(float(target.numel()), device=target.device)

    def imitate(self, logits: Tensor, answers: Tensor) -> Tensor:
        """Binary KL divergence from the teacher's probability of each tag."""
        taught = torch.sigmoid(answers.float())
        same = F.binary_cross_entropy_with_logits(answers.float(), taught, reduction="sum")
        own = F.binary_cross_entropy_with_logits(logits.float(), taught, reduction="sum")
        return own - same

    def vote(self, logits: Sequence[Tensor]) -> Tensor:
        """log(p / (1 - p)) of the mean p of each tag, without leaving logarithms."""
        there = torch.stack([F.logsigmoid(own.float()) for own in logits])
        absent = torch.stack([F.logsigmoid(-own.float()) for own in logits])
        return torch.logsumexp(there, dim=0) - torch.logsumexp(absent, dim=0)


class SigmoidFocal(BinaryCrossEntropy):
    """Focal loss on each of K tags (Lin et al. 2017, eq. 4 and 5).

    A `class_weights` of alpha / (1 - alpha) is their alpha-balanced form, up to 1 / (1 - alpha).
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
        logits, target = logits.float(), self.smooth(target)
        log_p, log_not = F.logsigmoid(logits), F.logsigmoid(-logits)
        present = -target * torch.exp(self.gamma * log_not) * log_p
        if self.class_weights is not None:
            present = present * self.class_weights
        absent = -(1 - target) * torch.exp(self.gamma * log_p) * log_not
        return (present + absent).sum()


def softened(
    answers: Sequence[Mapping[str, Tensor]], temperatures: Sequence[float]
) -> list[Tensor]:
    """The "logits" of each, divided by a temperature each: what `Loss.vote` takes."""
    pairs = zip(answers, temperatures, strict=True)
    return [outputs["logits"] / temperature for outputs, temperature in pairs]


LOSSES: Mapping[str, type[Loss]] = {
    "cross_entropy": CrossEntropy,
    "softmax_focal": SoftmaxFocal,
    "bce": BinaryCrossEntropy,
    "sigmoid_focal": SigmoidFocal,
}


def make_loss(name: str, args: Mapping[str, Any]) -> Loss:
    """The loss called `name`, built with JSON-able `args`."""
    return LOSSES[name](**args)


def _buffer(values: Sequence[float] | None) -> Tensor | None:
    return None if values is None else torch.tensor(list(values), dtype=torch.float32)
