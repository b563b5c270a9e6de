"""Hidden channels: taking one away changes what its own effect was, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from skipstone.compression.steps.prune import ChannelGroup, find_channel_groups
from skipstone.core.registry import BACKBONES


class Block(nn.Module):
    """A residual block: a's channels are hidden, b's are added to the input's."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1)
        self.c = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(x + self.b(self.norm(self.a(x)).relu()))


def test_what_is_added_to_others_is_not_hidden() -> None:
    found = find_channel_groups(Block(), torch.zeros(2, 4, 3, 3))
    assert found == [ChannelGroup("a", ("norm",), "b", 6)]
    assert found[0].with_prefix("net") == ChannelGroup("net.a", ("net.norm",), "net.b", 6)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(self.b(x)))


class Tapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.a(x)
        return hidden, self.b(hidden)


@pytest.mark.parametrize("make", [Twice, Tapped])
def test_what_another_reads_is_not_hidden(make) -> None:
    assert find_channel_groups(make(), torch.zeros(2, 4, 3, 3)) == []


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet18", 8), ("resnet50", 32), ("resnet20", 9), ("timm/efficientnet_lite0", 17)],
)
def test_silenced_hidden_channels_change_nothing_beyond_their_reader(name, count) -> None:
    """Zero columns in the reader equal channels that are gone: the others' answers are the same."""
    entry = BACKBONES[name]
    torch.manual_seed(0)
    backbone = entry.load()(name, entry.make_options({}), in_channels=3).eval()
    x = torch.rand(2, 3, 32, 32)
    found = find_channel_groups(backbone, x)
    assert len(found) == count
    layers = dict(backbone.named_modules())
    with torch.no_grad():
        for hidden in found:
            layers[hidden.consumer].weight[:, 0] = 0
        silent = backbone(x)
        for hidden in found:  # whatever the silenced channels hold, nobody hears it
            layers[hidden.producer].weight[0] = 3.0
            for between in hidden.between:
                layers[between].weight[0] = 2.0
        for one, other in zip(silent, backbone(x), strict=True):
            torch.testing.assert_close(one, other)
