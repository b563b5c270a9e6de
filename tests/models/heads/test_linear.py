from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from skipstone.errors import UsageError
from skipstone.models.heads.linear import LinearHead
from skipstone.models.heads.options import LinearOptions
from skipstone.registry import HEADS

SHAPES = {"channels": (8, 16), "strides": (4, 8), "classes": 3}


def loss(name: str, target: str, weights: list[float] | None = None) -> dict[str, Any]:
    return {"name": name, "target": target, "args": {"class_weights": weights}}


def make(dropout: float = 0.0, weights: list[float] | None = None) -> LinearHead:
    torch.manual_seed(0)
    options = LinearOptions(dropout=dropout)
    return LinearHead(options, **SHAPES, loss=loss("cross_entropy", "label", weights))


def features() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    return (torch.randn(4, 8, 6, 6), torch.randn(4, 16, 3, 3))


def test_pools_the_deepest_map() -> None:
    head = make().eval()
    expected = F.linear(
        F.adaptive_avg_pool2d(features()[-1], 1).flatten(1), head.linear.weight, head.linear.bias
    )
    torch.testing.assert_close(head(features())["logits"], expected)
    pooled = features()[-1].mean((2, 3))
    torch.testing.assert_close(head((pooled,))["logits"], expected)


def test_loss_is_a_sum_and_splits_over_micro_batches() -> None:
    head = make(weights=[0.2, 1.0, 3.0])
    y = {"label": torch.tensor([0, 1, 2, 2])}
    deep = features()[-1]
    halves = [
        head.loss((deep[part],), {"label": y["label"][part]})["loss"]
        for part in (slice(0, 1), slice(1, 4))
    ]
    total = head.loss(features(), y)["loss"]
    torch.testing.assert_close(sum(halves), total)
    expected = F.cross_entropy(
        head(features())["logits"], y["label"], weight=torch.tensor([0.2, 1.0, 3.0])
    )
    torch.testing.assert_close(total / head.weight(y), expected)


def test_tags() -> None:
    head = LinearHead(LinearOptions(), **SHAPES, loss=loss("bce", "tags"))
    y = {"tags": torch.tensor([[1.0, 0, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0]])}
    expected = F.binary_cross_entropy_with_logits(head(features())["logits"], y["tags"])
    torch.testing.assert_close(head.loss(features(), y)["loss"] / head.weight(y), expected)


def test_class_weights_are_no_part_of_the_state() -> None:
    head = make(weights=[1.0, 2.0, 3.0])
    assert sorted(head.state_dict()) == ["linear.bias", "linear.weight"]
    plain = make()
    plain.load_state_dict(head.state_dict(), strict=True)
    assert head.to(torch.float64).criterion.class_weights is not None  # it moves with the head


def test_dropout_only_while_training() -> None:
    head = make(dropout=0.9)
    maps = features()
    head.eval()
    torch.testing.assert_close(head(maps)["logits"], head(maps)["logits"])
    head.train()
    assert not torch.equal(head(maps)["logits"], head(maps)["logits"])


def test_exports_with_any_batch() -> None:
    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = make().eval()

        def forward(self, deep: torch.Tensor) -> dict[str, torch.Tensor]:
            outputs: dict[str, torch.Tensor] = self.head((deep,))
            return outputs

    module, deep = Wrapped(), features()[-1]
    program = torch.export.export(
        module, (deep,), dynamic_shapes={"deep": {0: torch.export.Dim("batch")}}
    )
    torch.testing.assert_close(program.module()(deep[:3]), module(deep[:3]))


def test_registered_and_refuses_wrong_options() -> None:
    assert HEADS["linear"].load() is LinearHead
    with pytest.raises(UsageError, match="dropout is 1"):
        HEADS["linear"].make_options({"dropout": 1})
