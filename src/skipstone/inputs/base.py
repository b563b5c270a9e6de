"""What every kind of input (image, text, audio) answers.

The way from a source to a network's arrays has two halves, so that the first can be cached:

    source --decode--> Raw (the record: one decode, one resize) -encode-> arrays -front()-> network

`decode` and `encode` need no torch: the same functions run when a bundle is served by ONNX Runtime
or OpenVINO. `front` is in the graph (normalisation, log-mel) and is exported with the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from skipstone.data.sources import Source
from skipstone.option_types import stored_options

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Emits:
    """What the front hands to a backbone.

    Args:
        kind: "image", ...
        channels: of it, or features.
        exact: whether its numbers need float32 up to and through the backbone's first layer,
            whatever the rest is computed in.
    """

    kind: str
    channels: int
    exact: bool = False


class FreeAxis(NamedTuple):
    """An axis of an input's array that has any size, for export.

    Args:
        name: of the size.
        multiple: what the size is a multiple of.
        most: the greatest size; None for any.
    """

    name: str
    multiple: int = 1
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """A decoded source.

    Args:
        value: the record, e.g. uint8 (H, W, C) pixels.
        size: (height, width) of the source as a person sees it.
        to_source: affine from record coordinates to the source's, or None.
        once: whether it will not come again (it was changed at random), so that nothing made of it
            is worth keeping.
    """

    value: Array
    size: tuple[int, ...]
    to_source: tuple[float, float, float, float, float, float] | None = None
    once: bool = False


class Input(Protocol):
    """One kind of input with its frozen options and its fitted state.

    A class registered in INPUTS is constructed as `Class(options, state=None, arrays=None)`.
    """

    options: Any

    def fit(self, sources: Sequence[Source]) -> Input:
        """Learn state (mean, vocabulary, whether pictures are grey) from the fit split only."""

    def emits(self) -> Emits: ...

    def decode(self, source: Source) -> Raw:
        """Read and decode. Raises DataError that names the file and what is wrong with it."""

    def encode(self, raw: Raw) -> dict[str, Array]:
        """The graph's inputs for one sample, without the batch dimension."""

    def front(self) -> nn.Module:
        """dict of batched arrays -> the tensor a backbone takes; exported with the network."""

    def example(self, batch: int) -> dict[str, Array]:
        """Arrays of the right shapes and types, for tracing, timing and shape checks."""

    def golden(self, count: int) -> list[tuple[str, bytes]]:
        """`count` generated files (name, bytes) that exercise its decoding; deterministic."""

    def state(self) -> tuple[dict[str, Any], Mapping[str, Array]]:
        """JSON-able state and arrays; `Class(options, *state)` gives the same input again."""


@runtime_checkable
class Vocabulary(Protocol):
    """What an input answers whose arrays are ids of a vocabulary, so that it can be made smaller.

    Attributes:
        missing: the id that stands for whatever the vocabulary lacks.
    """

    @property
    def missing(self) -> int: ...

    def entries(self) -> range:
        """The ids that can be taken away. Refusal where no entry can go without the others."""

    def narrowed(self, kept: Array) -> Input:
        """The same input knowing only the entries `kept` (ids, ascending), which are numbered anew
        from the first; what is taken away becomes what the input never saw."""


@runtime_checkable
class Resizable(Protocol):
    """What an input answers whose arrays have a resolution that can be lowered."""

    def resolution(self) -> int:
        """The side that all its arrays have. Refusal where they have none in common."""

    def resized(self, side: int) -> Input:
        """The same input with arrays of this side; what it has learnt stays."""

    def enlarging_front(self) -> nn.Module:
        """`front` for arrays of any side, which it brings to this input's own first."""


def same_input(one: Input, other: Input) -> bool:
    """Whether two inputs of one kind have the same options and have learnt the same."""
    (state, arrays), (states, others) = one.state(), other.state()
    if (one.options, state, arrays.keys()) != (other.options, states, others.keys()):
        return False
    return all(np.array_equal(value, others[name]) for name, value in arrays.items())


def ragged_arrays(input: Input) -> frozenset[str]:
    """Names of an input's arrays (L, ...) whose length L differs by sample.

    Batches of them are filled up with zeros to the longest. An input that has such arrays names
    them in an attribute `ragged`.
    """
    names: frozenset[str] = getattr(input, "ragged", frozenset())
    return names


def input_record(name: str, input: Input) -> dict[str, Any]:
    """What a bundle stores of an input beside its arrays, JSON-able; `name` is its entry's."""
    state, _ = input.state()
    return {"name": name, "options": stored_options(input.options), "state": state}
