"""The linear head: global average pooling and one linear layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from skipstone.models.heads.base import Head
from skipstone.models.heads.options import LinearOptions


class LinearHead(Head):
    """Global average pool -> dropout -> linear -> {"logits": (N, classes)}.

    Args:
        options: dropout.
        channels: channels of the backbone's feature maps; the last one is used.
        strides: unused.
        classes: K.
    """

    def __init__(
        self,
        options: LinearOptions,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(options.dropout)
        self.linear = nn.Linear(channels[-1], classes)

    def forward(self, features: tuple[Tensor, ...], size: Sequence[int]) -> dict[str, Tensor]:
        deepest = features[-1]  # (N, C, H, W), or (N, C) without spatial dimensions
        pooled = deepest.mean(dim=tuple(range(2, deepest.ndim))) if deepest.ndim > 2 else deepest
        return {"logits": self.linear(self.dropout(pooled))}

    def class_parameter_names(self) -> tuple[str, ...]:
        return ("linear.weight", "linear.bias")
