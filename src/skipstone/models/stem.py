"""A first layer that stays in float32 when the rest of a network is computed in bfloat16.

bfloat16 keeps 8 bits of a number. Where pixels have 16, the first convolution is what can still
tell neighbouring values apart; once it has, its outputs may be rounded as everywhere.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.errors import UsageError


def keep_stem_exact(backbone: nn.Module) -> None:
    """Compute the backbone's first convolution in float32 under any autocast.

    Its type changes to a subclass; names, values and everything else stay.

    Raises:
        UsageError: no convolution comes first, so that nothing can be promised.
    """
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            kind: Any = type(module)
            module.__class__ = _exact(kind)
            return
    raise UsageError(
        "pictures of more than 8 bits need a network whose first layer is a convolution.",
        hint="Choose another --model, or reduce them: --bits 8",
    )


class _Exact:
    """Before a class of convolutions: its forward pass, out of autocast's reach."""

    def forward(self, x: Tensor) -> Tensor:
        forward: Any = super().forward  # type: ignore[misc]
        kind = x.device.type
        if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
            found: Tensor = forward(x)
            return found
        with torch.autocast(kind, enabled=False):
            exact: Tensor = forward(x.float())
            return exact


@functools.cache
def _exact(kind: Any) -> Any:
    return type(f"Exact{kind.__name__}", (_Exact, kind), {})
