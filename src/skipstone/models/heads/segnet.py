"""SegNet's decoder (Badrinarayanan, Kendall and Cipolla 2017, arXiv:1511.00561).

Its encoder (`skipstone.models.vgg`) downsamples by 2x2 max pooling. The decoder unpools:
it writes each value to the position of its window's maximum in the encoder, with zeros around it,
and then convolves:

    x = map_32                                             (N, 512, H/32, W/32)
    x = convs(max_unpool(x, places(map_16)))               (N, 512, H/16, W/16)
    x = convs(max_unpool(x, places(map_8)))                (N, 256, H/8,  W/8)
    x = convs(max_unpool(x, places(map_4)))                (N, 128, H/4,  W/4)
    x = convs(max_unpool(x, places(map_2)))                (N, 64,  H/2,  W/2)
    logits = convs(max_unpool(x, places(map_1)))           (N, K,   H,    W)

The positions are computed here from the encoder's maps before pooling, so that the backbone returns
feature maps only, also in an export.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn import functional as F

from skipstone.models.heads.dense import DenseHead, Features, conv_norm_relu
from skipstone.models.heads.options import SegNetOptions


class SegNetHead(DenseHead):
    """The encoder's mirror image: five times unpooling and as many convolutions as the encoder.

    Args:
        strides: of the encoder's maps, each twice the one before.
    """

    def __init__(
        self,
        options: SegNetOptions,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for depth in reversed(range(len(channels) - 1)):  # deepest first
            layers: list[nn.Module] = []
            for _ in range(count_convolutions(depth) - 1):
                layers += conv_norm_relu(channels[depth], channels[depth], 3)
            if depth > 0:
                layers += conv_norm_relu(channels[depth], channels[depth - 1], 3)
            else:
                layers.append(nn.Conv2d(channels[0], classes, 3, padding=1))
            self.stages.append(nn.Sequential(*layers))

    def class_layers(self) -> list[nn.Conv2d]:
        last = self.stages[-1]
        assert isinstance(last, nn.Sequential)
        return [layer for layer in last[-1:] if isinstance(layer, nn.Conv2d)]

    def decode(self, features: Features) -> Tensor:
        x = features[-1]  # (N, 512, H/32, W/32)
        for stage, before in zip(self.stages, reversed(features[:-1]), strict=True):
            x = stage(max_unpool(x, before))  # (N, 512, H/16, W/16), ... (N, K, H, W)
        return x


def count_convolutions(depth: int) -> int:
    """Convolutions of a stage of VGG-16, from 0: 2, 2, 3, 3, 3."""
    return 2 if depth < 2 else 3


def max_unpool(x: Tensor, before: Tensor) -> Tensor:
    """Each value of x at the position of its 2x2 window's maximum; zeros elsewhere.

    Ties go to the first in row-major order, as in torch's max pooling: this equals `max_unpool2d`
    with the indices of pooling `before`. It uses operators that every runtime has.

    Args:
        x: (N, C, h, w).
        before: the map before pooling, (N, C, H, W), h = ceil(H / 2), w = ceil(W / 2).
    Returns:
        (N, C, H, W).
    """
    batch, channels, height, width = before.shape
    rows, columns = x.shape[-2:]
    pad = (0, 2 * columns - width, 0, 2 * rows - height)  # windows at the border
    padded = F.pad(before.detach(), pad, value=-torch.inf)
    windows = padded.reshape(batch, channels, rows, 2, columns, 2).permute(0, 1, 2, 4, 3, 5)
    place = windows.flatten(4).argmax(dim=4, keepdim=True)  # (N, C, h, w, 1)
    chosen = place == torch.arange(4, device=x.device)  # (N, C, h, w, 4)
    spread = (x[..., None] * chosen).reshape(batch, channels, rows, columns, 2, 2)
    padded = spread.permute(0, 1, 2, 4, 3, 5).reshape(batch, channels, 2 * rows, 2 * columns)
    return crop_to_size(padded, height, width)


def crop_to_size(x: Tensor, height: int, width: int) -> Tensor:
    """The first rows and columns of x, cropped in a way that keeps dynamic sizes in an export."""
    for dim, length in ((2, height), (3, width)):
        if not statically_known_true(x.shape[dim] == length):
            x = x.index_select(dim, torch.arange(length, device=x.device))
    return x
