"""What is minimised: a network and a batch give losses. Distillation is another objective."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skipstone.models.heads.base import Targets
from skipstone.models.network import Network, blend, share_kept


class Objective(nn.Module):
    """The head's loss on its network's features, plus penalties on the weights.

    Args:
        network: what is trained.
        l1: factor of the L1 penalty, over the tensors that weight decay acts on.
    """

    def __init__(self, network: Network, *, l1: float = 0.0) -> None:
        super().__init__()
        self.network = network
        self.l1 = l1

    def weight(self, y: Targets) -> Tensor:
        """What the losses of these targets are divided by; from targets alone."""
        return self.network.head.weight(y)

    def sums(self, x: dict[str, Tensor], y: Targets) -> dict[str, Tensor]:
        """Named losses of one batch, each the sum over what `weight` counts."""
        return self.network.head.loss(self.network.features(x), y)

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
        if (kept := share_kept(x)) is not None:  # `Network.features` blends the same pairs
            y = {name: _blended(value, kept) for name, value in y.items()}
        sums = self.sums(x, y)
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


def _blended(target: Any, share: Tensor) -> Any:
    """Soft targets; whatever else there is of a sample stays its own."""
    soft = isinstance(target, Tensor) and target.is_floating_point()
    return blend(target, share) if soft else target
