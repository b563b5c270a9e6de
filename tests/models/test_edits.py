"""Edits of structure: repeated by build_network, and bounded by the network that they edit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from skipstone.core.errors import DamagedError, UsageError
from skipstone.models.edits import apply_edits, resize_edit


def make() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.Conv2d(8, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


def test_resized_layers_are_what_narrower_ones_would_be() -> None:
    network = make()
    apply_edits(
        network,
        [
            resize_edit("0", inputs=3, outputs=5),
            resize_edit("1", inputs=5, outputs=5),
            resize_edit("2", inputs=5, outputs=5, groups=5),
            resize_edit("3", inputs=5, outputs=3),
            resize_edit("6", inputs=3, outputs=2),
        ],
    )
    narrow = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.Conv2d(5, 5, 3, padding=1, groups=5, bias=False),
        nn.Conv2d(5, 3, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, 2),
    )
    network.load_state_dict(narrow.state_dict(), strict=True)
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(network.eval()(x), narrow.eval()(x))
    assert [str(layer) for layer in network] == [str(layer) for layer in narrow]


@pytest.mark.parametrize(
    "edit",
    [
        resize_edit("9", inputs=1, outputs=1),
        resize_edit("4", inputs=1, outputs=1),
        resize_edit("0", inputs=3, outputs=9),
        resize_edit("0", inputs=4, outputs=8),
        resize_edit("0", inputs=3, outputs=0),
        resize_edit("2", inputs=8, outputs=8, groups=3),
        {**resize_edit("0", inputs=3, outputs=8), "outputs": 2.0},
        {**resize_edit("0", inputs=3, outputs=8), "outputs": True},
        {"kind": "resize"},
        {"kind": "resize", "layer": ["0"]},
    ],
    ids=str,
)
def test_an_edit_that_does_not_fit_is_damage(edit) -> None:
    network = make()
    before = [str(layer) for layer in network]
    with pytest.raises(DamagedError, match="edit resizes"):
        apply_edits(network, [edit])
    assert [str(layer) for layer in network] == before


@pytest.mark.parametrize("kind", ["melt", None, ["resize"]])
def test_an_unknown_kind_asks_for_a_newer_version(kind) -> None:
    with pytest.raises(UsageError, match="does not support") as caught:
        apply_edits(make(), [{"kind": kind}])
    assert "Upgrade" in str(caught.value.hint)
