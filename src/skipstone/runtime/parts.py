"""From a bundle back to its living parts: input, task, network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from skipstone.bundle.arch import MOST_MEMBERS, Arch, one_network
from skipstone.bundle.files import RECORD
from skipstone.bundle.format import WEIGHTS, Bundle
from skipstone.errors import DamagedError, SkipstoneError
from skipstone.inputs.base import Input
from skipstone.inputs.joined import Joined
from skipstone.models.build import build_network, check_fits, load_tensors
from skipstone.models.ensemble import build_ensemble, check_ensemble_fits
from skipstone.models.network import Network
from skipstone.registry import INPUTS, TASKS
from skipstone.tasks.base import Task


def input_of(bundle: Bundle) -> Input:
    """The bundle's input, with its options and fitted state; a `Joined` one where the members of an
    ensemble take several."""
    others = bundle.input.get("others", [])
    with _described("input"):
        if not 0 <= len(others) < MOST_MEMBERS:
            raise ValueError(f"{len(others)} more inputs")
        arrays = _arrays_by_input(bundle.input_arrays, 1 + len(others))
        described = zip([bundle.input, *others], arrays, strict=True)
        inputs = [_input(each, own) for each, own in described]
    return Joined(inputs) if others else inputs[0]


def _input(described: Mapping[str, Any], arrays: dict[str, Any]) -> Input:
    entry = INPUTS[described["name"]]
    options = entry.make_options(described["options"])
    made: Input = entry.load()(options, described["state"], arrays)
    made.emits()  # which one that was never fitted cannot say
    return made


def _arrays_by_input(arrays: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Those of the first under their names, those of others under "1/<name>", "2/<name>", ..."""
    if count == 1:
        return [dict(arrays)]
    found: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, value in arrays.items():
        number, _, own = name.rpartition("/")
        found[_number(number)][own] = value
    return found


def _number(text: str) -> int:
    """0 for "", "1" and so on: ValueError for what is no number."""
    if text and not text.isdecimal():
        raise ValueError(f"{text!r} is no number of an input")
    return int(text or 0)


def joined_arrays(inputs: Sequence[Input]) -> dict[str, Any]:
    """`Bundle.input_arrays` of several inputs."""
    return {
        f"{at}/{name}" if at else name: value
        for at, input in enumerate(inputs)
        for name, value in input.state()[1].items()
    }


def task_of(bundle: Bundle) -> Task:
    """The bundle's task, with its options and schema."""
    entry = TASKS[bundle.task["name"]]
    with _described("task"):
        options = entry.make_options(bundle.task["options"])
        made: Task = entry.load()(options, bundle.task["schema"])
    return made


def network_of(bundle: Bundle) -> nn.Module:
    """What answers: the bundle's network, or its ensemble, with its weights, on the CPU, in
    evaluation mode. It takes a dict of batched arrays and gives a dict of outputs.

    Raises:
        DamagedError: the tensors do not fit the architecture, or are not finite. Nothing of the
            size that the architecture claims is allocated before that is known.
    """
    input = input_of(bundle)
    with _described("network"):
        network: nn.Module
        if isinstance(bundle.arch, Arch):
            check_fits(bundle.arch, input.emits(), bundle.tensors, where=WEIGHTS)
            network = build_network(bundle.arch, input)
        else:
            check_ensemble_fits(bundle.arch, input, bundle.tensors, where=WEIGHTS)
            network = build_ensemble(bundle.arch, input)
    load_tensors(network, bundle.tensors, where=WEIGHTS)
    return network.eval()


def one_network_of(bundle: Bundle, doing: str) -> Network:
    """The same of a model that is one network.

    Raises:
        Refusal: it is an ensemble; `doing` says what works on one network alone.
    """
    one_network(bundle.arch, doing)
    network = network_of(bundle)
    assert isinstance(network, Network)
    return network


@contextlib.contextmanager
def _described(part: str) -> Iterator[None]:
    """Whatever a part's own code makes of a description that nobody of ours wrote (a word for a
    number, a shape that overflows) is damage of the bundle."""
    try:
        yield
    except SkipstoneError:
        raise
    except Exception as error:
        raise DamagedError(
            f"{RECORD} describes no {part} that can be made ({type(error).__name__}: {error})."
        ) from error


def refinements_of(bundle: Bundle) -> dict[str, list[str]]:
    """A model's post-processing that looks at the input once more, which no program does: by name,
    the arrays that it looks at."""
    task = task_of(bundle)
    found = {
        name: sorted(task.required_inputs({name: value})) for name, value in bundle.post.items()
    }
    return {name: arrays for name, arrays in found.items() if arrays}
