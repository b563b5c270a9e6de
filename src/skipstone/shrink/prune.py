"""The step `prune`: hidden channels that matter least are taken away, and the rest learns again.

Structured pruning: what is left is an ordinary dense network with narrower layers, smaller and
faster on every runtime. Which channels: those with the least first-order effect on the loss for
the multiply-accumulates that they cost. A gate z = 1 on a channel would have the gradient

    dL/dz = sum of (weight * gradient) over the channel's column in the layer that reads it

and its squared mean over batches is the channel's importance (Molchanov et al. 2019,
arXiv:1906.10771, section 3.1, criterion 2 with gates). Channels go in groups of `multiple`, which
is what matrix units work in; one that is left alone would cost as much as the whole group.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skipstone import events
from skipstone.bundle.arch import one_network
from skipstone.bundle.format import Bundle
from skipstone.data.samples import Batch
from skipstone.errors import Refusal
from skipstone.models.build import build_network
from skipstone.models.edits import resize
from skipstone.models.hidden import Hidden, find_hidden
from skipstone.models.network import Network
from skipstone.models.profile import profile
from skipstone.runtime.parts import input_of, one_network_of
from skipstone.shrink.options import Prune
from skipstone.shrink.plan import Work
from skipstone.shrink.recover import fit_loader, recipe_of, recover
from skipstone.shrink.remade import save_remade
from skipstone.train.objective import Objective

Kept = dict[str, np.ndarray]  # by producer: the channels that stay, ascending


def apply(options: Prune, work: Work) -> dict[str, Any]:
    """A bundle with a narrower network, its exports and goldens.

    Raises:
        Refusal: the network has no hidden channels, too few of them for the target, or does not
            say how it was trained.
    """
    bundle = Bundle.load(work.source)
    network, input = one_network_of(bundle, "the step prune"), input_of(bundle)
    hidden = hidden_of(network, input.example(2))
    with events.stage("finding the channels that matter least"):
        scores = importance(network, bundle, work, hidden, options.batches)
    costs = Costs(network, input.example(1))
    kept = choose(hidden, scores, costs, keep=options.macs, multiple=options.multiple)
    edits = edits_of(network, hidden, kept)
    arch = one_network(bundle.arch, "the step prune")
    arch = dataclasses.replace(arch, edits=(*arch.edits, *edits))
    narrow = build_network(arch, input)
    narrow.load_state_dict(cut(network.state_dict(), hidden, kept), strict=True)
    before, after = (profile(each, input.example(1)) for each in (network, narrow))
    events.note(
        f"{after.macs / before.macs:.0%} of the multiply-accumulates and "
        f"{after.parameters / before.parameters:.0%} of the parameters are left; "
        f"learning again for {options.epochs} epochs."
    )
    result = recover(narrow, bundle, work, epochs=options.epochs, teacher=options.teacher)
    save_remade(bundle, arch, input, narrow, work)
    return {
        "macs": [before.macs, after.macs],
        "parameters": [before.parameters, after.parameters],
        "channels": {h.producer: [h.channels, len(kept[h.producer])] for h in hidden},
        "recovery": {"epochs": options.epochs, "steps": result.steps, "kept": result.kept},
    }


def hidden_of(network: Network, example: Mapping[str, np.ndarray]) -> list[Hidden]:
    """The network's hidden channels, under the network's names."""
    with torch.no_grad():
        arrays = network.front({name: torch.from_numpy(a) for name, a in example.items()})
    found = [h.under("backbone") for h in find_hidden(network.backbone, arrays)]
    if not found:
        raise Refusal(
            "this network has no channels that only one other layer reads, so none can be pruned."
        )
    return found


def importance(
    network: Network, bundle: Bundle, work: Work, hidden: Sequence[Hidden], batches: int
) -> dict[str, np.ndarray]:
    """By producer: each channel's mean squared first-order effect on the loss, float64.

    The network is in evaluation mode: what is asked for is the effect on what it answers.
    """
    recipe = recipe_of(bundle, epochs=1, seed=work.seed)
    loader, objective = fit_loader(bundle, work, recipe), Objective(network.eval())
    found = {h.producer: np.zeros(h.channels) for h in hidden}
    seen = 0
    for batch in _first(loader.epoch(0), batches):
        network.zero_grad()
        objective(batch.x, batch.y, weight=objective.weight(batch.y))["loss"].backward()
        for h in hidden:
            weight = _weight(network, h.consumer)
            assert weight.grad is not None
            gate = (weight.detach() * weight.grad).sum(dim=(0, 2, 3)).double()  # (channels,)
            found[h.producer] += gate.square().numpy()
        seen += 1
    network.zero_grad()
    return {name: value / seen for name, value in found.items()}


def _first(batches: Any, count: int) -> list[Batch]:
    return [batch for _, batch in zip(range(count), batches, strict=False)]


def _weight(network: nn.Module, layer: str) -> Tensor:
    weight = network.get_submodule(layer).weight
    assert isinstance(weight, Tensor)
    return weight


class Costs:
    """Multiply-accumulates of a network's convolutions as their channels change, for one sample."""

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
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            pair = output.shape[2] * output.shape[3] * conv.kernel_size[0] * conv.kernel_size[1]
            wide = conv.in_channels // conv.groups
            self.layers[name] = [float(pair), float(wide), float(conv.out_channels)]

        return hook

    def total(self) -> float:
        return sum(pair * wide * out for pair, wide, out in self.layers.values())

    def of(self, hidden: Hidden) -> float:
        """What one channel costs now."""
        _, wide, _ = self.layers[hidden.producer]
        between = [self.layers[name][0] for name in hidden.between if name in self.layers]
        pair, _, out = self.layers[hidden.consumer]
        return self.layers[hidden.producer][0] * wide + sum(between) + pair * out

    def take(self, hidden: Hidden, channels: int) -> None:
        self.layers[hidden.producer][2] -= channels
        for name in hidden.between:
            if name in self.layers:
                self.layers[name][2] -= channels
        self.layers[hidden.consumer][1] -= channels


def choose(
    hidden: Sequence[Hidden],
    scores: Mapping[str, np.ndarray],
    costs: Costs,
    *,
    keep: float,
    multiple: int,
) -> Kept:
    """Channels to keep: the group with the least importance for its cost goes, again and again.

    Args:
        keep: share of the network's multiply-accumulates to keep.
        multiple: channels go so many at a time, and at least so many of a set stay. What does not
            divide goes with the first group.

    Raises:
        Refusal: so few cannot be reached.
    """
    target = keep * costs.total()
    order = {h.producer: np.argsort(scores[h.producer], kind="stable") for h in hidden}
    gone = dict.fromkeys(order, 0)

    def group(h: Hidden) -> int:
        """How many channels would go next; 0 for none."""
        left = h.channels - gone[h.producer]
        size = left % multiple or multiple
        return size if left - size >= multiple else 0

    while costs.total() > target:
        least, chosen, size = np.inf, None, 0
        for h in hidden:
            count = group(h)
            if not count:
                continue
            at = gone[h.producer]
            lost = float(scores[h.producer][order[h.producer][at : at + count]].sum())
            price = lost / (count * costs.of(h))
            if price < least:
                least, chosen, size = price, h, count
        if chosen is None:
            raise Refusal(
                f"pruning hidden channels leaves no less than {costs.total() / target * keep:.0%} "
                f"of the multiply-accumulates, and macs={keep:g} asks for {keep:.0%}.",
                hint="Ask for more to be left, or for a smaller --model.",
            )
        gone[chosen.producer] += size
        costs.take(chosen, size)
    return {name: np.sort(channels[gone[name] :]) for name, channels in order.items()}


def edits_of(network: nn.Module, hidden: Sequence[Hidden], kept: Kept) -> list[dict[str, Any]]:
    """One edit for each layer that gets narrower, in the order of the network's layers."""
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
        if isinstance(module, nn.Conv2d):
            wide, out, groups = module.in_channels, module.out_channels, module.groups
        else:
            wide = out = int(getattr(module, "num_features", 0))
            groups = 1
        wide, out = inputs.get(name, wide), outputs.get(name, out)
        edits.append(resize(name, inputs=wide, outputs=out, groups=out if groups > 1 else 1))
    return edits


def cut(tensors: Mapping[str, Tensor], hidden: Sequence[Hidden], kept: Kept) -> dict[str, Tensor]:
    """The tensors of a state dict without the channels that go."""
    found = dict(tensors)
    for h in hidden:
        index = torch.from_numpy(kept[h.producer])
        for layer in (h.producer, *h.between):
            for name in ("weight", "bias", "running_mean", "running_var"):
                if (key := f"{layer}.{name}") in found:
                    found[key] = found[key].index_select(0, index)
        key = f"{h.consumer}.weight"
        found[key] = found[key].index_select(1, index)
    return found
