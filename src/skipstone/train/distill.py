"""Distillation: a smaller network learns from a larger one's answers as well as from the labels.

Hinton, Vinyals and Dean 2015 (arXiv:1503.02531, section 2). Teacher and student see the same
augmented batch (Beyer et al. 2022, arXiv:2106.05237, section 3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from skipstone.models.heads.base import Targets
from skipstone.models.network import Network
from skipstone.train.objective import Objective


class Distillation(Objective):
    """(1 - share) of the loss on labels, and `share` of the loss on the teacher's answers.

    Args:
        teacher: of the same outputs; it never learns, and is no part of what is trained or saved.
        share: from 0 (labels only) to 1 (the teacher only).
    """

    def __init__(
        self, network: Network, teacher: Network, *, share: float = 0.7, l1: float = 0.0
    ) -> None:
        super().__init__(network, l1=l1)
        # In a list, so that it is no submodule: its parameters are nobody's to train.
        self._teacher = [teacher.requires_grad_(False).eval()]
        self.share = share

    def sums(self, x: dict[str, Tensor], y: Targets) -> dict[str, Tensor]:
        teacher = self._teacher[0].to(next(self.network.parameters()).device)
        with torch.no_grad():
            answers = teacher.head(teacher.features(x))
        features = self.network.features(x)
        labels = self.network.head.loss(features, y)
        parts = {name: (1 - self.share) * value for name, value in labels.items()}
        imitated = self.network.head.imitate(features, answers, y)
        return parts | {f"teacher_{k}": self.share * value for k, value in imitated.items()}
