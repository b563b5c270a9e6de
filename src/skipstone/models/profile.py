"""What a network costs, counted without running it: parameters, MACs, activations."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from skipstone.models.meta import on_meta
from skipstone.registry import BACKBONES


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The cost of one sample.

    Args:
        parameters: numbers that are learnt; buffers, such as running statistics, are none.
        macs: multiply-accumulates of convolutions, matrix products and attention: half of what
            torch's counter calls FLOPs. Norms, activations and pooling are not counted.
        activation_bytes: what one forward pass keeps for the backward pass, without parameters
            and buffers: the memory that training needs for each sample.
    """

    parameters: int
    macs: int
    activation_bytes: int


def profile(network: nn.Module, arrays: Tensor | Mapping[str, Any]) -> Profile:
    """Count the cost of one forward pass in evaluation, on a copy without values.

    Args:
        network: a backbone or a `Network`; it is not changed.
        arrays: a batch of one, as `network` takes it: a tensor, or arrays by name as
            `Input.example(1)` gives them. Only shapes and types matter.
    """
    network = copy.deepcopy(network).to("meta").eval()
    x: Any
    if isinstance(arrays, Tensor):
        x = arrays.to("meta")
    else:
        x = {name: torch.as_tensor(array).to("meta") for name, array in arrays.items()}
    own = {
        tensor.untyped_storage()._cdata for tensor in (*network.parameters(), *network.buffers())
    }
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no address is given out twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:  # by storage, as a linear layer keeps a view of its weight
            kept[storage._cdata] = storage
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with torch.enable_grad(), hooks, FlopCounterMode(display=False) as counter:
        network(x)
    return Profile(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        macs=counter.get_total_flops() // 2,
        activation_bytes=sum(storage.nbytes() for storage in kept.values()),
    )


def profile_backbone(
    name: str, options: Mapping[str, Any] | None = None, *, size: int, channels: int = 3
) -> Profile:
    """The cost of a backbone by name, for one picture of ``size`` x ``size`` pixels.

    The built-in ones at their published options have theirs in the catalogue (`facts`), which
    needs no torch.

    Raises:
        UsageError: an unknown name or option.
    """
    entry = BACKBONES[name]
    with on_meta():
        backbone = entry.load()(name, entry.make_options(options), in_channels=channels)
    return profile(backbone, torch.zeros(1, channels, size, size, device="meta"))


def counted_picture(name: str) -> dict[str, Any]:
    """What the catalogue cannot know of a network of timm: cost, size of pictures, weights."""
    from skipstone.models.weights import published

    known = published(name)
    cost = profile_backbone(name, size=known.size)
    return {
        "parameters": cost.parameters,
        "macs": cost.macs,
        "input_size": known.size,
        "pretrained": known.source,
    }
