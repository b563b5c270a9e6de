"""Which tasks, inputs and models go together, and few cases that hold every pair of them.

What goes together follows from fields of the specs alone, so a new entry is covered by existing:

    input -> model   the input emits a kind that the model accepts
    task -> input    a task whose answers lie on the input wants one that can keep its shape
    task -> model    the head that the model takes (its own, or the task's) answers what the task
                     asks, and the model provides what that head requires
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from skipstone.core.registry import BACKBONES, HEADS, INPUTS, TASKS
from skipstone.core.specs import BackboneSpec, InputSpec, TaskSpec
from tests.reader_examples import readers_of


@dataclass(frozen=True, order=True)
class Case:
    """Names of a task, an input and a model that go together, and of a reader that gives such
    data."""

    task: str
    input: str
    model: str
    reader: str = ""

    @property
    def pairs(self) -> frozenset[tuple[str, ...]]:
        """Task and input, each of them with what the model needs, and the function that builds it.

        Models that take the same, with the same head and solver, are alike to a task and an input:
        one of them is enough for each. Of models that one function builds, one is enough at all.
        """
        spec = BACKBONES[self.model]
        needs = f"{spec.accepts} {spec.head} {spec.solver} {sorted(spec.provides)}"
        names = {"task": self.task, "input": self.input, "needs": needs}
        pairs = itertools.combinations(names.items(), 2)
        return frozenset({("built by", spec.target), *(one + other for one, other in pairs)})

    def __str__(self) -> str:
        return f"{self.task}-{self.input}-{self.model.replace('/', '-')}-{self.reader}"


def goes_together(task: TaskSpec, input: InputSpec, model: BackboneSpec) -> bool:
    if not set(input.emits) & set(model.accepts):
        return False
    if task.spatial_targets and input.adapt_to_spatial_targets is None:
        return False
    if task.head is None:
        return False
    usual = HEADS[task.head]
    head = HEADS[model.head or usual.name]
    provided = set(model.provides)
    return head.output_level == usual.output_level and provided >= set(head.requires)


def triples() -> list[Case]:
    """Every task, input and model that go together."""
    return sorted(
        Case(task.name, input.name, model.name)
        for task, input, model in itertools.product(TASKS, INPUTS, BACKBONES)
        if goes_together(task, input, model)
    )


def strangers() -> list[Case]:
    """Every task, input and model that do not."""
    every = itertools.product(TASKS, INPUTS, BACKBONES)
    return sorted(
        Case(task.name, input.name, model.name)
        for task, input, model in every
        if not goes_together(task, input, model)
    )


def cover() -> list[Case]:
    """Few triples that hold every pair (greedy), each with a reader; all readers of a task and an
    input get their turn."""
    left = set().union(*(case.pairs for case in triples()))
    chosen: list[Case] = []
    candidates = triples()
    while left:
        best = max(candidates, key=lambda case: (len(case.pairs & left), -_size(case.model)))
        chosen.append(best)
        candidates.remove(best)
        left -= best.pairs
    turns: dict[tuple[str, str], itertools.cycle[str]] = {}
    found = []
    for case in sorted(chosen):
        kind = case.task, case.input
        turn = turns.setdefault(kind, itertools.cycle(readers_of(*kind)))
        found.append(Case(*kind, case.model, next(turn, "")))
    for case in triples():
        kind = case.task, case.input
        for reader in readers_of(*kind):
            if not any((one.task, one.input, one.reader) == (*kind, reader) for one in found):
                found.append(Case(*kind, _smallest_model(*kind), reader))
    return found


def _smallest_model(task: str, input: str) -> str:
    models = [case.model for case in triples() if (case.task, case.input) == (task, input)]
    return min(models, key=_size)


def _size(model: str) -> float:
    return BACKBONES[model].parameters or math.inf
