"""Restore a bundle's input, task and network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skipstone.bundle.architecture import MAX_MEMBERS, Arch, require_single_network
from skipstone.bundle.files import BUNDLE_JSON
from skipstone.bundle.format import WEIGHTS_FILE, Bundle
from skipstone.core.errors import DamagedError, SkipstoneError
from skipstone.core.registry import INPUTS, TASKS
from skipstone.inputs.base import Input
from skipstone.inputs.multi_input import MultiInput
from skipstone.tasks.base import Task

if TYPE_CHECKING:
    from torch import nn

    from skipstone.models.network import Network


def restore_input(bundle: Bundle) -> Input:
    """The bundle's input, with its options and fitted state; a `MultiInput` input where the members of
    an ensemble need several."""
    others = bundle.input.get("others", [])
    with _errors_as_damage("input"):
        if not 0 <= len(others) < MAX_MEMBERS:
            raise ValueError(f"{len(others)} more inputs")
        arrays_by_input = _arrays_by_input(bundle.input_arrays, 1 + len(others))
        records = zip([bundle.input, *others], arrays_by_input, strict=True)
        inputs = [_input(record, arrays) for record, arrays in records]
    return MultiInput(inputs) if others else inputs[0]


def _input(record: Mapping[str, Any], arrays: dict[str, Any]) -> Input:
    entry = INPUTS[record["name"]]
    options = entry.make_options(record["options"])
    input: Input = entry.load()(options, record["state"], arrays)
    input.feature_spec()  # raises where the stored state is not that of a fitted input
    return input


def _arrays_by_input(arrays: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Arrays named "<name>" belong to the first input, "1/<name>" to the second, and so on."""
    if count == 1:
        return [dict(arrays)]
    by_input: list[dict[str, Any]] = [{} for _ in range(count)]
    for full_name, value in arrays.items():
        number, _, name = full_name.rpartition("/")
        by_input[_input_number(number)][name] = value
    return by_input


def _input_number(text: str) -> int:
    """0 for "", 1 for "1", ...; ValueError for other text."""
    if text and not text.isdecimal():
        raise ValueError(f"{text!r} is not the number of an input")
    return int(text or 0)


def collect_input_arrays(inputs: Sequence[Input]) -> dict[str, Any]:
    """`Bundle.input_arrays` of several inputs."""
    return {
        f"{at}/{name}" if at else name: value
        for at, input in enumerate(inputs)
        for name, value in input.get_state()[1].items()
    }


def restore_task(bundle: Bundle) -> Task:
    """The bundle's task, with its options and schema."""
    entry = TASKS[bundle.task["name"]]
    with _errors_as_damage("task"):
        options = entry.make_options(bundle.task["options"])
        task: Task = entry.load()(options, bundle.task["schema"])
    return task


def restore_network(bundle: Bundle) -> nn.Module:
    """The bundle's network or ensemble with its weights, on the CPU, in evaluation mode:
    dict of batched arrays -> dict of outputs.

    Raises:
        DamagedError: the tensors do not fit the architecture, or are not finite. Shapes are checked
            before the network is allocated.
    """
    from skipstone.models.averaging import build_ensemble, check_ensemble_tensors
    from skipstone.models.build import build_network, check_tensors_fit, load_tensors

    input = restore_input(bundle)
    with _errors_as_damage("network"):
        network: nn.Module
        if isinstance(bundle.arch, Arch):
            check_tensors_fit(bundle.arch, input.feature_spec(), bundle.tensors, where=WEIGHTS_FILE)
            network = build_network(bundle.arch, input)
        else:
            check_ensemble_tensors(bundle.arch, input, bundle.tensors, where=WEIGHTS_FILE)
            network = build_ensemble(bundle.arch, input)
    load_tensors(network, bundle.tensors, where=WEIGHTS_FILE)
    return network.eval()


def restore_single_network(bundle: Bundle, purpose: str) -> Network:
    """`restore_network` for a model that is a single network.

    Raises:
        Refusal: it is an ensemble; `purpose` names what needs a single network.
    """
    from skipstone.models.network import Network

    require_single_network(bundle.arch, purpose)
    network = restore_network(bundle)
    assert isinstance(network, Network)
    return network


@contextlib.contextmanager
def _errors_as_damage(part: str) -> Iterator[None]:
    """Report any error while building a part as damage of the bundle: a forged record can make its
    constructor raise anything (text for a number, a shape that overflows)."""
    try:
        yield
    except SkipstoneError:
        raise
    except Exception as error:
        raise DamagedError(
            f"the {part} that {BUNDLE_JSON} describes cannot be built ({type(error).__name__}: {error})."
        ) from error


def input_dependent_postprocessing(bundle: Bundle) -> dict[str, list[str]]:
    """Post-processing steps that read input arrays, by name, with the names of these arrays. They
    run outside the network, so exported programs do without them."""
    task = restore_task(bundle)
    arrays_by_step = {
        name: sorted(task.required_inputs({name: value})) for name, value in bundle.post.items()
    }
    return {name: arrays for name, arrays in arrays_by_step.items() if arrays}
