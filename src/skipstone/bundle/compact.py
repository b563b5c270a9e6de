"""Compact weights: codebooks and gaps instead of numbers, which decode to exactly the same tensors.

The weights file of a compact bundle holds two tensors of bytes:

    compact.table   deflated JSON: a row per tensor with its name, type, shape and stream sizes
    compact.data    the streams of all tensors, one after the other

    0 0 0 .5 0 -.2 .5    tensor
    3 1 0                gaps: zeros before each stored value; 255 is 255 zeros and no value
    .5 -.2 .5            stored values, or a codebook (-.2 .5) and an index for each (1 0 1)

These are the relative indices, codebooks and Huffman codes of Deep Compression (Han et al. 2016,
arXiv:1510.00149, sections 2 to 4). Each tensor takes the smallest form, so any tensors can be
stored. Gaps and packed indices are deflated with Huffman codes only: within 3 % of the entropy for
layers of 37,000 weights or more, 10 % for one of 2,300 (`tests/bundle/test_compact.py`).

Files may be forged. So every size in the table is checked against the bytes before anything is
allocated, and all tensors together have at most `MAX_EXPANSION` times the bytes of the data.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from skipstone.core.errors import DamagedError
from skipstone.core.strict_json import parse_json

TABLE, DATA = "compact.table", "compact.data"
#: Bytes of all decoded tensors per byte of data, beyond the first MiB.
MAX_EXPANSION, ALLOWED_BYTES = 256, 1 << 20
MAX_TABLE_BYTES = 16 << 20
MAX_CODEBOOK = 256
_ESCAPE = 255  # the gap of 255 zeros without a value
_MAX_DIMENSIONS = 16
_TYPES = {
    name: np.dtype(name).newbyteorder("<")
    for kind in ("int", "uint", "float")
    for name in (f"{kind}{bits}" for bits in (8, 16, 32, 64) if kind != "float" or bits > 8)
} | {"bool": np.dtype("bool")}


@dataclass(frozen=True)
class TensorRow:
    """How one tensor is stored.

    Args:
        stored: number of stored values; the others are zero.
        gaps: bytes of the gaps; 0: every value is stored.
        codebook: number of values in the codebook; 0: the values themselves are stored.
        packed: indices per byte before deflating, with a codebook.
        indices: bytes of the indices, with a codebook.
    """

    name: str
    type: str
    shape: list[int]
    stored: int
    gaps: int
    codebook: int
    packed: int
    indices: int

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)

    @property
    def value_bytes(self) -> int:
        """Bytes of the codebook, or of the stored values."""
        return (self.codebook or self.stored) * _TYPES[self.type].itemsize

    def is_valid(self) -> bool:
        """Whether the fields have their types, and the sizes agree with each other."""
        if not isinstance(self.name, str) or not isinstance(self.shape, list):
            return False
        sizes = (self.stored, self.gaps, self.codebook, self.packed, self.indices, *self.shape)
        if not isinstance(self.type, str) or self.type not in _TYPES:
            return False
        if any(type(size) is not int or size < 0 for size in sizes):
            return False
        if len(self.shape) > _MAX_DIMENSIONS or self.stored > self.numbers:
            return False
        if not self.gaps and self.stored != self.numbers:
            return False
        if not self.codebook:
            return self.packed == self.indices == 0
        return self.codebook <= MAX_CODEBOOK and self.packed in _packings(self.codebook)


# --- writing ------------------------------------------------------------------------------------


def encode_tensors(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The two tensors of a compact weights file; the same tensors give the same bytes.

    Where that saves nothing, or saves more than `MAX_EXPANSION` allows, they are the tensors
    themselves.
    """
    rows, streams = [], []
    for name in sorted(tensors):
        row, parts = _encode_tensor(name, np.asarray(tensors[name]))
        rows.append(asdict(row))
        streams.extend(parts)
    table = zlib.compress(json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode(), 9)
    data = b"".join(streams)
    plain = sum(np.asarray(tensor).nbytes for tensor in tensors.values())
    if not len(table) + len(data) < plain <= _max_decoded_bytes(len(data)):
        return dict(tensors)
    return {name: np.frombuffer(part, np.uint8) for name, part in ((TABLE, table), (DATA, data))}


def _max_decoded_bytes(data_bytes: int) -> int:
    return MAX_EXPANSION * data_bytes + ALLOWED_BYTES


def _encode_tensor(name: str, tensor: np.ndarray) -> tuple[TensorRow, list[bytes]]:
    """The smallest form of a tensor: its row and its streams."""
    kind = tensor.dtype.name
    values = np.ascontiguousarray(tensor, dtype=_TYPES[kind]).reshape(-1)
    bits = values.view(f"<u{values.dtype.itemsize}")  # so that -0.0 and NaN are kept exactly
    forms = [(bits, b"")]
    (places,) = np.nonzero(bits)
    if len(places) < len(bits):
        forms.append((bits[places], _deflate(_find_gaps(places))))
    best: tuple[TensorRow, list[bytes]] | None = None
    for stored, gaps in forms:
        shape, count = list(tensor.shape), len(stored)
        plain = TensorRow(name, kind, shape, count, len(gaps), 0, 0, 0)
        choices = [(plain, [gaps, stored.tobytes()])]
        codebook = _find_codebook(stored)
        if codebook is not None:
            packed, indices = _deflate_indices(np.searchsorted(codebook, stored), len(codebook))
            row = TensorRow(
                name, kind, shape, count, len(gaps), len(codebook), packed, len(indices)
            )
            choices.append((row, [gaps, codebook.tobytes(), indices]))
        for choice in choices:
            if best is None or _count_bytes(choice) < _count_bytes(best):
                best = choice
    assert best is not None
    return best


def _count_bytes(form: tuple[TensorRow, list[bytes]]) -> int:
    return sum(map(len, form[1]))


def _find_codebook(stored: np.ndarray) -> np.ndarray | None:
    """The distinct values, ascending; None if there are none, or more than a codebook holds."""
    if not len(stored) or len(np.unique(stored[:4096])) > MAX_CODEBOOK:
        return None  # the first values are enough for most tensors, and quick
    distinct = np.unique(stored)
    return distinct if len(distinct) <= MAX_CODEBOOK else None


def _find_gaps(places: np.ndarray) -> np.ndarray:
    """uint8 gaps before the values at ascending places."""
    zeros = np.diff(places, prepend=-1) - 1
    escapes = zeros // _ESCAPE
    gaps = np.full(len(places) + int(escapes.sum()), _ESCAPE, np.uint8)
    gaps[np.cumsum(escapes + 1) - 1] = zeros % _ESCAPE
    return gaps


def _packings(codebook: int) -> list[int]:
    """How many indices of a codebook may share a byte."""
    return [count for count in (1, 2, 4, 8) if codebook <= 1 << 8 // count]


def _deflate_indices(indices: np.ndarray, codebook: int) -> tuple[int, bytes]:
    """The packing that gives the fewest bytes, and those bytes. Several indices in a byte get one
    Huffman code together, which wastes less than one code each."""
    streams = {}
    for packed in _packings(codebook):
        padded = np.zeros(-(-len(indices) // packed) * packed, np.uint8)
        padded[: len(indices)] = indices
        shifts = (np.arange(packed) * (8 // packed)).astype(np.uint8)
        streams[packed] = _deflate(
            np.bitwise_or.reduce(padded.reshape(-1, packed) << shifts, axis=1)
        )
    packed = min(streams, key=lambda count: len(streams[count]))
    return packed, streams[packed]


def _deflate(symbols: np.ndarray) -> bytes:
    """Raw deflate with Huffman codes only: matches would cost more than they save here."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    return deflater.compress(symbols.astype(np.uint8).tobytes()) + deflater.flush()


# --- reading ------------------------------------------------------------------------------------


def is_compact(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether these are the arrays of a compact weights file."""
    return TABLE in arrays or DATA in arrays


def decode_tensors(arrays: Mapping[str, np.ndarray], where: object) -> dict[str, np.ndarray]:
    """The tensors of a compact weights file.

    Raises:
        DamagedError: naming `where`: the table is invalid, its sizes do not agree with the bytes,
            or a stream does not hold what the table states.
    """
    if arrays.keys() != {TABLE, DATA} or any(
        array.dtype != np.uint8 or array.ndim != 1 for array in arrays.values()
    ):
        raise DamagedError(f"{where} is not a valid compact weights file.")
    rows, data = list(_parse_table(arrays[TABLE], where)), arrays[DATA].tobytes()
    decoded = sum(row.numbers * _TYPES[row.type].itemsize for row in rows)
    stored = sum(row.gaps + row.value_bytes + row.indices for row in rows)
    if stored != len(data) or decoded > _max_decoded_bytes(len(data)):
        raise DamagedError(
            f"{where} states {decoded:,} bytes of tensors in {stored:,} bytes, and holds "
            f"{len(data):,}; at most {_max_decoded_bytes(len(data)):,} can be stored so."
        )
    tensors, start = {}, 0
    for row in rows:
        end = start + row.gaps + row.value_bytes + row.indices
        try:
            tensors[row.name] = _decode_tensor(row, data[start:end])
        except (ValueError, zlib.error) as error:
            raise DamagedError(f"{where}: {row.name!r:.200} is damaged ({error}).") from None
        start = end
    if len(tensors) != len(rows):
        raise DamagedError(f"{where} names a tensor twice.")
    return tensors


def _parse_table(table: np.ndarray, where: object) -> Iterator[TensorRow]:
    try:
        text = _inflate(table.tobytes(), MAX_TABLE_BYTES, window=15)
    except (ValueError, zlib.error) as error:
        raise DamagedError(f"{where} has an invalid table of tensors ({error}).") from None
    names = {field.name for field in fields(TensorRow)}
    rows: Any = parse_json(text, f"the table of tensors in {where}")
    for row in rows if isinstance(rows, list) else [None]:
        if not isinstance(row, dict) or row.keys() != names:
            raise DamagedError(f"{where} has an invalid table of tensors.")
        made = TensorRow(**row)
        if not made.is_valid():
            raise DamagedError(f"{where} states invalid sizes of {made.name!r:.200}.")
        yield made


def _decode_tensor(row: TensorRow, data: bytes) -> np.ndarray:
    """ValueError or zlib.error if the streams are not what the row states."""
    kind = _TYPES[row.type]
    values = np.frombuffer(data, kind, count=row.codebook or row.stored, offset=row.gaps)
    if kind == np.bool_ and (values.view(np.uint8) > 1).any():
        raise ValueError("a truth value is neither 0 nor 1")
    if row.codebook:
        indices = _inflate_indices(row, data[row.gaps + row.value_bytes :])
        values = values[indices]
    if row.gaps:
        places = _inflate_places(row, data[: row.gaps])
        tensor = np.zeros(row.numbers, kind)
        tensor[places] = values
        values = tensor
    return values.astype(kind.newbyteorder("="), copy=True).reshape(row.shape)


def _inflate_indices(row: TensorRow, stream: bytes) -> np.ndarray:
    size, width = -(-row.stored // row.packed), 8 // row.packed
    packed = np.frombuffer(_inflate(stream, size), np.uint8)
    if len(packed) != size:
        raise ValueError(f"{len(packed)} bytes of indices instead of {size}")
    shifts = (np.arange(row.packed) * width).astype(np.uint8)
    indices: np.ndarray = ((packed[:, None] >> shifts) & ((1 << width) - 1)).reshape(-1)
    if len(indices) and indices.max() >= row.codebook:
        raise ValueError(f"an index is beyond the codebook of {row.codebook}")
    return indices[: row.stored]


def _inflate_places(row: TensorRow, stream: bytes) -> np.ndarray:
    """Ascending places of the stored values."""
    gaps = np.frombuffer(_inflate(stream, row.stored + row.numbers // _ESCAPE), np.uint8)
    is_value = gaps != _ESCAPE
    places: np.ndarray = (np.cumsum(gaps + is_value.astype(np.int64)) - 1)[is_value]
    if len(places) != row.stored or (len(places) and places[-1] >= row.numbers):
        raise ValueError(f"{len(places)} values at places up to {places[-1:]}")
    return places


def _inflate(stream: bytes, most: int, window: int = -15) -> bytes:
    """At most `most` bytes of a deflated stream, which must end with its last byte."""
    inflater = zlib.decompressobj(window)
    data = inflater.decompress(stream, most + 1)
    if not inflater.eof or inflater.unused_data or len(data) > most:
        raise ValueError("a stream has another length than stated")
    return data
