"""The identity head, for backbones whose last features are the logits."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from skipstone.models.heads.base import Head


class IdentityHead(Head):
    """(N, K) features -> {"logits": (N, K)}, without parameters.

    Args:
        options: None.
        channels: of the backbone's feature maps; the last has one per class.
        strides: unused.
        classes: K.
    """

    def __init__(
        self,
        options: None,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
    ) -> None:
        super().__init__()
        assert channels[-1] == classes, "one feature per class"

    def forward(self, features: tuple[Tensor, ...], size: Sequence[int]) -> dict[str, Tensor]:
        return {"logits": features[-1]}
