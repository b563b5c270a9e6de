"""The head of a backbone that answers itself: its last features are the logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from skipstone.models.heads.base import Head, Targets
from skipstone.models.losses import make_loss, softened


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
        self.criterion = make_loss(loss["name"], loss["args"])
        self.target = str(loss["target"])

    def forward(self, features: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return {"logits": features[-1]}

    def loss(self, features: tuple[Tensor, ...], y: Targets) -> dict[str, Tensor]:
        return {"loss": self.criterion(features[-1], self._read(y))}

    def vote(
        self, answers: Sequence[dict[str, Tensor]], temperatures: Sequence[float]
    ) -> dict[str, Tensor]:
        return {"logits": self.criterion.vote(softened(answers, temperatures))}

    def weight(self, y: Targets) -> Tensor:
        return self.criterion.weight(self._read(y))

    def reset(self) -> None:
        """Nothing here is learnt."""

    def _read(self, y: Targets) -> Tensor:
        target = y[self.target]
        assert isinstance(target, Tensor), f"{self.target!r} must be one tensor a batch"
        return target
