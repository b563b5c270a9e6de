"""The argmax over classes inside the graph of a segmentation network."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ArgmaxMaskLayer(nn.Module):
    """{"logits": (N, K, H, W)} -> {"mask": uint8 (N, H, W)}."""

    def forward(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"mask": outputs["logits"].argmax(dim=1).to(torch.uint8)}
