"""Edits: changes of structure by compression, as JSON that `build_network` applies again.

    {"kind": "resize", "layer": "backbone.layer1.0.conv1", "inputs": 64, "outputs": 48, "groups": 1}

An edit only removes channels, so a network is never larger than its architecture.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from skipstone.core.errors import DamagedError, UsageError

Edit = Mapping[str, Any]


def resize_edit(layer: str, *, inputs: int, outputs: int, groups: int = 1) -> dict[str, Any]:
    """The edit that reduces the channels of a convolution, linear layer or norm."""
    return {
        "kind": "resize",
        "layer": layer,
        "inputs": inputs,
        "outputs": outputs,
        "groups": groups,
    }


def apply_edits(network: nn.Module, edits: Iterable[Edit]) -> None:
    """Apply the edits to `network`, in order; values of resized layers are undefined.

    Raises:
        UsageError: an edit of an unknown kind.
        DamagedError: an edit that does not fit this network.
    """
    for edit in edits:
        kind = edit.get("kind")
        if not isinstance(kind, str) or kind not in _HANDLERS:
            raise UsageError(
                f"this model has an edit of kind {kind!r}, which this version of skipstone does "
                "not support.",
                hint="Upgrade it: in skipstone's source folder, git pull && pip install .",
            )
        _HANDLERS[kind](network, edit)


def _resize(network: nn.Module, edit: Edit) -> None:
    name = edit.get("layer")
    layer = dict(network.named_modules()).get(name) if isinstance(name, str) else None
    if not isinstance(layer, (nn.Conv2d, nn.Linear, _BatchNorm)):
        raise DamagedError(f"an edit resizes {name!r}, which is not a layer that can be resized.")
    before = _channels(layer)
    after = tuple(edit.get(key) for key in ("inputs", "outputs", "groups"))
    is_smaller = all(
        type(new) is int and 1 <= new <= old for new, old in zip(after, before, strict=True)
    )
    inputs, outputs, groups = (new if type(new) is int else 0 for new in after)
    if not is_smaller or inputs % groups or outputs % groups:
        raise DamagedError(
            f"an edit resizes {name} from (inputs, outputs, groups) = {before} to {after}; "
            "allowed: whole numbers, none larger, and groups that divide the others."
        )
    assert isinstance(name, str)
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, _resize_layer(layer, inputs, outputs, groups))


def _channels(layer: nn.Module) -> tuple[int, int, int]:
    """(inputs, outputs, groups)."""
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels, layer.out_channels, layer.groups
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features, 1
    assert isinstance(layer, _BatchNorm)
    return layer.num_features, layer.num_features, 1


def _resize_layer(layer: nn.Module, inputs: int, outputs: int, groups: int) -> nn.Module:
    """A copy with fewer channels, of the same class and with the same other settings."""
    layer = copy.deepcopy(layer)
    if isinstance(layer, nn.Conv2d):
        layer.in_channels, layer.out_channels, layer.groups = inputs, outputs, groups
        shape = (outputs, inputs // groups, *layer.kernel_size)
        layer.weight = nn.Parameter(layer.weight.new_empty(shape))
    elif isinstance(layer, nn.Linear):
        layer.in_features, layer.out_features = inputs, outputs
        layer.weight = nn.Parameter(layer.weight.new_empty(outputs, inputs))
    else:
        assert isinstance(layer, _BatchNorm)
        layer.num_features = outputs
        for name in ("weight", "running_mean", "running_var"):
            _reallocate(layer, name, outputs)
    _reallocate(layer, "bias", outputs)
    return layer


def _reallocate(layer: nn.Module, name: str, length: int) -> None:
    value = getattr(layer, name)
    if isinstance(value, nn.Parameter):
        setattr(layer, name, nn.Parameter(value.new_ones(length)))
    elif isinstance(value, torch.Tensor):
        setattr(layer, name, value.new_ones(length))


_HANDLERS: Mapping[str, Callable[[nn.Module, Edit], None]] = {"resize": _resize}
