"""Hidden channels: those that one convolution makes and only one other reads.

    conv -> norm -> activation -> [depthwise conv -> norm -> activation] -> conv
      a hidden channel lives between the two dense convolutions and nowhere else

They can be taken away without anybody else noticing: the middle of a basic or bottleneck block,
the expansion of an inverted residual, every map of a plain chain. Channels that are added to
others (a residual stream) or gathered with them are not hidden. Found in the graph that
torch.export gives, so it holds for every network that exports, whoever wrote it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: Operators that treat every channel by itself and keep its place.
CHANNELWISE = {
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
class Hidden:
    """A set of hidden channels, by the names of the layers that they pass.

    Args:
        producer: the dense convolution that makes them.
        between: norms and depthwise convolutions on the way, in order.
        consumer: the dense convolution that reads them.
        channels: how many there are.
    """

    producer: str
    between: tuple[str, ...]
    consumer: str
    channels: int

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.producer, *self.between, self.consumer)

    def under(self, name: str) -> Hidden:
        """The same, named from a module that holds the network as `name`."""
        producer, *between, consumer = (f"{name}.{layer}" for layer in self.layers)
        return Hidden(producer, tuple(between), consumer, self.channels)


def find_hidden(network: nn.Module, example: Tensor) -> list[Hidden]:
    """All sets of hidden channels, in the order of the forward pass.

    Args:
        network: takes one tensor; its layers' names are those of `named_modules`.
        example: a batch of two.
    """
    with torch.no_grad():
        program = torch.export.export(network.eval(), (example,), strict=False)
    signature = program.graph_signature
    owners = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    layers = dict(network.named_modules())
    found = [
        hidden
        for node in program.graph.nodes
        if _dense(layers, _layer(node, owners))
        for hidden in _follow(node, owners, layers)
    ]
    # A layer that is used more than once has channels that more than one place reads.
    used = Counter(_layer(node, owners) for node in program.graph.nodes)
    return [hidden for hidden in found if all(used[name] == 1 for name in hidden.layers)]


def _follow(
    node: torch.fx.Node, owners: dict[str, str], layers: dict[str, nn.Module]
) -> Iterator[Hidden]:
    """The hidden channels that a dense convolution makes, if they are hidden."""
    producer = _layer(node, owners)
    between: list[str] = []
    conv = layers[producer]
    assert isinstance(conv, nn.Conv2d)
    while len(node.users) == 1:
        previous, node = node, next(iter(node.users))
        if not node.args or node.args[0] is not previous:
            return
        name = _layer(node, owners)
        if _dense(layers, name):
            yield Hidden(producer, tuple(between), name, conv.out_channels)
            return
        if name in layers and (_depthwise(layers[name]) or _is_norm(node)):
            between.append(name)
        elif _operator(node) not in CHANNELWISE:
            return


def _layer(node: torch.fx.Node, owners: dict[str, str]) -> str:
    """The name of the layer whose weights a node reads; "" for none."""
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


def _is_norm(node: torch.fx.Node) -> bool:
    return _operator(node) == "batch_norm"


def _dense(layers: dict[str, nn.Module], name: str) -> bool:
    layer = layers.get(name) if name else None
    return isinstance(layer, nn.Conv2d) and layer.groups == 1


def _depthwise(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels > 1
    )
