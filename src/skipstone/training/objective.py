"""What is minimised: a network, a criterion and a batch give losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skipstone.core.errors import Refusal
from skipstone.models.heads.auxiliary import add_auxiliary_heads
from skipstone.models.losses import (
    Criterion,
    CrossEntropy,
    LogitsCriterion,
    Outputs,
    PixelCrossEntropy,
    Targets,
    dist_loss,
)
from skipstone.models.network import Network, blend_pairs, mixing_share
from skipstone.tasks.base import Task
from skipstone.training.recipe import Recipe


def criterion_for(network: Network, task: Task) -> Criterion:
    """The criterion that the network's head brings, else the task's."""
    criterion = network.head.criterion()
    return task.criterion() if criterion is None else criterion


def make_objective(network: Network, task: Task, recipe: Recipe) -> Objective:
    """What a training minimises; adds auxiliary heads to the network where the recipe weighs them."""
    criterion = criterion_for(network, task)
    if recipe.auxiliary_loss:
        criterion = add_auxiliary_heads(network, criterion, factor=recipe.auxiliary_loss)
    return Objective(network, criterion, l1=recipe.l1)


class Objective(nn.Module):
    """A criterion on the outputs of a network, plus penalties on its weights.

    Args:
        network: what is trained.
        criterion: of its outputs; moved to the network's device.
        l1: factor of the L1 penalty, over the tensors that weight decay acts on.
    """

    def __init__(self, network: Network, criterion: Criterion, *, l1: float = 0.0) -> None:
        super().__init__()
        self.network = network
        self.criterion = criterion.to(next(network.parameters()).device)
        self.l1 = l1

    def weight(self, y: Targets) -> Tensor:
        """What the losses of these targets are divided by; from targets alone."""
        return self.criterion.weight(y)

    def sum_losses(self, x: dict[str, Tensor], y: Targets) -> dict[str, Tensor]:
        """Named losses of one batch, each the sum over what `weight` counts."""
        outputs = self.network.training_outputs(*self.network.features_and_size(x))
        losses: dict[str, Tensor] = self.criterion(outputs, y)
        return losses

    def forward(
        self, x: dict[str, Tensor], y: Targets, *, weight: Tensor, share: float = 1.0
    ) -> dict[str, Tensor]:
        """Losses of one batch.

        Args:
            x: inputs by name, (N, ...).
            y: targets by name.
            weight: of the whole step, which may be more than this batch (accumulation).
            share: this batch's part of the step's penalties.
        Returns:
            "loss", the scalar to differentiate, and its named parts, detached.
        """
        if (mixing := mixing_share(x)) is not None:  # `Network.features` blends these pairs
            y = {name: _blend_target(value, mixing) for name, value in y.items()}
        sums = self.sum_losses(x, y)
        # A step whose targets weigh nothing (no labelled pixel) has sums of zero.
        divisor = weight.float().clamp_min(1e-6)
        parts = {name: value.float() / divisor for name, value in sums.items()}
        if self.l1:
            parts["l1"] = share * self.l1 * self.l1_norm()
        losses = {name: value.detach() for name, value in parts.items()}
        losses["loss"] = torch.stack(list(parts.values())).sum()
        return losses

    def l1_norm(self) -> Tensor:
        """Sum of the absolute values of all trained weights that are neither norms nor biases."""
        weights: list[Tensor] = [
            p for p in self.network.parameters() if p.requires_grad and p.ndim > 1
        ]
        return torch.stack(torch._foreach_norm(weights, 1)).sum()


def _blend_target(target: Any, share: Tensor) -> Any:
    """Soft targets are blended; any other target stays as it is."""
    is_soft = isinstance(target, Tensor) and target.is_floating_point()
    return blend_pairs(target, share) if is_soft else target


class Distillation(Objective):
    """(1 - share) of the loss on labels, and `share` of the loss on the teacher's outputs (Hinton,
    Vinyals and Dean 2015, arXiv:1503.02531, section 2). Teacher and student see the same augmented
    batch (Beyer et al. 2022, arXiv:2106.05237, section 3).

    Args:
        teacher: gives the same outputs; it does not learn, and is neither trained nor saved.
        share: from 0 (labels only) to 1 (the teacher only).
    """

    def __init__(
        self,
        network: Network,
        criterion: Criterion,
        teacher: Network,
        *,
        share: float = 0.7,
        l1: float = 0.0,
    ) -> None:
        super().__init__(network, criterion, l1=l1)
        # In a list, so that it is not a submodule: no optimizer sees its parameters.
        self._teacher = [teacher.requires_grad_(False).eval()]
        self.share = share

    def sum_losses(self, x: dict[str, Tensor], y: Targets) -> dict[str, Tensor]:
        features, size = self.network.features_and_size(x)
        losses: dict[str, Tensor] = self.criterion(self.network.training_outputs(features, size), y)
        teacher = self._teacher[0].to(features[0].device)
        with torch.no_grad():
            teacher_outputs = teacher.training_outputs(teacher.features(x), size)
        # The head runs again: one run for both losses would round its gradient otherwise.
        outputs = self.network.training_outputs(features, size)
        distillation = self.compare_outputs(outputs, teacher_outputs, y)
        parts = {name: (1 - self.share) * value for name, value in losses.items()}
        return parts | {f"teacher_{k}": self.share * value for k, value in distillation.items()}

    def compare_outputs(
        self, outputs: Outputs, teacher_outputs: Outputs, y: Targets
    ) -> dict[str, Tensor]:
        """Named losses against the teacher's outputs, each the sum over what `weight` counts."""
        return self.criterion.distillation_loss(outputs, teacher_outputs, y)


class DistDistillation(Distillation):
    """Distillation of correlations (`dist_loss`) instead of probabilities.

    Raises:
        Refusal: the outputs are not one softmax over classes per sample.
    """

    def __init__(
        self, network: Network, criterion: Criterion, teacher: Network, **args: float
    ) -> None:
        super().__init__(network, criterion, teacher, **args)
        loss = criterion.loss if isinstance(criterion, LogitsCriterion) else None
        if not isinstance(loss, CrossEntropy) or isinstance(loss, PixelCrossEntropy):
            raise Refusal(
                "DIST compares one class per sample, and this model gives something else.",
                hint="Use loss=logits.",
            )

    def compare_outputs(
        self, outputs: Outputs, teacher_outputs: Outputs, y: Targets
    ) -> dict[str, Tensor]:
        loss = dist_loss(outputs["logits"], teacher_outputs["logits"])
        return {"loss": loss * self.weight(y)}
