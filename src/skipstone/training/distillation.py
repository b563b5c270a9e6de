"""Distillation: a network learns from a teacher's outputs as well as from the labels.

Hinton, Vinyals and Dean 2015 (arXiv:1503.02531, section 2). Teacher and student see the same
augmented batch (Beyer et al. 2022, arXiv:2106.05237, section 3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from skipstone.models.losses import Criterion, Targets
from skipstone.models.network import Network
from skipstone.training.objective import Objective


class Distillation(Objective):
    """(1 - share) of the loss on labels, and `share` of the loss on the teacher's outputs.

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
        distillation = self.criterion.distillation_loss(outputs, teacher_outputs, y)
        parts = {name: (1 - self.share) * value for name, value in losses.items()}
        return parts | {f"teacher_{k}": self.share * value for k, value in distillation.items()}
