"""Features of folds, counted once for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from skipstone.data.sources import Inline
from skipstone.inputs.base import FoldFeatures
from skipstone.text.input import TextInput
from skipstone.text.options import TextOptions
from tests.text_data import rows


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weighting": "binary", "word_ngrams": "1-2", "char_ngrams": "none"},
        {"weighting": "counts", "skip_grams": 3, "opening_words": 2, "min_count": 2},
        {"max_features": 50, "lowercase": False},
    ],
)
def test_a_part_has_the_vocabulary_and_features_of_its_own_texts(options: dict[str, Any]) -> None:
    sources = [Inline(text, str(number)) for number, (text, _) in enumerate(rows(40))]
    whole = TextInput(TextOptions(text_features="bag", **options)).fit(sources)
    assert isinstance(whole, FoldFeatures)
    shared: dict[str, Any] = {}
    fit_part = whole.prepare_folds(sources, shared)
    assert fit_part is not None
    for part in (np.arange(0, 40, 2), np.arange(25)):
        input, matrix = fit_part(part)
        wanted = whole.fit([sources[row] for row in part])
        arrays, wanted_arrays = input.get_state()[1], wanted.get_state()[1]
        assert arrays.keys() == wanted_arrays.keys()
        for name, value in wanted_arrays.items():
            np.testing.assert_array_equal(arrays[name], value)
        expected, _ = wanted.make_feature_matrix(sources)
        assert (matrix != expected).nnz == 0
        assert matrix.shape == expected.shape
        assert matrix.shape[1] < whole.feature_spec().channels - 1 or "max_features" in options


def test_hashed_n_grams_are_not_counted_once() -> None:
    sources = [Inline(text, text) for text, _ in rows(9)]
    whole = TextInput(TextOptions(text_features="bag", hash_bits=6)).fit(sources)
    assert whole.prepare_folds(sources, {}) is None
