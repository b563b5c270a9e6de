"""Compact weights: the same tensors come back, few bytes, and forged files are refused."""

from __future__ import annotations

import dataclasses
import json
import resource
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import entropy

from skipstone.bundle.compact import DATA, TABLE, decode_tensors, encode_tensors, is_compact
from skipstone.bundle.format import WEIGHTS_FILE, Bundle
from skipstone.core import storage
from skipstone.core.errors import DamagedError
from tests.small_bundles import replace_file, small_bundle

Arrays = dict[str, np.ndarray]
TYPES = ("float32", "float16", "float64", "int64", "int8", "uint8", "bool")


def shared_weights(shape: tuple[int, ...], bits: int, density: float = 1.0) -> np.ndarray:
    """Normal weights rounded to 2^bits values, a share of them zero."""
    rng = np.random.default_rng(bits)
    codebook = np.linspace(-3, 3, 1 << bits, dtype=np.float32) + np.float32(0.01)
    steps = np.clip((rng.normal(size=shape) + 3) / 6 * len(codebook), 0, len(codebook) - 1)
    return np.where(rng.random(shape) < density, codebook[steps.astype(int)], np.float32(0))


def entropy_bytes(values: np.ndarray) -> float:
    counts = np.unique(values, return_counts=True)[1]
    return float(entropy(counts, base=2) * values.size / 8)


def assert_same(before: Arrays, after: Arrays) -> None:
    assert before.keys() == after.keys()
    for name, array in before.items():
        assert after[name].dtype == array.dtype
        assert after[name].shape == array.shape
        assert after[name].tobytes() == array.tobytes()  # also -0.0 and NaN


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text("abc.0", min_size=1),
        st.sampled_from(TYPES).flatmap(
            lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=2, max_side=9))
        ),
        max_size=3,
    )
)
def test_any_tensors_come_back_bit_by_bit(tensors: Arrays) -> None:
    filler = {"zeros": np.zeros(4000, np.float32)}  # so that the compact form is the smaller one
    encoded = encode_tensors({**tensors, **filler})
    assert is_compact(encoded)
    assert_same({**tensors, **filler}, decode_tensors(encoded, "it"))


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("density", [0.02, 0.2, 1.0])
def test_shared_and_sparse_weights_come_back(bits: int, density: float) -> None:
    tensors = {"a": shared_weights((40, 30, 3), bits, density), "b": np.array(7)}
    assert_same(tensors, decode_tensors(encode_tensors(tensors), "it"))


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
def test_indices_take_five_percent_more_than_their_entropy_at_most(bits: int) -> None:
    weights = shared_weights((64, 64, 3, 3), bits)
    size = len(encode_tensors({"w": weights})[DATA]) - 4 * (1 << bits)
    assert 1 <= size / entropy_bytes(weights) <= 1.05


@pytest.mark.parametrize("density", [0.1, 0.2, 0.5])
def test_gaps_take_five_percent_more_than_the_entropy_of_zeros_at_most(density: float) -> None:
    weights = shared_weights((64, 64, 3, 3), 4, density)
    size = len(encode_tensors({"w": weights})[DATA]) - 4 * 16
    expected = entropy_bytes(weights != 0) + entropy_bytes(weights[weights != 0])
    assert 1 <= size / expected <= 1.05


def test_float_weights_stay_plain() -> None:
    tensors = {"w": np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)}
    assert encode_tensors(tensors).keys() == tensors.keys()


def test_what_expands_too_much_stays_plain() -> None:
    tensors = {"w": np.zeros((1000, 1000), np.float32)}
    assert encode_tensors(tensors).keys() == tensors.keys()


# --- in a bundle --------------------------------------------------------------------------------


@pytest.fixture
def compact(tmp_path: Path) -> Path:
    bundle = small_bundle()
    tensors = {
        name: np.sign(value) * np.float32(0.1) if value.ndim == 4 else value
        for name, value in bundle.tensors.items()
    }
    return dataclasses.replace(bundle, tensors=tensors, compact=True).save(tmp_path / "bundle")


def test_a_compact_bundle_is_smaller_and_comes_back(compact: Path, tmp_path: Path) -> None:
    read = Bundle.load(compact)
    assert read.compact
    plain = dataclasses.replace(read, compact=False).save(tmp_path / "plain")
    assert_same(dict(read.tensors), dict(Bundle.load(plain).tensors))
    sizes = [(folder / WEIGHTS_FILE).stat().st_size for folder in (compact, plain)]
    assert sizes[0] < 0.5 * sizes[1]
    again = read.save(tmp_path / "again")
    assert (again / WEIGHTS_FILE).read_bytes() == (compact / WEIGHTS_FILE).read_bytes()


# --- forged -------------------------------------------------------------------------------------


def forge(folder: Path, change: Any) -> None:
    """The bundle with another table or other data, and hashes that fit."""
    from safetensors.numpy import load

    arrays = load((folder / WEIGHTS_FILE).read_bytes())
    table = json.loads(zlib.decompress(arrays[TABLE].tobytes()))
    data = bytearray(arrays[DATA].tobytes())
    table = change(table, data) or table
    text = table if isinstance(table, bytes) else zlib.compress(json.dumps(table).encode())
    made = {TABLE: np.frombuffer(text, np.uint8), DATA: np.frombuffer(bytes(data), np.uint8)}
    storage.write_tensors(folder.parent / "forged", made)
    replace_file(folder, WEIGHTS_FILE, (folder.parent / "forged").read_bytes())


def set_field(name: str, value: Any) -> Any:
    """The first row with a codebook, with another value of a field."""

    def change(table: list[dict[str, Any]], data: bytearray) -> None:
        next(row for row in table if row["codebook"])[name] = value

    return change


def lengthen_shape(table: list[dict[str, Any]], data: bytearray) -> None:
    row = next(row for row in table if row["codebook"] and not row["gaps"])
    row["shape"], row["stored"] = [1 << 40], 1 << 40


def add_zeros(table: list[dict[str, Any]], data: bytearray) -> None:
    """2^40 zeros for one byte of gaps."""
    row = {**table[0], "name": "x", "shape": [1 << 40], "gaps": 1, "stored": 0}
    table.append({**row, "codebook": 0, "packed": 0, "indices": 0})
    data += b"\0"


def break_indices(table: list[dict[str, Any]], data: bytearray) -> None:
    start = 0
    for row in table:
        values = (row["codebook"] or row["stored"]) * (8 if row["type"] == "int64" else 4)
        end = start + row["gaps"] + values + row["indices"]
        if row["codebook"]:
            data[end - row["indices"] : end] = bytes(row["indices"])
            return
        start = end
    raise AssertionError("no tensor has a codebook")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_field("stored", -1), "invalid sizes"),
        (set_field("stored", True), "invalid sizes"),
        (set_field("shape", [1 << 62, 1 << 62]), "invalid sizes"),
        (set_field("shape", [2.5]), "invalid sizes"),
        (set_field("shape", 7), "invalid"),
        (set_field("type", "object"), "invalid sizes"),
        (set_field("packed", 3), "invalid sizes"),
        (set_field("codebook", 257), "invalid sizes"),
        (set_field("codebook", 1 << 40), "invalid sizes"),
        (set_field("indices", 1 << 40), "bytes of tensors in"),
        (set_field("name", 3), "invalid sizes"),
        (set_field("more", 3), "invalid table"),
        (lengthen_shape, "bytes of tensors in"),
        (add_zeros, "bytes of tensors in"),
        (break_indices, "is damaged"),
        (lambda table, data: data.append(0), "bytes of tensors in"),
        (lambda table, data: table.append(table[-1]), "bytes of tensors in"),
        (lambda table, data: zlib.compress(bytes(1 << 25)), "another length"),
        (lambda table, data: zlib.compress(b"[1]"), "invalid table"),
        (lambda table, data: zlib.compress(b"{}"), "invalid table"),
        (lambda table, data: b"\x80\x04pickle", "invalid table"),
    ],
)
def test_a_forged_file_is_refused(compact: Path, change: Any, message: str) -> None:
    forge(compact, change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DamagedError, match=message):
        Bundle.load(compact)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_every_changed_byte_of_a_stream_is_refused_or_gives_tensors(compact: Path) -> None:
    """The hashes fit; nothing but DamagedError may come of it."""
    from safetensors.numpy import load

    arrays = load((compact / WEIGHTS_FILE).read_bytes())
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        changed = {name: array.copy() for name, array in arrays.items()}
        array = changed[TABLE if rng.random() < 0.2 else DATA]
        array[rng.integers(len(array))] ^= np.uint8(1 << rng.integers(8))
        try:
            decode_tensors(changed, "it")
        except DamagedError:
            refused += 1
    assert refused > 30
