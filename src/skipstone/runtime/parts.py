"""From a bundle back to its living parts: input, task, network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from skipstone.bundle.files import RECORD
from skipstone.bundle.format import WEIGHTS, Bundle
from skipstone.errors import DamagedError, SkipstoneError
from skipstone.inputs.base import Input
from skipstone.models.build import build_network, check_fits, load_tensors
from skipstone.models.network import Network
from skipstone.registry import INPUTS, TASKS
from skipstone.tasks.base import Task


def input_of(bundle: Bundle) -> Input:
    """The bundle's input, with its options and fitted state."""
    entry = INPUTS[bundle.input["name"]]
    with _described("input"):
        options = entry.make_options(bundle.input["options"])
        made: Input = entry.load()(options, bundle.input["state"], dict(bundle.input_arrays))
        made.emits()  # which one that was never fitted cannot say
    return made


def task_of(bundle: Bundle) -> Task:
    """The bundle's task, with its options and schema."""
    entry = TASKS[bundle.task["name"]]
    with _described("task"):
        options = entry.make_options(bundle.task["options"])
        made: Task = entry.load()(options, bundle.task["schema"])
    return made


def network_of(bundle: Bundle) -> Network:
    """The bundle's network with its weights, on the CPU, in evaluation mode.

    Raises:
        DamagedError: the tensors do not fit the architecture, or are not finite. Nothing of the
            size that the architecture claims is allocated before that is known.
    """
    input = input_of(bundle)
    with _described("network"):
        check_fits(bundle.arch, input.emits(), bundle.tensors, where=WEIGHTS)
        network = build_network(bundle.arch, input)
    load_tensors(network, bundle.tensors, where=WEIGHTS)
    network.eval()
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
    looks_at = getattr(task_of(bundle), "looks_at", None)
    if looks_at is None:
        return {}
    found = {name: sorted(looks_at({name: value})) for name, value in bundle.post.items()}
    return {name: arrays for name, arrays in found.items() if arrays}
