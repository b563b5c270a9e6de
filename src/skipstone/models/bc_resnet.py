"""BC-ResNet: broadcasted residual learning for spectrograms.

Kim et al. 2021, "Broadcasted Residual Learning for Efficient Keyword Spotting", arXiv:2106.04140,
table 1 and figure 2. A block adds to its feature map a branch along frequency, and one along time
that is computed on the mean over frequency and broadcast to all frequencies. Norms after
convolutions along frequency have statistics per band of frequencies (Chang et al. 2021, "Subspectral
Normalization", arXiv:2103.13620).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.models.audio_backbone_options import BcResNetOptions
from skipstone.models.backbone import Backbone

#: Bands of `SubSpectralNorm`, and the product of the strides along frequency.
_SUB_BANDS, _STRIDE = 5, 8
#: Of each stage: blocks, channels in units of 8 x width, stride along frequency.
_STAGES = ((2, 1.0, 1), (2, 1.5, 2), (4, 2.0, 2), (4, 2.5, 1))
_STEM, _LAST = 2.0, 4.0


class SubSpectralNorm(nn.Module):
    """Batch norm with its own statistics for each of 5 bands: (N, C, F, T), F a multiple of 5."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels * _SUB_BANDS)

    def forward(self, x: Tensor) -> Tensor:
        count, channels, bands, frames = x.shape
        split = x.reshape(count, channels * _SUB_BANDS, bands // _SUB_BANDS, frames)
        normed: Tensor = self.norm(split)
        return normed.reshape(count, channels, bands, frames)


class BroadcastBlock(nn.Module):
    """(N, C_in, F, T) -> (N, C_out, F / stride, T). Without a change of channels it has a shortcut.

    Args:
        dilation: of the convolution along time.
    """

    def __init__(
        self, in_channels: int, channels: int, *, stride: int, dilation: int, dropout: float
    ) -> None:
        super().__init__()
        self.has_shortcut = in_channels == channels
        entry: list[nn.Module] = []
        if not self.has_shortcut:
            entry = [
                nn.Conv2d(in_channels, channels, 1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            ]
        self.frequency = nn.Sequential(
            *entry,
            nn.Conv2d(
                channels,
                channels,
                (3, 1),
                stride=(stride, 1),
                padding=(1, 0),
                groups=channels,
                bias=False,
            ),
            SubSpectralNorm(channels),
        )
        self.time = nn.Sequential(
            nn.Conv2d(
                channels,
                channels,
                (1, 3),
                padding=(0, dilation),
                dilation=(1, dilation),
                groups=channels,
                bias=False,
            ),
            nn.BatchNorm2d(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.Dropout2d(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        by_frequency = self.frequency(x)
        by_time = self.time(by_frequency.mean(dim=2, keepdim=True))  # (N, C, 1, T)
        total = by_frequency + by_time
        return F.relu(total + x if self.has_shortcut else total)


class BcResNet(Backbone):
    """Spectrograms (N, C, bands, frames) -> (N, 32 x width, bands / 8 - 4, frames).

    Bands are padded with zeros to a multiple of 40.
    """

    def __init__(self, options: BcResNetOptions, in_channels: int) -> None:
        super().__init__()

        def count(units: float) -> int:
            return max(1, int(8 * options.width * units))

        stem = count(_STEM)
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, stem, 5, stride=(2, 1), padding=2, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
        )
        self.stages = nn.ModuleList()
        channels = stem
        for number, (blocks, units, stride) in enumerate(_STAGES):
            stage = nn.Sequential()
            for block in range(blocks):
                stage.append(
                    BroadcastBlock(
                        channels,
                        count(units),
                        stride=1 if block else stride,
                        dilation=2**number,
                        dropout=options.block_dropout,
                    )
                )
                channels = count(units)
            self.stages.append(stage)
        self.last = nn.Sequential(
            nn.Conv2d(channels, channels, 5, padding=(0, 2), groups=channels, bias=False),
            nn.Conv2d(channels, count(_LAST), 1, bias=False),
            nn.BatchNorm2d(count(_LAST)),
            nn.ReLU(),
        )
        self.channels, self.strides, self.classifier_name = (
            (count(_LAST),),
            (_STRIDE,),
            "classifier",
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        missing = -x.shape[2] % (_SUB_BANDS * _STRIDE)
        if missing:
            x = F.pad(x, (0, 0, 0, missing))
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        features: Tensor = self.last(x)
        return (features,)

    def stage_modules(self) -> list[list[nn.Module]]:
        return [[self.stem], *([stage] for stage in self.stages), [self.last]]


def build_bc_resnet(name: str, options: BcResNetOptions, *, in_channels: int) -> BcResNet:
    return BcResNet(options, in_channels)
