"""Weights that a step changes in place: which they are, and training with a constraint on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.utils import parametrize

from skipstone.bundle.architecture import require_single_network
from skipstone.bundle.format import Bundle
from skipstone.core import events
from skipstone.core.errors import Refusal
from skipstone.core.registry import BACKBONES
from skipstone.inference.restore import restore_single_network
from skipstone.models.network import Network


def restore_weighted_network(bundle: Bundle, step: str) -> Network:
    """The bundle's network. Refusal if it has no weights that `step` could change."""
    network = restore_single_network(bundle, f"the step {step}")
    if not list_weights(network):
        raise Refusal(
            f"{step}: {bundle.arch.name} has no layers with weights.",
            hint='Choose another step, such as --plan "vocabulary".',
        )
    return network


def limit_epochs(bundle: Bundle, epochs: int) -> int:
    """`epochs` of training, or 0 with a note for a model that is solved in closed form."""
    name = require_single_network(bundle.arch, "recovery training").name
    if not epochs or not BACKBONES[name].is_closed_form:
        return epochs
    events.emit_note(f"{name} is solved in closed form, so its weights are not trained afterwards.")
    return 0


def list_weights(network: Network) -> dict[str, Tensor]:
    """The weights of convolutions, linear and recurrent layers and embeddings, by name. Biases and
    norms are few and stay as they are."""
    return {
        name: tensor.detach()
        for name, tensor in network.named_parameters()
        if tensor.ndim > 1 and not name.startswith("front.")
    }


@contextmanager
def constrain_weights(network: Network, constraints: Mapping[str, nn.Module]) -> Iterator[None]:
    """In the block, each named weight is the output of a module; afterwards it is its last output.

    Args:
        constraints: {name of the weight: module from the trained tensor to the weight}. A module
            with the method `right_inverse` gives the trained tensor for a weight.
    """
    owners = []
    for name, constraint in constraints.items():
        module, _, weight = name.rpartition(".")
        owner = network.get_submodule(module)
        parametrize.register_parametrization(owner, weight, constraint, unsafe=True)
        owners.append((owner, weight))
    try:
        yield
    finally:
        for owner, weight in owners:
            parametrize.remove_parametrizations(owner, weight, leave_parametrized=True)
