"""Validate a stored state of the text input, which is untrusted: every value that an array is
indexed by or multiplied with is checked before use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from skipstone.core.errors import DamagedError
from skipstone.inputs.base import FIRST
from skipstone.text.features import FEATURE_KINDS
from skipstone.text.options import TextFeatures, TokenLevel, Weighting
from skipstone.text.subwords import count_subword_ids

Array = np.ndarray

#: Longest n-gram that options allow.
_LONGEST = 12
_MOST_BITS = 26
_MOST_BLOCKS = 8


def validate_state(state: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Validate `state` against `arrays`.

    Raises:
        DamagedError: names the invalid value.
    """
    features = _choice(state, "text_features", get_args(TextFeatures))
    _require(type(state.get("lowercase")) is bool, "lowercase is neither true nor false")
    common = state.get("common", [])
    _require(
        isinstance(common, list) and all(isinstance(word, str) for word in common),
        "common is not a list of words",
    )
    if features == "auto":
        return
    size = _integer(state, "size", 1, 1 << 40)
    if features == "tokens":
        _check_tokens(state, arrays, size)
    else:
        _check_bag(state, arrays, size)


def validate_ids(largest: int, size: int) -> None:
    """Raises DamagedError unless a tokenizer's ids fit `size`."""
    _require(largest + FIRST < size, f"its tokenizer has ids up to {largest:,}; size is {size:,}")


def _check_tokens(state: Mapping[str, Any], arrays: Mapping[str, Array], size: int) -> None:
    _choice(state, "token_level", get_args(TokenLevel))
    _integer(state, "max_length", 1, 1 << 20)
    if "vocabulary" in arrays:
        count = _check_hashes(arrays, "vocabulary")
        parts = _check_subwords(state)
        _require(
            size == count + FIRST + parts,
            f"size is {size:,}, and the vocabulary has {count:,} tokens"
            f"{f' besides {parts:,} subwords' if parts else ''}",
        )
    else:
        _require(not state.get("subwords"), "it has subwords without a vocabulary of words")


def _check_subwords(state: Mapping[str, Any]) -> int:
    """The number of subword ids."""
    parts = state.get("subwords")
    if parts is None:
        return 0
    _require(isinstance(parts, dict), "subwords is not a range of lengths")
    shortest = _integer(parts, "shortest", 1, _LONGEST)
    _integer(parts, "longest", shortest, _LONGEST)
    _integer(parts, "bits", 1, _MOST_BITS)
    return count_subword_ids(parts)


def _check_bag(state: Mapping[str, Any], arrays: Mapping[str, Array], size: int) -> None:
    _choice(state, "weighting", get_args(Weighting))
    blocks = state.get("blocks")
    _require(
        isinstance(blocks, list)
        and len(blocks) <= _MOST_BLOCKS
        and all(isinstance(block, dict) for block in blocks),
        "blocks is not a list of kinds of n-grams",
    )
    assert isinstance(blocks, list)
    start = 0
    for number, block in enumerate(blocks):
        start += _check_block(block, arrays, number, start)
    _require(size == start + 1, f"size is {size:,}, and its blocks have {start:,} n-grams")


def _check_block(
    block: Mapping[str, Any], arrays: Mapping[str, Array], number: int, start: int
) -> int:
    """The number of its n-grams."""
    _choice(block, "kind", FEATURE_KINDS)
    shortest = _integer(block, "shortest", 1, _LONGEST)
    _integer(block, "longest", shortest, _LONGEST)
    bits = _integer(block, "bits", 0, _MOST_BITS)
    if bits:
        count = 1 << bits
    else:
        _require(f"vocabulary.{number}" in arrays, f"block {number} has no vocabulary")
        count = _check_hashes(arrays, f"vocabulary.{number}")
    size = _integer(block, "size", 0, 1 << 40)
    _require(size == count, f"block {number} has size {size:,}, and {count:,} n-grams")
    begins = _integer(block, "start", 0, 1 << 40)
    _require(begins == start, f"block {number} starts at {begins:,}, not at {start:,}")
    if f"idf.{number}" in arrays:
        weight = arrays[f"idf.{number}"]
        _require(
            weight.dtype == np.float32 and weight.shape == (count,),
            f"idf.{number} does not hold one weight for each of {count:,} n-grams",
        )
        _require(
            bool(np.isfinite(weight).all()) and bool((weight >= 0).all()),
            f"idf.{number} has weights that are not finite, or below 0",
        )
    return count


def _check_hashes(arrays: Mapping[str, Array], name: str) -> int:
    """The number of hashes, which must be sorted and distinct."""
    hashes = arrays[name]
    _require(hashes.dtype == np.uint64 and hashes.ndim == 1, f"{name} is not a list of hashes")
    _require(bool((hashes[1:] > hashes[:-1]).all()), f"{name} is not sorted")
    return len(hashes)


def _choice(state: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    value = state.get(name)
    _require(
        isinstance(value, str) and value in allowed, f"{name} is not one of {', '.join(allowed)}"
    )
    return str(value)


def _integer(state: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = state.get(name)
    _require(type(value) is int and low <= value <= high, f"{name} is not from {low} to {high}")
    return int(value)  # type: ignore[arg-type]  # just checked


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise DamagedError(f"the text input's state is invalid: {problem}.")
