"""A stored state of the text input is believed in nothing: whatever an array is indexed by or
multiplied with is checked before a text is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from skipstone.errors import DamagedError
from skipstone.inputs.subwords import count_parts
from skipstone.inputs.text_features import FEATURE_KINDS, FIRST
from skipstone.inputs.text_options import Form, Split, Weighting

Array = np.ndarray

#: Runs of so many words or letters at most, as options allow.
_LONGEST = 12
_MOST_BITS = 26
_MOST_BLOCKS = 8


def check_state(state: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Raises:
    DamagedError: naming what cannot be.
    """
    form = _among(state, "form", get_args(Form))
    _need(type(state.get("lowercase")) is bool, "lowercase is neither true nor false")
    common = state.get("common", [])
    _need(
        isinstance(common, list) and all(isinstance(word, str) for word in common),
        "common is no list of words",
    )
    if form == "auto":
        return
    size = _whole(state, "size", 1, 1 << 40)
    if form == "tokens":
        _check_tokens(state, arrays, size)
    else:
        _check_bag(state, arrays, size)


def check_ids(largest: int, size: int) -> None:
    """DamagedError unless a tokeniser's ids fit `size`."""
    _need(largest + FIRST < size, f"its tokeniser has ids up to {largest:,}; size is {size:,}")


def _check_tokens(state: Mapping[str, Any], arrays: Mapping[str, Array], size: int) -> None:
    _among(state, "split", get_args(Split))
    _whole(state, "max_length", 1, 1 << 20)
    if "vocabulary" in arrays:
        count = _check_hashes(arrays, "vocabulary")
        parts = _check_subwords(state)
        _need(
            size == count + FIRST + parts,
            f"size is {size:,}, and the vocabulary has {count:,} tokens"
            f"{f' beside {parts:,} parts of words' if parts else ''}",
        )
    else:
        _need(not state.get("subwords"), "subwords have no words to be parts of")


def _check_subwords(state: Mapping[str, Any]) -> int:
    """How many ids the parts of words have."""
    parts = state.get("subwords")
    if parts is None:
        return 0
    _need(isinstance(parts, dict), "subwords is no range of lengths")
    shortest = _whole(parts, "shortest", 1, _LONGEST)
    _whole(parts, "longest", shortest, _LONGEST)
    _whole(parts, "bits", 1, _MOST_BITS)
    return count_parts(parts)


def _check_bag(state: Mapping[str, Any], arrays: Mapping[str, Array], size: int) -> None:
    _among(state, "weighting", get_args(Weighting))
    blocks = state.get("blocks")
    _need(
        isinstance(blocks, list)
        and len(blocks) <= _MOST_BLOCKS
        and all(isinstance(block, dict) for block in blocks),
        "blocks is no list of kinds of n-grams",
    )
    assert isinstance(blocks, list)
    start = 0
    for number, block in enumerate(blocks):
        start += _check_block(block, arrays, number, start)
    _need(size == start + 1, f"size is {size:,}, and its blocks have {start:,} n-grams")


def _check_block(
    block: Mapping[str, Any], arrays: Mapping[str, Array], number: int, start: int
) -> int:
    """How many n-grams it has."""
    _among(block, "kind", FEATURE_KINDS)
    shortest = _whole(block, "shortest", 1, _LONGEST)
    _whole(block, "longest", shortest, _LONGEST)
    bits = _whole(block, "bits", 0, _MOST_BITS)
    if bits:
        count = 1 << bits
    else:
        _need(f"vocabulary.{number}" in arrays, f"block {number} has no vocabulary")
        count = _check_hashes(arrays, f"vocabulary.{number}")
    size = _whole(block, "size", 0, 1 << 40)
    _need(size == count, f"block {number} has size {size:,}, and {count:,} n-grams")
    begins = _whole(block, "start", 0, 1 << 40)
    _need(begins == start, f"block {number} starts at {begins:,}, not at {start:,}")
    if f"idf.{number}" in arrays:
        weight = arrays[f"idf.{number}"]
        _need(
            weight.dtype == np.float32 and weight.shape == (count,),
            f"idf.{number} is no weight for each of {count:,} n-grams",
        )
        _need(
            bool(np.isfinite(weight).all()) and bool((weight >= 0).all()),
            f"idf.{number} has weights that are not finite, or below 0",
        )
    return count


def _check_hashes(arrays: Mapping[str, Array], name: str) -> int:
    """How many there are: sorted, each once, so that a search finds them."""
    found = arrays[name]
    _need(found.dtype == np.uint64 and found.ndim == 1, f"{name} is no list of hashes")
    _need(bool((found[1:] > found[:-1]).all()), f"{name} is not sorted")
    return len(found)


def _among(state: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    value = state.get(name)
    _need(isinstance(value, str) and value in allowed, f"{name} is none of {', '.join(allowed)}")
    return str(value)


def _whole(state: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = state.get(name)
    _need(type(value) is int and low <= value <= high, f"{name} is not from {low} to {high}")
    return int(value)  # type: ignore[arg-type]  # just checked


def _need(holds: bool, problem: str) -> None:
    if not holds:
        raise DamagedError(f"the text input's state cannot be: {problem}.")
