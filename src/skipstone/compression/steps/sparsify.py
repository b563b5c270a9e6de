"""The step `sparsify`: the smallest weights become zero, and the others are trained.

Magnitude pruning of single weights. From one epoch to the next the share of weights that remain
falls from 1 to the density d, fast at first, while training goes on (Zhu and Gupta 2017,
arXiv:1710.01878, equation 1):

    density of epoch t of T    d + (1 - d) (1 - t / T)^3

The bundle stores the remaining weights and the gaps between them (`bundle/compact.py`), so the file
shrinks. No runtime here skips zeros, so the model is not faster, and the receipt does not say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.bundle.architecture import require_single_network
from skipstone.bundle.format import Bundle
from skipstone.compression.options import SparsifyOptions
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

Masks = dict[str, Tensor]  # by the name of the weight, bool: whether it remains


class MaskedWeight(nn.Module):
    """A weight with zeros where the mask is False, for `constrain_weights`."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight.masked_fill(~self.mask, 0)  # a product would give -0.0, which is stored


def apply_sparsify(options: SparsifyOptions, work: StepContext) -> dict[str, Any]:
    """A bundle most of whose weights are zero, stored compactly.

    Raises:
        Refusal: the network has no layers with weights; or it is trained and the bundle has no
            training recipe.
    """
    bundle = Bundle.load(work.source)
    network = restore_weighted_network(bundle, "sparsify")
    epochs, recovery = limit_epochs(bundle, options.epochs), {}
    for density, count in plan_densities(options, epochs):
        masks = choose_masks(list_weights(network), options, density)
        with constrain_weights(network, {name: MaskedWeight(m) for name, m in masks.items()}):
            if count:
                result = train_recovery(
                    network, bundle, work, epochs=count, teacher=options.teacher
                )
                recovery = {"recovery": describe_recovery(result, epochs)}
    remaining = {name: int(mask.sum()) for name, mask in masks.items()}
    total = sum(mask.numel() for mask in masks.values())
    events.emit_note(f"{sum(remaining.values()) / total:.1%} of {total:,} weights remain.")
    arch = require_single_network(bundle.arch, "the step sparsify")
    save_step_output(bundle, arch, restore_input(bundle), network.eval(), work, compact=True)
    return {
        "weights": [total, sum(remaining.values())],
        "layers": {name: [mask.numel(), remaining[name]] for name, mask in masks.items()},
        **recovery,
    }


def plan_densities(options: SparsifyOptions, epochs: int) -> list[tuple[float, int]]:
    """(density, epochs of training at it), in order. The first half of the epochs lowers the
    density, the second half trains at the last one."""
    steps = epochs // 2 if options.gradual and options.pattern == "free" else 0
    final = options.density
    falling = [final + (1 - final) * (1 - t / (steps + 1)) ** 3 for t in range(1, steps + 1)]
    return [*((density, 1) for density in falling), (final, epochs - steps)]


def choose_masks(weights: Mapping[str, Tensor], options: SparsifyOptions, density: float) -> Masks:
    """The weights that remain: the largest of the network, of each layer, or of each four."""
    if options.pattern == "2:4":
        return {name: find_two_of_four(weight) for name, weight in weights.items()}
    if options.scope == "layer":
        return {name: _find_largest(weight, density) for name, weight in weights.items()}
    largest = _find_largest(torch.cat([weight.flatten() for weight in weights.values()]), density)
    parts = torch.split(largest, [weight.numel() for weight in weights.values()])
    return {
        name: part.view_as(weight)
        for (name, weight), part in zip(weights.items(), parts, strict=True)
    }


def _find_largest(weight: Tensor, density: float) -> Tensor:
    """A mask of the weights of largest magnitude, at least one."""
    count = max(round(density * weight.numel()), 1)
    mask = torch.zeros(weight.numel(), dtype=torch.bool)
    mask[weight.abs().flatten().topk(count).indices] = True
    return mask.view(weight.shape)


def find_two_of_four(weight: Tensor) -> Tensor:
    """A mask of the two largest of each four consecutive inputs, (O, I, ...) (Mishra et al. 2021,
    arXiv:2104.08378, section 3). All remain where the inputs are not a multiple of four."""
    if weight.shape[1] % 4:
        return torch.ones_like(weight, dtype=torch.bool)
    fours = weight.movedim(1, -1).abs()  # (O, ..., I)
    shape = fours.shape
    fours = fours.reshape(-1, 4)
    mask = torch.zeros_like(fours, dtype=torch.bool)
    mask.scatter_(1, fours.topk(2, dim=1).indices, True)
    return mask.view(shape).movedim(-1, 1).contiguous()
