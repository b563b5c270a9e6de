"""From a bundle back to its living parts: input, task, network."""

from __future__ import annotations

from skipstone.bundle.format import WEIGHTS, Bundle
from skipstone.inputs.base import Input
from skipstone.models.build import build_network, load_tensors
from skipstone.models.network import Network
from skipstone.registry import INPUTS, TASKS
from skipstone.tasks.base import Task


def input_of(bundle: Bundle) -> Input:
    """The bundle's input, with its options and fitted state."""
    entry = INPUTS[bundle.input["name"]]
    options = entry.make_options(bundle.input["options"])
    made: Input = entry.load()(options, bundle.input["state"], dict(bundle.input_arrays))
    return made


def task_of(bundle: Bundle) -> Task:
    """The bundle's task, with its options and schema."""
    entry = TASKS[bundle.task["name"]]
    made: Task = entry.load()(entry.make_options(bundle.task["options"]), bundle.task["schema"])
    return made


def network_of(bundle: Bundle) -> Network:
    """The bundle's network with its weights, on the CPU, in evaluation mode.

    Raises:
        DamagedError: the tensors do not fit the architecture, or are not finite.
    """
    network = build_network(bundle.arch, input_of(bundle))
    load_tensors(network, bundle.tensors, where=WEIGHTS)
    network.eval()
    return network
