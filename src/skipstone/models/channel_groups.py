"""Prunable channel groups: channels that one convolution writes and only one other reads.

    conv -> norm -> activation -> [depthwise conv -> norm -> activation] -> conv
      the group's channels exist only between the two dense convolutions

They can be removed without changing any other layer: the middle of a basic or bottleneck block,
the expansion of an inverted residual, every map of a plain chain. Channels that are added to
others (a residual stream) or concatenated are not such a group. The analysis runs on the graph of
torch.export, so it works for every network that exports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: Operators that process each channel separately and keep the order of channels.
CHANNELWISE_OPERATORS = {
    "relu",
    "relu_",
    "hardtanh",
    "hardtanh_",
    "relu6",
    "clamp",
    "leaky_relu",
    "leaky_relu_",
    "silu",
    "silu_",
    "gelu",
    "hardswish",
    "hardswish_",
    "dropout",
    "dropout_",
    "max_pool2d",
    "avg_pool2d",
    "clone",
    "contiguous",
}


@dataclass(frozen=True)
class ChannelGroup:
    """A prunable channel group, by the names of its layers.

    Args:
        producer: the dense convolution that writes the channels.
        between: norms and depthwise convolutions in between, in order.
        consumer: the dense convolution that reads them.
        channels: number of channels.
    """

    producer: str
    between: tuple[str, ...]
    consumer: str
    channels: int

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.producer, *self.between, self.consumer)

    def with_prefix(self, name: str) -> ChannelGroup:
        """The same group, where the network is the submodule `name` of a larger one."""
        producer, *between, consumer = (f"{name}.{layer}" for layer in self.layers)
        return ChannelGroup(producer, tuple(between), consumer, self.channels)


def find_channel_groups(network: nn.Module, example: Tensor) -> list[ChannelGroup]:
    """All prunable channel groups, in the order of the forward pass.

    Args:
        network: takes one tensor; layer names are those of `named_modules`.
        example: a batch of two.
    """
    with torch.no_grad():
        program = torch.export.export(network.eval(), (example,), strict=False)
    signature = program.graph_signature
    owners = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    layers = dict(network.named_modules())
    groups = [
        group
        for node in program.graph.nodes
        if _is_dense(layers, _layer_name(node, owners))
        for group in _trace_group(node, owners, layers)
    ]
    # the channels of a layer that is called more than once have more than one reader
    calls = Counter(_layer_name(node, owners) for node in program.graph.nodes)
    return [group for group in groups if all(calls[name] == 1 for name in group.layers)]


def _trace_group(
    node: torch.fx.Node, owners: dict[str, str], layers: dict[str, nn.Module]
) -> Iterator[ChannelGroup]:
    """The group of the channels that a dense convolution writes, if they are one."""
    producer = _layer_name(node, owners)
    between: list[str] = []
    conv = layers[producer]
    assert isinstance(conv, nn.Conv2d)
    while len(node.users) == 1:
        previous, node = node, next(iter(node.users))
        if not node.args or node.args[0] is not previous:
            return
        name = _layer_name(node, owners)
        if _is_dense(layers, name):
            yield ChannelGroup(producer, tuple(between), name, conv.out_channels)
            return
        if name in layers and (_is_depthwise(layers[name]) or _operator(node) == "batch_norm"):
            between.append(name)
        elif _operator(node) not in CHANNELWISE_OPERATORS:
            return


def _layer_name(node: torch.fx.Node, owners: dict[str, str]) -> str:
    """The name of the layer whose weights a node reads, or ""."""
    for argument in _nodes(node.args[1:]):
        if argument.name in owners and _operator(node) in ("conv2d", "batch_norm"):
            return owners[argument.name].rpartition(".")[0]
    return ""


def _nodes(values: Sequence[object]) -> Iterator[torch.fx.Node]:
    return (value for value in values if isinstance(value, torch.fx.Node))


def _operator(node: torch.fx.Node) -> str:
    if node.op != "call_function":
        return ""
    return str(node.target).removeprefix("aten.").partition(".")[0]


def _is_dense(layers: dict[str, nn.Module], name: str) -> bool:
    layer = layers.get(name) if name else None
    return isinstance(layer, nn.Conv2d) and layer.groups == 1


def _is_depthwise(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels > 1
    )
