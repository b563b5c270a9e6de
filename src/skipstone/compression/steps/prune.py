"""The step `prune`: remove the least important hidden channels, then train to recover.

Structured pruning: the result is an ordinary dense network with narrower layers, smaller and faster
on every runtime. The channels removed have the least first-order effect on the loss, relative to
their multiply-accumulates. A gate z = 1 on a channel would have the gradient

    dL/dz = sum of (weight * gradient) over the channel's column in the layer that reads it

and its mean square over batches is the channel's importance (Molchanov et al. 2019,
arXiv:1906.10771, section 3.1, criterion 2 with gates). Channels are removed in groups of
`multiple`, the unit of matrix hardware: a partial group costs as much as a full one.

A group of channels can be removed if one convolution writes them and only one other reads them:

    conv -> norm -> activation -> [depthwise conv -> norm -> activation] -> conv
      the group's channels exist only between the two dense convolutions

It is the middle of a basic or bottleneck block, the expansion of an inverted residual, every map of
a plain chain. Channels that are added to others (a residual stream) or concatenated are not such a
group. The analysis runs on the graph of torch.export, so it works for every network that exports.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from skipstone.bundle.architecture import require_single_network
from skipstone.bundle.format import Bundle
from skipstone.compression.options import PruneOptions
from skipstone.compression.recover import (
    describe_recovery,
    make_train_loader,
    recovery_recipe,
    save_step_output,
    train_recovery,
)
from skipstone.compression.shrink_plan import StepContext
from skipstone.core import events
from skipstone.core.errors import Refusal
from skipstone.inference.restore import restore_input, restore_single_network, restore_task
from skipstone.models.build import build_network
from skipstone.models.edits import resize_edit
from skipstone.models.network import Network
from skipstone.models.profile import profile_network
from skipstone.training.objective import Objective, criterion_for

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


KeptChannels = dict[str, np.ndarray]  # by producer: the remaining channels, ascending


def apply_pruning(options: PruneOptions, work: StepContext) -> dict[str, Any]:
    """A bundle with a narrower network, its exports and goldens.

    Raises:
        Refusal: the network has no hidden channels, or too few for the target; or the bundle has no
            training recipe.
    """
    bundle = Bundle.load(work.source)
    network, input = restore_single_network(bundle, "the step prune"), restore_input(bundle)
    hidden = find_prunable_channels(network, input.make_example(2))
    with events.progress_stage("measuring the importance of channels"):
        scores = measure_importance(network, bundle, work, hidden, options.batches)
    costs = MacCounter(network, input.make_example(1))
    remaining = choose_channels(hidden, scores, costs, keep=options.macs, multiple=options.multiple)
    edits = make_resize_edits(network, hidden, remaining)
    arch = require_single_network(bundle.arch, "the step prune")
    arch = dataclasses.replace(arch, edits=(*arch.edits, *edits))
    narrow = build_network(arch, input)
    narrow.load_state_dict(slice_tensors(network.state_dict(), hidden, remaining), strict=True)
    before, after = (profile_network(each, input.make_example(1)) for each in (network, narrow))
    events.emit_note(
        f"{after.macs / before.macs:.0%} of the multiply-accumulates and "
        f"{after.parameters / before.parameters:.0%} of the parameters remain; "
        f"recovery training for {options.epochs} epochs."
    )
    result = train_recovery(narrow, bundle, work, epochs=options.epochs, teacher=options.teacher)
    save_step_output(bundle, arch, input, narrow, work)
    return {
        "macs": [before.macs, after.macs],
        "parameters": [before.parameters, after.parameters],
        "channels": {h.producer: [h.channels, len(remaining[h.producer])] for h in hidden},
        "recovery": describe_recovery(result, options.epochs),
    }


def find_prunable_channels(
    network: Network, example: Mapping[str, np.ndarray]
) -> list[ChannelGroup]:
    """The prunable channels of the backbone, with names from the network's root."""
    with torch.no_grad():
        arrays = network.front({name: torch.from_numpy(a) for name, a in example.items()})
    hidden = [h.with_prefix("backbone") for h in find_channel_groups(network.backbone, arrays)]
    if not hidden:
        raise Refusal("cannot prune this network: no channels are read by a single layer only.")
    return hidden


def measure_importance(
    network: Network,
    bundle: Bundle,
    work: StepContext,
    hidden: Sequence[ChannelGroup],
    batches: int,
) -> dict[str, np.ndarray]:
    """By producer: the mean squared first-order effect of each channel on the loss, float64.

    The network is in evaluation mode, as in inference.
    """
    recipe = recovery_recipe(bundle, epochs=1, seed=work.seed)
    loader = make_train_loader(bundle, work, recipe)
    objective = Objective(network.eval(), criterion_for(network, restore_task(bundle)))
    sums = {h.producer: np.zeros(h.channels) for h in hidden}
    count = 0
    for batch in islice(loader.iterate_epoch(0), batches):
        network.zero_grad()
        objective(batch.x, batch.y, weight=objective.weight(batch.y))["loss"].backward()
        for h in hidden:
            weight = _weight(network, h.consumer)
            assert weight.grad is not None
            gate = (weight.detach() * weight.grad).sum(dim=(0, 2, 3)).double()  # (channels,)
            sums[h.producer] += gate.square().numpy()
        count += 1
    network.zero_grad()
    return {name: value / count for name, value in sums.items()}


def _weight(network: nn.Module, layer: str) -> Tensor:
    weight = network.get_submodule(layer).weight
    assert isinstance(weight, Tensor)
    return weight


class MacCounter:
    """Multiply-accumulates of a network's convolutions per sample, updated as channels go."""

    def __init__(self, network: Network, example: Mapping[str, np.ndarray]) -> None:
        self.layers: dict[str, list[float]] = {}  # name: [per channel pair, inputs, outputs]
        handles = [
            module.register_forward_hook(self._hook(name, module))
            for name, module in network.named_modules()
            if isinstance(module, nn.Conv2d)
        ]
        with torch.no_grad():
            network({name: torch.from_numpy(array) for name, array in example.items()})
        for handle in handles:
            handle.remove()

    def _hook(self, name: str, conv: nn.Conv2d) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            pair = output.shape[2] * output.shape[3] * conv.kernel_size[0] * conv.kernel_size[1]
            inputs = conv.in_channels // conv.groups
            self.layers[name] = [float(pair), float(inputs), float(conv.out_channels)]

        return hook

    def total_macs(self) -> float:
        return sum(pair * inputs * outputs for pair, inputs, outputs in self.layers.values())

    def macs_per_channel(self, hidden: ChannelGroup) -> float:
        """The multiply-accumulates of one channel."""
        producer_pair, inputs, _ = self.layers[hidden.producer]
        between = [self.layers[name][0] for name in hidden.between if name in self.layers]
        pair, _, outputs = self.layers[hidden.consumer]
        return producer_pair * inputs + sum(between) + pair * outputs

    def remove_channels(self, hidden: ChannelGroup, channels: int) -> None:
        self.layers[hidden.producer][2] -= channels
        for name in hidden.between:
            if name in self.layers:
                self.layers[name][2] -= channels
        self.layers[hidden.consumer][1] -= channels


def choose_channels(
    hidden: Sequence[ChannelGroup],
    scores: Mapping[str, np.ndarray],
    costs: MacCounter,
    *,
    keep: float,
    multiple: int,
) -> KeptChannels:
    """Channels to keep. Greedy: remove the group with the least importance per cost, repeatedly.

    Args:
        keep: share of the network's multiply-accumulates to keep.
        multiple: size of a group, and least number of channels of a layer. The first group also
            takes the remainder.

    Raises:
        Refusal: the target cannot be reached.
    """
    target = keep * costs.total_macs()
    order = {h.producer: np.argsort(scores[h.producer], kind="stable") for h in hidden}
    removed = dict.fromkeys(order, 0)

    def group_size(h: ChannelGroup) -> int:
        """Channels to remove next; 0 if none can be."""
        remaining = h.channels - removed[h.producer]
        size = remaining % multiple or multiple
        return size if remaining - size >= multiple else 0

    while costs.total_macs() > target:
        least, cheapest, size = np.inf, None, 0
        for h in hidden:
            count = group_size(h)
            if not count:
                continue
            start = removed[h.producer]
            loss = float(scores[h.producer][order[h.producer][start : start + count]].sum())
            price = loss / (count * costs.macs_per_channel(h))
            if price < least:
                least, cheapest, size = price, h, count
        if cheapest is None:
            raise Refusal(
                f"pruning hidden channels keeps at least {costs.total_macs() / target * keep:.0%} of "
                f"the multiply-accumulates, but macs={keep:g} asks for {keep:.0%}.",
                hint="Give a larger macs, or a smaller --model.",
            )
        removed[cheapest.producer] += size
        costs.remove_channels(cheapest, size)
    return {name: np.sort(channels[removed[name] :]) for name, channels in order.items()}


def make_resize_edits(
    network: nn.Module, hidden: Sequence[ChannelGroup], kept: KeptChannels
) -> list[dict[str, Any]]:
    """One edit per layer that becomes narrower, in the order of the network's layers."""
    inputs: dict[str, int] = {}
    outputs: dict[str, int] = {}
    for h in hidden:
        count = len(kept[h.producer])
        if count < h.channels:
            outputs[h.producer] = inputs[h.consumer] = count
            inputs |= dict.fromkeys(h.between, count)
            outputs |= dict.fromkeys(h.between, count)
    edits = []
    for name, module in network.named_modules():
        if name not in inputs and name not in outputs:
            continue
        wide, out, groups = _widths(module)
        wide, out = inputs.get(name, wide), outputs.get(name, out)
        edits.append(resize_edit(name, inputs=wide, outputs=out, groups=out if groups > 1 else 1))
    return edits


def _widths(module: nn.Module) -> tuple[int, int, int]:
    """Input channels, output channels and groups of a convolution or a batch norm."""
    if isinstance(module, nn.Conv2d):
        return module.in_channels, module.out_channels, module.groups
    assert isinstance(module, _BatchNorm)
    return module.num_features, module.num_features, 1


def slice_tensors(
    tensors: Mapping[str, Tensor], hidden: Sequence[ChannelGroup], kept: KeptChannels
) -> dict[str, Tensor]:
    """A state dict without the removed channels."""
    sliced = dict(tensors)
    for h in hidden:
        index = torch.from_numpy(kept[h.producer])
        for layer in (h.producer, *h.between):
            for name in ("weight", "bias", "running_mean", "running_var"):
                if (key := f"{layer}.{name}") in sliced:
                    sliced[key] = sliced[key].index_select(0, index)
        key = f"{h.consumer}.weight"
        sliced[key] = sliced[key].index_select(1, index)
    return sliced
