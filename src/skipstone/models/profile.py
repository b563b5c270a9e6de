"""Counts parameters, MACs and activation memory of a network without computing values."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from skipstone.core.registry import BACKBONES
from skipstone.models.meta_device import on_meta


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The cost of one sample.

    Args:
        parameters: trainable numbers, without buffers such as running statistics.
        macs: multiply-accumulates of convolutions, matrix products and attention: half of the
            FLOPs of torch's counter. Norms, activations and pooling are not counted.
        activation_bytes: tensors that one forward pass saves for the backward pass, without
            parameters and buffers: the memory that training needs per sample.
    """

    parameters: int
    macs: int
    activation_bytes: int


def profile_network(network: nn.Module, arrays: Tensor | Mapping[str, Any]) -> Profile:
    """Count the cost of one forward pass in evaluation, on a copy on the meta device.

    Args:
        network: a backbone or a `Network`; it is not changed.
        arrays: a batch of one: a tensor, or arrays by name as from `Input.example(1)`. Only shapes
            and types matter.
    """
    network = copy.deepcopy(network).to("meta").eval()
    x: Any
    if isinstance(arrays, Tensor):
        x = arrays.to("meta")
    else:
        x = {name: torch.as_tensor(array).to("meta") for name, array in arrays.items()}
    # by storage, because a linear layer saves a view of its weight
    parameter_ids = {
        tensor.untyped_storage()._cdata for tensor in (*network.parameters(), *network.buffers())
    }
    saved: dict[int, torch.UntypedStorage] = {}  # the reference keeps the address from being reused

    def record_saved(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameter_ids:
            saved[storage._cdata] = storage
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(record_saved, lambda tensor: tensor)
    with torch.enable_grad(), hooks, FlopCounterMode(display=False) as counter:
        network(x)
    return Profile(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        macs=counter.get_total_flops() // 2,
        activation_bytes=sum(storage.nbytes() for storage in saved.values()),
    )


def profile_backbone(
    name: str, options: Mapping[str, Any] | None = None, *, size: int, channels: int = 3
) -> Profile:
    """The cost of a backbone by name, for one image of ``size`` x ``size`` pixels.

    The catalogue has the cost of the built-in ones with default options, without torch.

    Raises:
        UsageError: an unknown name or option.
    """
    entry = BACKBONES[name]
    with on_meta():
        backbone = entry.load()(name, entry.make_options(options), in_channels=channels)
    return profile_network(backbone, torch.zeros(1, channels, size, size, device="meta"))


def count_image_model(name: str) -> dict[str, Any]:
    """Cost, input size and weights of a timm network, for the listing of models."""
    from skipstone.models.weights import pretrained_info

    known = pretrained_info(name)
    cost = profile_backbone(name, size=known.size)
    return {
        "parameters": cost.parameters,
        "macs": cost.macs,
        "input_size": known.size,
        "pretrained": known.source,
    }
