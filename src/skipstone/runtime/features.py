"""Features for finding label errors: a network's pooled last feature map, or an n-gram matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.bundle.arch import one_network
from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import bundle_of
from skipstone.models.network import Network
from skipstone.registry import BACKBONES
from skipstone.runtime.parts import input_of, one_network_of, task_of
from skipstone.runtime.predictor import Given, Predictor, as_source
from skipstone.runtime.torch_runtime import TorchRuntime


class _Pooled(nn.Module):
    """A network that outputs its pooled features instead of its head's outputs."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        deepest = self.network.features(x)[-1]  # (N, C, ...)
        pooled = deepest.flatten(2).mean(-1) if deepest.ndim > 2 else deepest
        return {"features": pooled.to(torch.float32)}


def judging_features(model: Path | str, sources: Sequence[Given]) -> tuple[Any, list[int]]:
    """(N, D) features of the readable sources, and the position of each among `sources`.

    For a network trained by gradient they are its last feature map, averaged over space. A
    closed-form model has no hidden features, and its outputs were fitted to the very labels to be
    checked; for it they are its input, the sparse n-gram matrix.

    Args:
        model: a run folder or a bundle.
    """
    bundle = Bundle.load(bundle_of(model))
    arch, input = one_network(bundle.arch, "judging labels"), input_of(bundle)
    if "solver" in BACKBONES[arch.name].facts:
        matrix, rows = input.matrix([as_source(source) for source in sources])  # type: ignore[attr-defined]
        return matrix, rows
    runtime = TorchRuntime(_Pooled(one_network_of(bundle, "judging labels")))
    answers = Predictor(input, runtime, task_of(bundle), {}).outputs(sources)
    return answers.outputs.get("features", []), [meta.id for meta in answers.metas]
