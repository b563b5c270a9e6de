from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from skipstone.core.errors import UsageError
from skipstone.core.registry import HEADS
from skipstone.models.heads.base import LinearHead
from skipstone.models.heads.options import LinearOptions

SHAPES = {"channels": (8, 16), "strides": (4, 8), "classes": 3}


def make(dropout: float = 0.0) -> LinearHead:
    torch.manual_seed(0)
    return LinearHead(LinearOptions(dropout=dropout), **SHAPES)


def features() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    return (torch.randn(4, 8, 6, 6), torch.randn(4, 16, 3, 3))


def test_pools_the_deepest_map() -> None:
    head = make().eval()
    expected = F.linear(
        F.adaptive_avg_pool2d(features()[-1], 1).flatten(1), head.linear.weight, head.linear.bias
    )
    torch.testing.assert_close(head(features(), ())["logits"], expected)
    pooled = features()[-1].mean((2, 3))
    torch.testing.assert_close(head((pooled,), ())["logits"], expected)


def test_dropout_only_while_training() -> None:
    head = make(dropout=0.9)
    maps = features()
    head.eval()
    torch.testing.assert_close(head(maps, ())["logits"], head(maps, ())["logits"])
    head.train()
    assert not torch.equal(head(maps, ())["logits"], head(maps, ())["logits"])


def test_exports_with_any_batch() -> None:
    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = make().eval()

        def forward(self, deep: torch.Tensor) -> dict[str, torch.Tensor]:
            outputs: dict[str, torch.Tensor] = self.head((deep,), ())
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
