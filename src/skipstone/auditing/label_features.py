"""Features for finding label errors: a network's pooled last feature map, or an n-gram matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.bundle.architecture import require_single_network
from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import resolve_bundle
from skipstone.core.registry import BACKBONES
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.predictor import Predictor, SourceLike, as_source
from skipstone.inference.restore import restore_input, restore_single_network, restore_task
from skipstone.inputs.base import SparseFeatures
from skipstone.models.network import Network


class _Pooled(nn.Module):
    """A network that outputs its pooled features instead of its head's outputs."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        deepest = self.network.features(x)[-1]  # (N, C, ...)
        pooled = deepest.flatten(2).mean(-1) if deepest.ndim > 2 else deepest
        return {"features": pooled.to(torch.float32)}


def compute_label_check_features(
    model: Path | str, sources: Sequence[SourceLike]
) -> tuple[Any, list[int]]:
    """(N, D) features of the readable sources, and the position of each among `sources`.

    For a network trained by gradient they are its last feature map, averaged over space. A
    closed-form model has no hidden features, and its outputs were fitted to the very labels to be
    checked; for it they are its input, the sparse n-gram matrix.

    Args:
        model: a run folder or a bundle.
    """
    bundle = Bundle.load(resolve_bundle(model))
    arch, input = require_single_network(bundle.arch, "judging labels"), restore_input(bundle)
    if BACKBONES[arch.name].is_closed_form:
        assert isinstance(input, SparseFeatures), "a closed-form model has an input with a matrix"
        return input.make_feature_matrix([as_source(source) for source in sources])
    runtime = TorchRuntime(_Pooled(restore_single_network(bundle, "judging labels")))
    answers = Predictor(input, runtime, restore_task(bundle), {}).compute_outputs(sources)
    return answers.outputs.get("features", []), [meta.id for meta in answers.metas]
