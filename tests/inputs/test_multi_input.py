"""Two ways to prepare a text, side by side."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from skipstone.core.errors import Refusal
from skipstone.data.sources import Inline
from skipstone.inputs.base import Input, inputs_are_equal
from skipstone.inputs.multi_input import MultiInput, list_inputs
from skipstone.text.input import TextInput
from skipstone.text.options import TextOptions
from tests.text_data import rows

SOURCES = [Inline(text.encode(), name=f"{at}.txt") for at, (text, _) in enumerate(rows(30))]


@pytest.fixture(scope="module")
def inputs() -> list[Input]:
    return [TextInput(TextOptions(text_features=form)).fit(SOURCES) for form in ("tokens", "bag")]


def test_each_has_its_arrays(inputs: list[Input]) -> None:
    joined = MultiInput(inputs)
    arrays = joined.encode(joined.decode(SOURCES[3]))
    assert set(arrays) == {"tokens_0", "features_1", "values_1"} == joined.ragged_arrays
    for at, input in enumerate(inputs):
        for name, array in input.encode(input.decode(SOURCES[3])).items():
            assert np.array_equal(arrays[f"{name}_{at}"], array)
    sizes = [size.name for axes in joined.dynamic_axes.values() for size in axes.values()]
    assert sorted(set(sizes)) == ["length_0", "length_1"]
    assert set(joined.make_example(2)) == set(arrays)
    assert list_inputs(joined) == tuple(inputs)
    assert list_inputs(inputs[0]) == (inputs[0],)


def test_fronts_get_what_is_theirs(inputs: list[Input]) -> None:
    joined = MultiInput(inputs)
    x = {name: torch.from_numpy(array) for name, array in joined.make_example(2).items()}
    tokens, (features, values) = joined.preprocessing_module()(x)
    assert torch.equal(tokens, x["tokens_0"])
    assert torch.equal(features, x["features_1"])
    assert torch.equal(values, x["values_1"])


def test_goldens_are_each_ones_in_turn(inputs: list[Input]) -> None:
    each = [input.make_golden_files(6) for input in inputs]
    assert MultiInput(inputs).make_golden_files(6) == [each[at % 2][at] for at in range(6)]


def test_it_is_not_fitted_again(inputs: list[Input]) -> None:
    with pytest.raises(Refusal, match="not fitted again"):
        MultiInput(inputs).fit(SOURCES)


def test_inputs_are_the_same_by_what_they_have_learnt(inputs: list[Input]) -> None:
    again = TextInput(TextOptions(text_features="bag")).fit(SOURCES)
    fewer = TextInput(TextOptions(text_features="bag")).fit(SOURCES[:20])
    assert inputs_are_equal(inputs[1], again)
    assert not inputs_are_equal(inputs[1], fewer)
    assert not inputs_are_equal(*inputs)
