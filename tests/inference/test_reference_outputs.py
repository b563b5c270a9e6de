"""What is kept of a program's own answers, and how far others may be from them."""

from __future__ import annotations

import math

import numpy as np
import torch

from skipstone.inference.reference_outputs import (
    MAX_SAMPLED_VALUES,
    cpu_features,
    max_relative_error,
    sample_outputs,
)


def test_of_large_answers_a_part_is_kept_that_leaves_no_column_out() -> None:
    columns = np.broadcast_to(np.arange(64, dtype=np.float64), (2, 11, 64, 64))
    (part,) = sample_outputs({"logits": columns}).values()
    assert part.shape[0] == 2
    assert MAX_SAMPLED_VALUES / 2 < part.shape[1] <= MAX_SAMPLED_VALUES
    assert part.dtype == np.float32
    assert set(part[1]) == set(range(64))
    whole = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(sample_outputs({"logits": whole})["logits"], whole)


def test_how_far_apart() -> None:
    one = sample_outputs({"logits": np.array([[1.0, -4.0], [2.0, 4.0]])})
    assert max_relative_error(one, one) == 0
    assert (
        max_relative_error(one, sample_outputs({"logits": np.array([[1.0, -4.0], [2.5, 4.0]])}))
        == 0.5 / 4
    )
    assert (
        max_relative_error(one, sample_outputs({"logits": np.array([[1.0, np.nan], [2.0, 4.0]])}))
        == math.inf
    )
    assert max_relative_error(one, sample_outputs({"logits": np.ones((2, 3))})) == math.inf
    assert max_relative_error(one, sample_outputs({"boxes": one["logits"]})) == math.inf


def test_features_are_those_that_torch_finds() -> None:
    found, known = cpu_features(), torch.backends.cpu.get_cpu_capability()
    assert ("avx512f" in found) == known.startswith("AVX512")
    assert ("avx2" in found) >= (known == "AVX2")
