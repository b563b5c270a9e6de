"""What images pass inside the graph, before the backbone. Inputs import this file when a network is
built, so that a program predicts without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_WINDOW = 5
_MAX_DETAIL = 8.0


class ImagePreprocessing(nn.Module):
    """{"image": (N, H, W, C) uint8 or float in 0..255} -> (N, C, H, W) float32, normalised.

    The permute leaves channels_last strides. Computes in float32 under any autocast and network
    dtype: 8-bit pixels times 1/255 would lose their last bits in bfloat16. The state dict is
    empty, because mean and std belong to the input's state.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self._mean, self._std = tuple(map(float, mean)), tuple(map(float, std))
        self._register_buffers(torch.device("cpu"))

    def _register_buffers(self, device: torch.device) -> None:
        std = torch.tensor(self._std, dtype=torch.float64)
        mean = torch.tensor(self._mean, dtype=torch.float64)
        for name, value in (("scale", 1 / (255 * std)), ("shift", -mean / std)):
            value = value.float().view(1, -1, 1, 1).to(device)
            self.register_buffer(name, value, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ImagePreprocessing:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.scale.dtype != torch.float32:  # network.bfloat16() leaves this module exact
            self._register_buffers(self.scale.device)
        return self

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        image = x["image"].permute(0, 3, 1, 2).to(torch.float32)  # (N, C, H, W)
        return image * self.scale + self.shift

    def extra_repr(self) -> str:
        return f"mean={self._mean}, std={self._std}"


class UpsamplingPreprocessing(nn.Module):
    """`front` after a bilinear resize: (N, h, w, C) of any size -> (N, ..., side, side)."""

    def __init__(self, front: nn.Module, side: int) -> None:
        super().__init__()
        self.front, self.side = front, side

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        image = x["image"].permute(0, 3, 1, 2).to(torch.float32)  # (N, C, h, w)
        image = F.interpolate(image, (self.side, self.side), mode="bilinear")
        arrays: Tensor = self.front({**x, "image": image.permute(0, 2, 3, 1)})
        return arrays


class HighDepthPreprocessing(nn.Module):
    """{"image": (N, H, W, C), uint8, uint16 or float32} -> (N, C, H, W) float32, scaled.

    With `detail` (see `HighDepthImageInput`) (N, 2 C, H, W): the channels, then their detail. Computes in
    float32 under any autocast. OpenVINO runs nodes that its own rewriting creates in bfloat16, so
    the cast comes first and nothing is subtracted.
    """

    scale: Tensor
    shift: Tensor
    fine: Tensor
    minus_fine: Tensor

    def __init__(
        self,
        scale: Sequence[float],
        shift: Sequence[float],
        detail: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.with_detail = detail is not None
        fine = [1 / (_MAX_DETAIL * spread) for spread in detail or ()]
        rows = {"scale": scale, "shift": shift, "fine": fine, "minus_fine": [-x for x in fine]}
        for name, value in rows.items():
            row = torch.tensor(value, dtype=torch.float64).float().view(1, -1, 1, 1)
            self.register_buffer(name, row, persistent=False)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        image = x["image"].to(torch.float32).permute(0, 3, 1, 2)  # (N, C, H, W)
        scaled = image * self.scale + self.shift
        if not self.with_detail:
            return scaled
        # tanh bounds the edges of large objects, which are hundreds of times the spread
        detail = image * self.fine + compute_local_mean(image) * self.minus_fine
        detail = torch.tanh(detail) * _MAX_DETAIL
        return torch.cat([scaled, detail], 1)  # (N, 2 C, H, W)


def compute_local_mean(image: Tensor) -> Tensor:
    """Mean of the 5 x 5 pixels around each one (N, C, H, W); outside the image none count."""
    return F.avg_pool2d(image, _WINDOW, 1, _WINDOW // 2, count_include_pad=False)
