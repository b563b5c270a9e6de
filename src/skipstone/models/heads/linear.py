"""The linear head: global average pooling and one linear layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from skipstone.models.heads.base import Head, Targets
from skipstone.models.heads.options import LinearOptions
from skipstone.models.losses import make_loss, softened


class LinearHead(Head):
    """Global average pool -> dropout -> linear -> {"logits": (N, classes)}.

    Args:
        options: dropout.
        channels: channels of the backbone's feature maps; the last one is used.
        strides: unused.
        classes: K.
        loss: {"name": one of models.losses.LOSSES, "target": the key of y that it reads,
            "args": what that loss is built with}. Class weights are not in the state dict.
    """

    def __init__(
        self,
        options: LinearOptions,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
        loss: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(options.dropout)
        self.linear = nn.Linear(channels[-1], classes)
        self.criterion = make_loss(loss["name"], loss["args"])
        self.target = str(loss["target"])

    def forward(self, features: tuple[Tensor, ...]) -> dict[str, Tensor]:
        deepest = features[-1]  # (N, C, H, W), or (N, C) without spatial dimensions
        pooled = deepest.mean(dim=tuple(range(2, deepest.ndim))) if deepest.ndim > 2 else deepest
        return {"logits": self.linear(self.dropout(pooled))}

    def loss(self, features: tuple[Tensor, ...], y: Targets) -> dict[str, Tensor]:
        return {"loss": self.criterion(self(features)["logits"], self._read(y))}

    def imitate(
        self, features: tuple[Tensor, ...], answers: dict[str, Tensor], y: Targets
    ) -> dict[str, Tensor]:
        return {"loss": self.criterion.imitate(self(features)["logits"], answers["logits"])}

    def vote(
        self, answers: Sequence[dict[str, Tensor]], temperatures: Sequence[float]
    ) -> dict[str, Tensor]:
        return {"logits": self.criterion.vote(softened(answers, temperatures))}

    def weight(self, y: Targets) -> Tensor:
        weight: Tensor = self.criterion.weight(self._read(y))
        return weight

    def named_rows(self) -> tuple[str, ...]:
        return ("linear.weight", "linear.bias")

    def _read(self, y: Targets) -> Tensor:
        target = y[self.target]
        assert isinstance(target, Tensor), f"{self.target!r} must be one tensor per batch"
        return target
