"""The identity head, for backbones whose last features are the logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from skipstone.models.heads.base import Head, Targets
from skipstone.models.losses import make_loss, softened


class IdentityHead(Head):
    """(N, K) features -> {"logits": (N, K)}, without parameters.

    Args:
        options: None.
        channels: of the backbone's feature maps; the last has one per class.
        strides: unused.
        classes: K.
        loss: as of `LinearHead`.
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
        assert channels[-1] == classes, "one feature per class"
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

    def _read(self, y: Targets) -> Tensor:
        target = y[self.target]
        assert isinstance(target, Tensor), f"{self.target!r} must be one tensor per batch"
        return target
