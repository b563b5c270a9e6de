"""Several inputs for one source, for ensembles whose members preprocess differently.

    source --decode--> a record per input --encode--> arrays "tokens_0", "features_1", ...

All are of one kind (texts, say), with different options or fitted state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from skipstone.data.sources import Source
from skipstone.errors import Refusal
from skipstone.inputs.base import Array, Emits, FreeAxis, Input, Raw


@dataclass(frozen=True, slots=True)
class JoinedRaw(Raw):
    """A decoded source: the first input's record, and those of all.

    Args:
        parts: one per input.
    """

    parts: tuple[Raw, ...] = ()


class Joined(Input):
    """Several inputs as one; the second's array "tokens" is named "tokens_1".

    Args:
        inputs: two or more, fitted.
    """

    def __init__(self, inputs: Sequence[Input]) -> None:
        assert len(inputs) > 1, "one input needs no joining"
        self.inputs = tuple(inputs)
        self.options = inputs[0].options

    @property
    def ragged(self) -> frozenset[str]:
        return frozenset(
            f"{name}_{at}" for at, input in enumerate(self.inputs) for name in input.ragged
        )

    @property
    def free_axes(self) -> dict[str, dict[int, FreeAxis]]:
        """Those of each input; sizes of different inputs are independent."""
        return {
            f"{name}_{at}": {
                axis: size._replace(name=f"{size.name}_{at}") for axis, size in axes.items()
            }
            for at, input in enumerate(self.inputs)
            for name, axes in input.free_axes.items()
        }

    def fit(self, sources: Sequence[Source]) -> Joined:
        raise Refusal("an ensemble uses its members' fitted inputs, which are not fitted again.")

    def emits(self) -> Emits:
        """Of all inputs together, which no single backbone accepts."""
        return Emits("several", 0, exact=any(input.emits().exact for input in self.inputs))

    def decode(self, source: Source) -> JoinedRaw:
        parts = tuple(input.decode(source) for input in self.inputs)
        first = parts[0]
        return JoinedRaw(first.value, first.size, first.to_source, first.once, parts)

    def encode(self, raw: Raw) -> dict[str, Array]:
        assert isinstance(raw, JoinedRaw)
        return _numbered(
            [input.encode(part) for input, part in zip(self.inputs, raw.parts, strict=True)]
        )

    def front(self) -> nn.Module:
        """dict of batched arrays -> a tuple with the output of each input's front."""
        return JoinedFront(
            [input.front() for input in self.inputs],
            [list(input.example(1)) for input in self.inputs],
        )

    def example(self, batch: int) -> dict[str, Array]:
        return _numbered([input.example(batch) for input in self.inputs])

    def golden(self, count: int) -> list[tuple[str, bytes]]:
        """Each input's goldens in turn, because each exercises its own decoding."""
        per_input = [input.golden(count) for input in self.inputs]
        return [per_input[at % len(per_input)][at] for at in range(min(map(len, per_input)))]

    def state(self) -> tuple[dict[str, Any], Mapping[str, Array]]:
        """The first input's; a bundle stores each input by itself."""
        return self.inputs[0].state()


class JoinedFront(nn.Module):
    """The fronts in parallel.

    Args:
        names: of each front's arrays, without their number.
    """

    def __init__(self, fronts: Sequence[nn.Module], names: Sequence[Sequence[str]]) -> None:
        super().__init__()
        self.fronts = nn.ModuleList(fronts)
        self.names = [list(of_front) for of_front in names]

    def forward(self, x: dict[str, Tensor]) -> tuple[Any, ...]:
        return tuple(
            front({name: x[f"{name}_{at}"] for name in names})
            for at, (front, names) in enumerate(zip(self.fronts, self.names, strict=True))
        )


def inputs_of(input: Input) -> tuple[Input, ...]:
    """The inputs that `input` consists of: itself, or the members of a `Joined`."""
    return input.inputs if isinstance(input, Joined) else (input,)


def _numbered(per_input: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {
        f"{name}_{at}": array
        for at, arrays in enumerate(per_input)
        for name, array in arrays.items()
    }
