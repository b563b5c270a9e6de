"""Computes the first convolution in float32 where the rest of a network runs in bfloat16.

bfloat16 has 8 bits of precision, too few for 16-bit pixels. The outputs of the first convolution
may be rounded.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.core.errors import UsageError


def keep_stem_in_float32(backbone: nn.Module) -> None:
    """Compute the backbone's first convolution in float32 under any autocast.

    Its class changes to a subclass; names and values stay.

    Raises:
        UsageError: the backbone has no convolution.
    """
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            cls: Any = type(module)
            module.__class__ = _float32_subclass(cls)
            return
    raise UsageError(
        "images of more than 8 bits need a network whose first layer is a convolution.",
        hint="Choose another --model, or reduce the images: --bits 8",
    )


class _Float32:
    """A mixin for a class of convolutions that disables autocast in its forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        forward: Any = super().forward  # type: ignore[misc]
        device = x.device.type
        if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
            output: Tensor = forward(x)
            return output
        with torch.autocast(device, enabled=False):
            exact: Tensor = forward(x.float())
            return exact


@functools.cache
def _float32_subclass(cls: Any) -> Any:
    return type(f"Float32{cls.__name__}", (_Float32, cls), {})
