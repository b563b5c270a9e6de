"""The preprocessing modules of several inputs as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class MultiInputPreprocessing(nn.Module):
    """The fronts in parallel.

    Args:
        names: of each front's arrays, without their number.
    """

    def __init__(self, fronts: Sequence[nn.Module], names: Sequence[Sequence[str]]) -> None:
        super().__init__()
        self.fronts = nn.ModuleList(fronts)
        self.names = [list(of_front) for of_front in names]

    def forward(self, x: dict[str, Tensor]) -> tuple[Any, ...]:
        return tuple(
            front({name: x[f"{name}_{at}"] for name in names})
            for at, (front, names) in enumerate(zip(self.fronts, self.names, strict=True))
        )
