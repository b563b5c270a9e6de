"""A model with random weights, for what does not depend on training, such as latency."""

from __future__ import annotations

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.bundle.format import Bundle
from skipstone.core.errors import SkipstoneError, UsageError
from skipstone.core.options import options_to_json
from skipstone.core.registry import BACKBONES, INPUTS, TASKS
from skipstone.core.specs import InputSpec
from skipstone.inputs.base import make_input_record
from skipstone.models.build import build_network, export_tensors
from skipstone.tasks.base import task_record
from skipstone.training.network_choice import default_head

CLASS_COUNT = 10


def _input_for(kind: str) -> InputSpec:
    """The input that emits this kind. UsageError if there is none."""
    for entry in INPUTS:
        if kind in entry.emits:
            return entry
    return INPUTS[kind]


def make_untrained_bundle(name: str, *, size: int | None = None, channels: int = 3) -> Bundle:
    """A bundle in memory for CLASSES classes, with weights drawn with seed 0.

    Args:
        size: of its images in pixels; None for the model's default size.

    Raises:
        UsageError: unknown model, or one whose input must be fitted first (a vocabulary).
    """
    import torch

    entry = BACKBONES[name]
    options = entry.make_options()
    kind = entry.accepts[0]
    input_entry = _input_for(kind)
    wanted = {"size": size or entry.input_size or 224, "channels": channels}
    wanted |= entry.input_options
    options_type = input_entry.options_type()
    known = {} if options_type is None else options_type.__dataclass_fields__
    make = input_entry.load()
    input_options = input_entry.make_options({k: v for k, v in wanted.items() if k in known})
    input = make(input_options)
    state, arrays = input.get_state()
    try:
        make(input_options, state, dict(arrays)).feature_spec()
    except SkipstoneError:
        raise UsageError(
            f"{name} cannot be used untrained: its size depends on the data (its vocabulary).",
            hint=f"Train it and compare the runs: skipstone train DATA --model {name}",
        ) from None
    task_entry = next(iter(TASKS))
    schema = {"classes": [f"class {number}" for number in range(CLASS_COUNT)]}
    task = task_entry.load()(task_entry.make_options(), schema)
    arch = Arch(
        ComponentConfig(name, {"options": options_to_json(options)}), default_head(task, entry)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(arch, input)
    return Bundle(
        arch=arch,
        input=make_input_record(input_entry.name, input),
        task=task_record(task_entry.name, task),
        lineage={"untrained": name},
        tensors=export_tensors(network),
        input_arrays=dict(arrays),
    )
