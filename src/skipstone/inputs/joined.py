"""Several ways to prepare one source, for models of an ensemble that do not share theirs.

    source --decode--> what each input makes of it --encode--> arrays "tokens_0", "features_1", ...

All are of one kind (texts, say), with other options or fitted state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from skipstone.data.sources import Source
from skipstone.errors import Refusal
from skipstone.inputs.base import Array, Emits, FreeAxis, Input, Raw, ragged_arrays


@dataclass(frozen=True, slots=True)
class JoinedRaw(Raw):
    """A decoded source: the first input's record, and those of all.

    Args:
        parts: one an input.
    """

    parts: tuple[Raw, ...] = ()


class Joined:
    """An input made of several, each with arrays of its own: "tokens" of the second is "tokens_1".

    Args:
        inputs: two or more, fitted.
    """

    #: The stand-alone script prepares a file in one way.
    standalone = None

    def __init__(self, inputs: Sequence[Input]) -> None:
        assert len(inputs) > 1, "one input needs no joining"
        self.inputs = tuple(inputs)
        self.options = inputs[0].options

    @property
    def ragged(self) -> frozenset[str]:
        return frozenset(
            f"{name}_{at}" for at, input in enumerate(self.inputs) for name in ragged_arrays(input)
        )

    @property
    def free_axes(self) -> dict[str, dict[int, FreeAxis]]:
        """Those of each input; sizes of different inputs differ."""
        return {
            f"{name}_{at}": {
                axis: size._replace(name=f"{size.name}_{at}") for axis, size in axes.items()
            }
            for at, input in enumerate(self.inputs)
            for name, axes in getattr(input, "free_axes", {}).items()
        }

    @cached_property
    def pieces(self) -> Any:
        """The first input's way to take a text apart, for a report; None where it has none."""
        return getattr(self.inputs[0], "pieces", None)

    def fit(self, sources: Sequence[Source]) -> Joined:
        raise Refusal(
            "the inputs of an ensemble are those of its members, and are not fitted again."
        )

    def emits(self) -> Emits:
        """Of all together: nothing that one backbone takes."""
        return Emits("several", 0, exact=any(input.emits().exact for input in self.inputs))

    def decode(self, source: Source) -> JoinedRaw:
        parts = tuple(input.decode(source) for input in self.inputs)
        first = parts[0]
        return JoinedRaw(first.value, first.size, first.to_source, first.once, parts)

    def encode(self, raw: Raw) -> dict[str, Array]:
        assert isinstance(raw, JoinedRaw)
        return self._named(
            [input.encode(part) for input, part in zip(self.inputs, raw.parts, strict=True)]
        )

    def front(self) -> nn.Module:
        """dict of batched arrays -> a tuple of what each input's front gives."""
        return JoinedFront(
            [input.front() for input in self.inputs],
            [list(input.example(1)) for input in self.inputs],
        )

    def example(self, batch: int) -> dict[str, Array]:
        return self._named([input.example(batch) for input in self.inputs])

    def golden(self, count: int) -> list[tuple[str, bytes]]:
        """In turn those of each input, for each exercises its own decoding."""
        each = [input.golden(count) for input in self.inputs]
        return [each[at % len(each)][at] for at in range(min(map(len, each)))]

    def state(self) -> tuple[dict[str, Any], Mapping[str, Array]]:
        """The first input's; a bundle stores each by itself."""
        return self.inputs[0].state()

    def _named(self, each: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        return {
            f"{name}_{at}": array
            for at, arrays in enumerate(each)
            for name, array in arrays.items()
        }


class JoinedFront(nn.Module):
    """The fronts side by side."""

    def __init__(self, fronts: Sequence[nn.Module], names: Sequence[Sequence[str]]) -> None:
        super().__init__()
        self.fronts = nn.ModuleList(fronts)
        self.names = [list(own) for own in names]

    def forward(self, x: dict[str, Tensor]) -> tuple[Any, ...]:
        return tuple(
            front({name: x[f"{name}_{at}"] for name in own})
            for at, (front, own) in enumerate(zip(self.fronts, self.names, strict=True))
        )


def inputs_of(input: Input) -> tuple[Input, ...]:
    """The inputs that it is made of."""
    return input.inputs if isinstance(input, Joined) else (input,)
