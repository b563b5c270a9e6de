"""The step `share`: the weights of a layer share the few values of a codebook.

    weights   .12 -.31 .09 .11        codebook  -.31 .11        indices   1 0 1 1

k-means chooses the codebook of each layer (Han et al. 2016, Deep Compression, arXiv:1510.00149,
section 3; in one dimension its optimum is exact, `codebooks.py`). Then the codebooks are trained
while the indices stay: the gradient of a value is the sum of the gradients of its weights (figure
3). Zeros, as `sparsify` leaves them, stay zero. The bundle stores codebook and Huffman-coded indices
(`bundle/compact.py`) and decodes them to exactly the weights that were evaluated. The model is
smaller on disk, not faster.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skipstone.bundle.architecture import require_single_network
from skipstone.bundle.format import Bundle
from skipstone.compression.codebooks import assign_codes, fit_codebook
from skipstone.compression.options import ShareOptions
from skipstone.compression.recover import describe_recovery, save_step_output, train_recovery
from skipstone.compression.shrink_plan import StepContext
from skipstone.compression.weight_layers import (
    constrain_weights,
    limit_epochs,
    list_weights,
    restore_weighted_network,
)
from skipstone.core import events
from skipstone.inference.restore import restore_input


class SharedWeight(nn.Module):
    """A codebook (K,) -> the weight, for `constrain_weights`.

    Args:
        weight: of any shape; its k-means codebook is what is trained.
        size: number of values in the codebook.
    """

    indices: Tensor

    def __init__(self, weight: Tensor, size: int) -> None:
        super().__init__()
        values = weight.cpu().numpy()
        is_shared = values != 0
        self.has_zeros = not is_shared.all()
        codebook = fit_codebook(values[is_shared], size)
        indices = np.where(is_shared, assign_codes(values, codebook), len(codebook))
        self.initial_codebook = torch.from_numpy(codebook).to(weight)
        self.register_buffer("indices", torch.from_numpy(indices.astype(np.int32)))

    def forward(self, codebook: Tensor) -> Tensor:
        """(K,) -> the shape of the weight."""
        if self.has_zeros:
            codebook = torch.cat([codebook, codebook.new_zeros(1)])
        return codebook.index_select(0, self.indices.flatten()).view(self.indices.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return self.initial_codebook

    def entropy(self) -> float:
        """Bits per weight that the indices need at least."""
        p = np.bincount(self.indices.cpu().numpy().reshape(-1)) / self.indices.numel()
        return float(-(p[p > 0] * np.log2(p[p > 0])).sum())


def apply_share(options: ShareOptions, work: StepContext) -> dict[str, Any]:
    """A bundle whose layers have at most 2^bits different weights each, stored compactly.

    Raises:
        Refusal: the network has no layers with more weights than the codebook has values; or it is
            trained and the bundle has no training recipe.
    """
    bundle = Bundle.load(work.source)
    network, size = restore_weighted_network(bundle, "share"), 1 << options.bits
    with events.progress_stage("clustering weights"):
        shared = {
            name: SharedWeight(weight, size)
            for name, weight in list_weights(network).items()
            if weight.count_nonzero() > 2 * size  # a codebook saves nothing for fewer
        }
    weights = sum(each.indices.numel() for each in shared.values())
    receipt: dict[str, Any] = {
        "bits": options.bits,
        "layers": len(shared),
        "weights": weights,
        "entropy": sum(each.entropy() * each.indices.numel() for each in shared.values())
        / max(weights, 1),
    }
    events.emit_note(
        f"{len(shared)} layers share {size} values each: {receipt['entropy']:.2f} bits per weight."
    )
    with constrain_weights(network, shared):
        if epochs := limit_epochs(bundle, options.epochs):
            result = train_recovery(network, bundle, work, epochs=epochs, teacher=options.teacher)
            receipt["recovery"] = describe_recovery(result, epochs)
    arch = require_single_network(bundle.arch, "the step share")
    save_step_output(bundle, arch, restore_input(bundle), network.eval(), work, compact=True)
    return receipt
