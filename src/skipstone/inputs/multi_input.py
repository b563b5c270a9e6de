"""Several inputs for one source, for ensembles whose members preprocess differently.

    source --decode--> a record per input --encode--> arrays "tokens_0", "features_1", ...

All are of one kind (texts, say), with different options or fitted state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skipstone.core.errors import Refusal
from skipstone.data.sources import Source
from skipstone.inputs.base import Array, DecodedSample, DynamicAxis, FeatureSpec, Input

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class MultiDecodedSample(DecodedSample):
    """A decoded source: the first input's record, and those of all.

    Args:
        parts: one per input.
    """

    parts: tuple[DecodedSample, ...] = ()


class MultiInput(Input):
    """Several inputs as one; the second's array "tokens" is named "tokens_1".

    Args:
        inputs: two or more, fitted.
    """

    def __init__(self, inputs: Sequence[Input]) -> None:
        assert len(inputs) > 1, "one input needs no joining"
        self.inputs = tuple(inputs)
        self.options = inputs[0].options

    @property
    def ragged_arrays(self) -> frozenset[str]:
        return frozenset(
            f"{name}_{at}" for at, input in enumerate(self.inputs) for name in input.ragged_arrays
        )

    @property
    def dynamic_axes(self) -> dict[str, dict[int, DynamicAxis]]:
        """Those of each input; sizes of different inputs are independent."""
        return {
            f"{name}_{at}": {
                axis: size._replace(name=f"{size.name}_{at}") for axis, size in axes.items()
            }
            for at, input in enumerate(self.inputs)
            for name, axes in input.dynamic_axes.items()
        }

    def fit(self, sources: Sequence[Source]) -> MultiInput:
        raise Refusal("an ensemble uses its members' fitted inputs, which are not fitted again.")

    def feature_spec(self) -> FeatureSpec:
        """Of all inputs together, which no single backbone accepts."""
        return FeatureSpec(
            "several",
            0,
            requires_float32=any(input.feature_spec().requires_float32 for input in self.inputs),
        )

    def decode(self, source: Source) -> MultiDecodedSample:
        parts = tuple(input.decode(source) for input in self.inputs)
        first = parts[0]
        return MultiDecodedSample(
            first.value, first.size, first.to_source, first.is_augmented, parts
        )

    def encode(self, raw: DecodedSample) -> dict[str, Array]:
        assert isinstance(raw, MultiDecodedSample)
        return _numbered(
            [input.encode(part) for input, part in zip(self.inputs, raw.parts, strict=True)]
        )

    def preprocessing_module(self) -> nn.Module:
        """dict of batched arrays -> a tuple with the output of each input's front."""
        from skipstone.inputs.multi_preprocessing import MultiInputPreprocessing

        return MultiInputPreprocessing(
            [input.preprocessing_module() for input in self.inputs],
            [list(input.make_example(1)) for input in self.inputs],
        )

    def make_example(self, batch: int) -> dict[str, Array]:
        return _numbered([input.make_example(batch) for input in self.inputs])

    def make_golden_files(self, count: int) -> list[tuple[str, bytes]]:
        """Each input's goldens in turn, because each exercises its own decoding."""
        per_input = [input.make_golden_files(count) for input in self.inputs]
        return [per_input[at % len(per_input)][at] for at in range(min(map(len, per_input)))]

    def get_state(self) -> tuple[dict[str, Any], Mapping[str, Array]]:
        """The first input's; a bundle stores each input by itself."""
        return self.inputs[0].get_state()


def list_inputs(input: Input) -> tuple[Input, ...]:
    """The inputs that `input` consists of: itself, or the members of a `MultiInput`."""
    return input.inputs if isinstance(input, MultiInput) else (input,)


def _numbered(per_input: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {
        f"{name}_{at}": array
        for at, arrays in enumerate(per_input)
        for name, array in arrays.items()
    }
