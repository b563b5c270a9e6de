"""CRNN: convolutions that look at a spectrogram, then an LSTM or GRU over its frames.

Cakir et al. 2017, arXiv:1702.06286, figure 1. The convolutions keep the frames apart and make the
bands fewer, so that the recurrent layers read one vector per frame:

    spectrogram                                  (N, C,  bands,     frames)
    two convolutions, each pooling 2 bands       (N, 64, bands / 4, frames / 2)
    mean of neighbouring bands                   (N, 64, 10,        frames / 2)
    one vector per frame                         (N, frames / 2, 640)
    recurrent layers in both directions          (N, frames / 2, 2 x hidden)
    attention over the frames                    (N, 2 x hidden)

Attention (`skipstone.models.text_recurrent`) replaces the answer per frame of the paper, as here a
recording has one answer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.models.audio_backbone_options import CrnnOptions
from skipstone.models.backbone import Backbone
from skipstone.models.text_recurrent import Attention, UnidirectionalRecurrent

#: Groups of bands that a frame's vector has, however many bands the spectrogram has.
_BANDS = 10
#: Channels of the two convolutions, and the pool (bands, frames) after each.
_STAGES = ((32, (2, 2)), (64, (2, 1)))


class Crnn(Backbone):
    """Spectrograms (N, C, bands, frames) -> one vector per recording (N, 2 x hidden)."""

    def __init__(self, options: CrnnOptions, in_channels: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        before = in_channels
        for channels, pool in _STAGES:
            self.stages.append(
                nn.Sequential(
                    nn.Conv2d(before, channels, 3, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                    nn.MaxPool2d(pool, ceil_mode=True),
                )
            )
            before = channels
        width = 2 * options.hidden
        self.layers = nn.ModuleList(
            nn.ModuleList(
                UnidirectionalRecurrent(
                    options.cell.upper(), width if layer else before * _BANDS, options.hidden
                )
                for _ in range(2)
            )
            for layer in range(options.layers)
        )
        self.attention = Attention(width)
        self.dropout = nn.Dropout(options.dropout)
        self.channels, self.strides, self.classifier_name = (width,), (1,), "head"

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        for stage in self.stages:
            x = stage(x)
        x = F.pad(x, (0, 0, 0, -x.shape[2] % _BANDS))
        x = x.reshape(x.shape[0], x.shape[1], _BANDS, -1, x.shape[3]).mean(dim=3)  # (N, C, 10, T)
        states = x.flatten(1, 2).transpose(1, 2)  # (N, T, 10 C)
        for cells in self.layers:
            assert isinstance(cells, nn.ModuleList)
            onward, backward = cells
            states = self.dropout(states)
            states = torch.cat([onward(states), backward(states.flip(1)).flip(1)], dim=2)
        everywhere = torch.ones_like(states[:, :, 0], dtype=torch.bool)
        return (self.dropout(self.attention(states, everywhere)),)

    def stage_modules(self) -> list[list[nn.Module]]:
        convolutions: list[list[nn.Module]] = [[stage] for stage in self.stages]
        return [*convolutions, [*self.layers, self.attention]]


def build_crnn(name: str, options: CrnnOptions, *, in_channels: int) -> Crnn:
    return Crnn(options, in_channels)
