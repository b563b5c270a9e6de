"""A model by name with random weights: for what does not depend on training, such as latency."""

from __future__ import annotations

import dataclasses

from skipstone.bundle.arch import Arch, Part
from skipstone.bundle.format import Bundle
from skipstone.models.build import build_network, network_tensors
from skipstone.registry import BACKBONES, INPUTS, TASKS, Entry

CLASSES = 10


def _input_for(kind: str) -> Entry:
    """The input that emits this kind. UsageError where none does."""
    for entry in INPUTS:
        if kind in entry.facts.get("emits", ()):
            return entry
    return INPUTS[kind]


def untrained(
    name: str, *, classes: int = CLASSES, size: int | None = None, channels: int = 3
) -> Bundle:
    """A bundle in memory, drawn with seed 0, for inputs of the size that the model is made for.

    Raises:
        UsageError: no such model.
    """
    import torch

    entry = BACKBONES[name]
    options = entry.make_options()
    kind = entry.facts["accepts"][0]
    input_entry = _input_for(kind)
    wanted = {"size": size or entry.facts.get("input_size", 224), "channels": channels}
    wanted |= entry.facts.get("input", {})
    options_type = input_entry.options_type()
    known = {} if options_type is None else options_type.__dataclass_fields__
    input_options = input_entry.make_options({k: v for k, v in wanted.items() if k in known})
    input = input_entry.load()(input_options)
    task_entry = next(iter(TASKS))
    task_options = task_entry.make_options()
    schema = {"classes": [f"class {number}" for number in range(classes)]}
    task = task_entry.load()(task_options, schema)
    args = {"options": {} if options is None else dataclasses.asdict(options)}
    arch = Arch(Part(name, args), task.head())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(arch, input)
    state, arrays = input.state()
    return Bundle(
        arch=arch,
        input={"name": kind, "options": dataclasses.asdict(input_options), "state": state},
        task={
            "name": task_entry.name,
            "options": dataclasses.asdict(task_options),
            "schema": schema,
        },
        lineage={"untrained": name},
        tensors=network_tensors(network),
        input_arrays=dict(arrays),
    )
