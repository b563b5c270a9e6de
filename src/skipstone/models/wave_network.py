"""M5: a small network of one-dimensional convolutions on waveforms.

Dai et al. 2017, "Very deep convolutional neural networks for raw waveforms", arXiv:1610.00087, table
1. Convolutions along time are 2D ones of height 1, so that every runtime and step treats them as
those of pictures.
"""

from __future__ import annotations

from torch import Tensor, nn

from skipstone.models.audio_backbone_options import WaveNetworkOptions
from skipstone.models.backbone import Backbone

#: Of each stage: channels, kernel, stride of the convolution; a pool by 4 follows.
_STAGES = ((128, 80, 4), (128, 3, 1), (256, 3, 1), (512, 3, 1))
_POOL = 4


class WaveNetwork(Backbone):
    """Waveforms (N, C, 1, L) -> four maps, the deepest (N, 512 x width, 1, L / 1024)."""

    def __init__(self, options: WaveNetworkOptions, in_channels: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        channels, strides, total = [], [], 1
        before = in_channels
        for width, kernel, stride in _STAGES:
            count = max(1, round(width * options.width))
            self.stages.append(
                nn.Sequential(
                    nn.Conv2d(
                        before,
                        count,
                        (1, kernel),
                        stride=(1, stride),
                        padding=(0, kernel // 2),
                        bias=False,
                    ),
                    nn.BatchNorm2d(count),
                    nn.ReLU(),
                    nn.MaxPool2d((1, _POOL), ceil_mode=True),
                )
            )
            before, total = count, total * stride * _POOL
            channels.append(count)
            strides.append(total)
        self.channels, self.strides, self.classifier_name = tuple(channels), tuple(strides), "fc"

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)

    def stage_modules(self) -> list[list[nn.Module]]:
        return [[stage] for stage in self.stages]


def build_wave_network(name: str, options: WaveNetworkOptions, *, in_channels: int) -> WaveNetwork:
    return WaveNetwork(options, in_channels)
