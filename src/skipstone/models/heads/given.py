"""The head of a backbone that answers itself: its last features are the logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from skipstone.models.heads.base import Head, Targets
from skipstone.models.losses import make_loss


class GivenHead(Head):
    """(N, K) features -> {"logits": (N, K)}, without parameters.

    Args:
        options: none; every head is told.
        channels: of the backbone's feature maps; the last has one a class.
        strides: unused here.
        classes: K.
        loss: as `LinearHead` takes it.
    """

    def __init__(
        self,
        options: None,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
        loss: Mapping[str, Any],
    ) -> None:
        super().__init__()
        assert channels[-1] == classes, "one feature a class"
        self.criterion: nn.Module = make_loss(loss["name"], loss["args"])
        self.target = str(loss["target"])

    def forward(self, features: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return {"logits": features[-1]}

    def loss(self, features: tuple[Tensor, ...], y: Targets) -> dict[str, Tensor]:
        return {"loss": self.criterion(features[-1], y[self.target])}

    def weight(self, y: Targets) -> Tensor:
        weight: Tensor = self.criterion.weight(y[self.target])  # type: ignore[operator]
        return weight

    def reset(self) -> None:
        """Nothing here is learnt."""
