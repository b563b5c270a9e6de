"""Base of the segmentation decoders, their convolutions, and selection of maps by stride.

A decoder turns feature maps into class logits at some stride, (N, K, h, w). They are resized
bilinearly to the input.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import statically_known_true

from skipstone.core.registry import HEADS
from skipstone.models.heads.base import Head
from skipstone.models.heads.options import FcnOptions

Features = tuple[Tensor, ...]


class DenseHead(Head):
    """Feature maps -> {"logits": (N, K, H, W)}; a decoder adds `decode`."""

    #: of the bilinear resize; True in TensorFlow's DeepLab
    align_corners: ClassVar[bool] = False

    @abstractmethod
    def decode(self, features: Features) -> Tensor:
        """Logits at any stride, (N, K, h, w)."""

    def forward(self, features: Features, size: Sequence[int]) -> dict[str, Tensor]:
        logits = self.decode(features).float()  # in bfloat16 similar logits would tie
        resized = resize_bilinear(logits, size, align_corners=self.align_corners)
        return {"logits": resized}  # (N, K, H, W)

    def class_layers(self) -> Sequence[nn.Conv2d]:
        """The convolutions whose output channels are the classes; empty if classes are fixed."""
        return ()

    def make_auxiliary(self, channels: int, stride: int) -> Head | None:
        layers = self.class_layers()
        if not layers:
            return None
        classes = layers[0].out_channels
        decoder = HEADS["fcn"].load()  # by name, since it is a DenseHead itself
        made: Head = decoder(FcnOptions(), channels=(channels,), strides=(stride,), classes=classes)
        return made

    def class_parameter_names(self) -> tuple[str, ...]:
        names = {id(module): name for name, module in self.named_modules()}
        return tuple(
            f"{names[id(layer)]}.{parameter}"
            for layer in self.class_layers()
            for parameter, _ in layer.named_parameters()
        )


def resize_bilinear(x: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Bilinear resize to (height, width); x itself if it has that size."""
    # `statically_known_true`, so that an export keeps dynamic sizes
    if all(statically_known_true(a == b) for a, b in zip(x.shape[-2:], size, strict=True)):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=align_corners)


def conv_norm_relu(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    dilation: int = 1,
    stride: int = 1,
    separable: bool = False,
) -> list[nn.Module]:
    """Convolution, batch norm, ReLU that divide height and width by `stride`; odd kernel, no bias.

    A separable convolution is a depthwise and a 1x1 convolution (Chollet 2017).
    """
    padding = dilation * (kernel // 2)
    conv: nn.Module
    if separable:
        depthwise = nn.Conv2d(
            *(inputs, inputs, kernel, stride),
            padding=padding,
            dilation=dilation,
            groups=inputs,
            bias=False,
        )
        conv = nn.Sequential(depthwise, nn.Conv2d(inputs, outputs, 1, bias=False))
    else:
        conv = nn.Conv2d(
            inputs, outputs, kernel, stride, padding=padding, dilation=dilation, bias=False
        )
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


def deepest_by_stride(strides: Sequence[int]) -> dict[int, int]:
    """{stride: index of the deepest map of that stride}, deepest first.

    >>> deepest_by_stride((2, 4, 8, 8, 8))
    {8: 4, 4: 1, 2: 0}
    """
    indices: dict[int, int] = {}
    for index in reversed(range(len(strides))):
        indices.setdefault(strides[index], index)
    return indices


def skip_map_index(strides: Sequence[int], stride: int) -> int:
    """Index of the deepest map of at most ``stride`` that is finer than the deepest map; else 0.

    >>> skip_map_index((2, 4, 8, 16, 32), 8), skip_map_index((4, 8, 8), 8), skip_map_index((16,), 8)
    (2, 0, 0)
    """
    candidates = [i for i, s in enumerate(strides) if s <= stride and s < strides[-1]]
    return max(candidates, default=0)


def deep_map_indices(strides: Sequence[int], count: int) -> list[int]:
    """Indices of the last `count` maps of stride 8 or more, on which boxes are predicted: shallower
    ones have too many pixels. The deepest if there is none.

    >>> deep_map_indices((2, 4, 8, 16, 32), 2), deep_map_indices((2, 4), 2)
    ([3, 4], [1])
    """
    deep = [index for index, stride in enumerate(strides) if stride >= 8]
    return deep[-count:] or [len(strides) - 1]


class ArgmaxMaskLayer(nn.Module):
    """{"logits": (N, K, H, W)} -> {"mask": uint8 (N, H, W)}."""

    def forward(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"mask": outputs["logits"].argmax(dim=1).to(torch.uint8)}
