"""FCN: fully convolutional networks (Long, Shelhamer and Darrell 2015, arXiv:1411.4038).

An image classifier whose last layers are convolutions gives class scores at each position of the
deepest map, which are resized to the image. At stride 32 that is coarse, so scores of shallower
maps are added:

    score_32 = classifier(map_32)                          (N, K, H/32, W/32)
    score_16 = resize(score_32) + conv1x1(map_16)          (N, K, H/16, W/16)
    score_8  = resize(score_16) + conv1x1(map_8)           (N, K, H/8,  W/8)
    logits   = resize(score_8)                             (N, K, H, W)

FCN-32s, FCN-16s and FCN-8s stop at the first, second or third. The skips' convolutions are
initialised with zero, so that the net starts as FCN-32s (section 4.2). Resizing is bilinear and
not trained, as in the authors' later code. On a backbone that dilates instead of striding (output
stride 8) the deepest map has stride 8 and no skip is used: that is torchvision's FCN, whose
classifier and names we follow.
"""

from __future__ import annotations

from torch import Tensor, nn

from skipstone.models.heads.dense import (
    DenseHead,
    Features,
    conv_norm_relu,
    deepest_by_stride,
    resize_bilinear,
)
from skipstone.models.heads.options import FcnOptions


class FcnHead(DenseHead):
    """Class scores of the deepest map, refined by those of shallower maps."""

    def __init__(
        self,
        options: FcnOptions,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
    ) -> None:
        super().__init__()
        hidden = channels[-1] // 4
        self.classifier = nn.Sequential(
            *conv_norm_relu(channels[-1], hidden, 3),
            nn.Dropout(options.dropout),
            nn.Conv2d(hidden, classes, 1),
        )
        skips = list(deepest_by_stride(strides).items())[1:]  # deepest first
        self.skips = [index for stride, index in skips if stride >= options.fcn_stride]
        self.scores = nn.ModuleList(nn.Conv2d(channels[i], classes, 1) for i in self.skips)
        for parameter in self.scores.parameters():
            nn.init.zeros_(parameter)

    def class_layers(self) -> list[nn.Conv2d]:
        return [m for m in (self.classifier[-1], *self.scores) if isinstance(m, nn.Conv2d)]

    def decode(self, features: Features) -> Tensor:
        score: Tensor = self.classifier(features[-1])  # (N, K, H/32, W/32)
        for index, layer in zip(self.skips, self.scores, strict=True):
            finer = layer(features[index])  # (N, K, H/16, W/16), then (N, K, H/8, W/8)
            score = resize_bilinear(score, finer.shape[-2:]) + finer
        return score
