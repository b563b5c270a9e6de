"""What a network's backbone says of sources: its deepest feature map, averaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import bundle_of
from skipstone.models.network import Network
from skipstone.runtime.parts import input_of, network_of, task_of
from skipstone.runtime.predictor import Answers, Given, Predictor
from skipstone.runtime.torch_runtime import TorchRuntime


class _Pooled(nn.Module):
    """A network's features instead of its answers."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        deepest = self.network.features(x)[-1]  # (N, C, ...)
        pooled = deepest.flatten(2).mean(-1) if deepest.ndim > 2 else deepest
        return {"features": pooled.to(torch.float32)}


def pooled_features(model: Path | str, sources: Sequence[Given]) -> Answers:
    """`outputs["features"]` (N, C) of the sources that could be read; metas[i].id is a source's
    place, as everywhere.

    Args:
        model: a run folder or a bundle.
    """
    bundle = Bundle.load(bundle_of(model))
    runtime = TorchRuntime(_Pooled(network_of(bundle)))
    return Predictor(input_of(bundle), runtime, task_of(bundle), {}).outputs(sources)
