"""Auxiliary heads: on the right maps, learning, and gone afterwards."""

import pytest
import torch
from torch import nn

from skipstone.core.errors import UsageError
from skipstone.core.registry import BACKBONES, HEADS
from skipstone.models.heads.auxiliary import add_auxiliary_heads
from skipstone.models.losses import CrossEntropy, LogitsCriterion, PixelCrossEntropy
from skipstone.models.network import Network
from skipstone.training.objective import Objective

CLASSES = 3


class Front(nn.Module):
    def forward(self, x):
        return x["image"]


def network(name, head, **options):
    torch.manual_seed(0)
    entry = BACKBONES[name]
    backbone = entry.load()(name, entry.make_options({"width": 0.25, **options}), in_channels=3)
    part = HEADS[head]
    made = part.load()(
        part.make_options(),
        channels=backbone.channels,
        strides=backbone.strides,
        classes=CLASSES,
    )
    return Network(front=Front(), backbone=backbone, head=made).train()


@pytest.mark.parametrize(
    ("name", "head", "maps"),
    [
        ("googlenet", "linear", [3, 4]),
        ("resnet18", "fcn", [3]),  # no map is named, so the last but one of five
        ("googlenet", "lraspp", [3, 4]),
    ],
)
def test_each_named_map_has_a_loss_and_a_gradient(name, head, maps):
    net = network(name, head)
    is_mask = head != "linear"
    loss = PixelCrossEntropy(ignore_index=255) if is_mask else CrossEntropy()
    criterion = add_auxiliary_heads(net, LogitsCriterion(loss, "y"), factor=0.3)
    assert list(net.auxiliary) == [f"auxiliary_{index}" for index in maps]
    x = {"image": torch.randn(2, 3, 64, 64)}
    y = {"y": torch.randint(CLASSES, (2, 64, 64) if is_mask else (2,))}
    objective = Objective(net, criterion)
    losses = objective(x, y, weight=objective.weight(y))
    parts = [losses[f"auxiliary_{index}.loss"] for index in maps]
    total = losses["loss"]
    assert float(total.detach()) > float(torch.stack(parts).sum())  # and the network's own
    assert all(0.1 < float(part) / 0.3 < 5 for part in parts)
    total.backward()
    assert all(p.grad is not None for p in net.auxiliary.parameters())
    net.auxiliary.clear()
    assert not any("auxiliary" in key for key in net.state_dict())


def test_one_map_has_none_in_the_middle():
    net = network("efficientnet_b0", "linear", depth=0.1)
    with pytest.raises(UsageError, match="one map only") as caught:
        add_auxiliary_heads(net, LogitsCriterion(CrossEntropy(), "y"), factor=0.3)
    assert "--last-map features" in str(caught.value.hint)
