"""fastText's own files (.bin): a dictionary, and the vectors of words and of their parts.

The form is that of fastText's sources (args.cc, dictionary.cc, densematrix.cc), little-endian:

    int32 magic 793712314, int32 version 11 or 12
    12 int32: dim ws epoch minCount neg wordNgrams loss model bucket minn maxn lrUpdateRate
    float64 t
    int32 size, words, labels; int64 tokens, int64 pruned
    size times: the word, a zero byte, int64 count, int8 type (0 word, 1 label)
    bool quantized
    int64 rows (words + bucket), int64 dim, float32 rows x dim      the input matrix
    bool, and the output matrix

A word's vector is the mean of its own row and those of its parts: runs of minn to maxn letters of
`<word>`, each hashed (FNV-1a, its bytes signed) into `bucket` rows (Bojanowski et al. 2017,
arXiv:1607.04606, section 3.2). So a word that the dictionary lacks has one, too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import numpy as np

from skipstone.errors import DataError
from skipstone.inputs.vector_stream import VectorStream
from skipstone.inputs.wanted_words import BY_PARTS, WantedWords

FASTTEXT_MAGIC = struct.pack("<i", 793712314)
_ARGS = struct.Struct("<ii12id")
_COUNTS = struct.Struct("<iiiqq")
_ENTRY = struct.Struct("<qb")
_SHAPE = struct.Struct("<?qq")
_SUPERVISED = 3  # of `model`
_LONGEST_WORD = 1 << 16
_BLOCK = 1 << 22  # bytes of the matrix at a time


def fasttext_dimension(stream: VectorStream) -> int:
    """Numbers of a vector, by the first bytes. DataError where no version has such."""
    head = stream.peek(_ARGS.size)
    if len(head) < _ARGS.size:
        raise DataError(f"{stream.path} is cut off within its first {_ARGS.size} bytes.")
    _, version, dimension = struct.unpack_from("<iii", head)
    if version not in (11, 12):
        raise DataError(f"{stream.path} is of fastText's version {version}; 11 and 12 are read.")
    if not 1 <= dimension <= 10_000:
        raise DataError(
            f"{stream.path} says that a vector has {dimension:,} numbers; allowed: 1 to 10,000."
        )
    return int(dimension)


def read_fasttext(stream: VectorStream, words: WantedWords, vectors: np.ndarray) -> tuple[int, int]:
    """Fill `vectors` for `words`; (words of the dictionary, words that are cut: none here).

    Raises:
        DataError: the file is quantized, cut off, or its numbers do not go together.
    """
    fields = _unpacked(stream, _ARGS, "its options")
    version, model, bucket, shortest, longest = (fields[at] for at in (1, 9, 10, 11, 12))
    if version == 11 and model == _SUPERVISED:
        longest = 0  # models of that version have no parts, whatever they say
    size, count, labels, _, pruned = _unpacked(stream, _COUNTS, "its dictionary")
    left = stream.left
    if not (0 < count <= size == count + labels) or bucket < 0 or not 0 <= longest <= 1000:
        raise DataError(
            f"{stream.path}: {count:,} words and {labels:,} labels make no dictionary of {size:,} "
            f"with {bucket:,} rows of parts."
        )
    if left is not None and left < 10 * size:
        raise DataError(
            f"{stream.path} is cut off, or its header is wrong: a dictionary of {size:,} needs "
            f"{10 * size:,} bytes, and {left:,} are left."
        )
    parts = _Parts(count, bucket if pruned != 0 else 0, shortest, longest)
    rows = _dictionary(stream, words, size, count, parts)
    quantized, height, width = _unpacked(stream, _SHAPE, "its matrix")
    if quantized or pruned > 0:
        raise DataError(
            f"{stream.path} is quantized (.ftz): its vectors are approximations by a codebook.",
            hint="Give the .bin that it was made of, or a .vec.",
        )
    if height != count + bucket or width != vectors.shape[1]:
        raise DataError(
            f"{stream.path}: the matrix is {height:,} x {width:,}; {count:,} words and {bucket:,} "
            f"rows of parts, of {vectors.shape[1]:,} numbers, need another."
        )
    for place in words.missing():
        if found := parts.of(words.words[place]):
            rows[place] = found
            words.how[place] = BY_PARTS
    _add_rows(stream, height, rows, vectors)
    return count, 0


def _dictionary(
    stream: VectorStream, words: WantedWords, size: int, count: int, parts: _Parts
) -> dict[int, list[int]]:
    """{place of a wanted word: rows of the matrix whose mean is its vector}."""
    rows: dict[int, list[int]] = {}
    for number in range(size):
        where = f"{stream.path}, word {number + 1:,} of {size:,}"
        word = stream.until(b"\0", _LONGEST_WORD)
        entry = stream.take(_ENTRY.size)
        if word is None or len(entry) < _ENTRY.size:
            raise DataError(f"{where}: the dictionary is cut off.")
        kind = _ENTRY.unpack(entry)[1]
        if kind != int(number >= count):
            raise DataError(f"{where} is of the kind {kind}; words come first, then labels.")
        if kind:
            continue
        try:
            text = word.decode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{where}: byte {error.start + 1} is 0x{word[error.start]:02x}, which is no UTF-8."
            ) from None
        for place in words.take(text):
            rows[place] = [number, *parts.of(text)]
    return rows


class _Parts:
    """Rows of the matrix that stand for the parts of words."""

    def __init__(self, words: int, bucket: int, shortest: int, longest: int) -> None:
        self.first, self.bucket = words, bucket
        self.shortest, self.longest = shortest, longest

    def of(self, word: str) -> list[int]:
        """Dictionary::computeSubwords of `<word>`."""
        if not self.bucket or self.longest < 1:
            return []
        letters = [letter.encode() for letter in f"<{word}>"]
        rows = []
        for begin in range(len(letters)):
            value = 2166136261
            for end in range(begin, min(begin + self.longest, len(letters))):
                value = _hashed(value, letters[end])
                length = end - begin + 1
                lone = length == 1 and (begin == 0 or end == len(letters) - 1)
                if length >= self.shortest and not lone:
                    rows.append(self.first + value % self.bucket)
        return rows


def _hashed(value: int, letter: Iterable[int]) -> int:
    """FNV-1a, 32 bits; a byte above 127 is negative and reaches all of them."""
    for byte in letter:
        value ^= byte if byte < 128 else byte | 0xFFFFFF00
        value = value * 16777619 & 0xFFFFFFFF
    return value


def _add_rows(
    stream: VectorStream, height: int, rows: dict[int, list[int]], vectors: np.ndarray
) -> None:
    """vectors[place] = mean of the matrix's `rows[place]`, while the matrix goes by."""
    from scipy.sparse import csr_array

    width = vectors.shape[1]
    left = stream.left
    if left is not None and left < 4 * width * height:
        raise DataError(
            f"{stream.path} is cut off: its matrix needs {4 * width * height:,} bytes, and "
            f"{left:,} are left."
        )
    place = np.repeat(np.array(list(rows), np.int64), [len(found) for found in rows.values()])
    row = np.array([at for found in rows.values() for at in found], np.int64)
    share = np.repeat([1 / len(found) for found in rows.values()], [len(f) for f in rows.values()])
    order = np.argsort(row, kind="stable")
    place, row, share = place[order], row[order], share[order].astype(np.float32)
    step = max(1, _BLOCK // (4 * width))
    for begin in range(0, height, step):
        end = min(begin + step, height)
        data = stream.take(4 * width * (end - begin))
        if len(data) < 4 * width * (end - begin):
            raise DataError(
                f"{stream.path} is cut off: row {begin + len(data) // (4 * width) + 1:,} of "
                f"{height:,} of its matrix is not there."
            )
        low, high = np.searchsorted(row, [begin, end])
        if low == high:
            continue
        block = np.frombuffer(data, "<f4").reshape(end - begin, width)
        used = np.unique(row[low:high])
        wrong = used[~np.isfinite(block[used - begin]).all(axis=1)]
        if len(wrong):
            raise DataError(f"{stream.path}: row {wrong[0] + 1:,} of its matrix is not finite.")
        places, back = np.unique(place[low:high], return_inverse=True)
        shares = csr_array(
            (share[low:high], (back, row[low:high] - begin)), (len(places), end - begin)
        )
        vectors[places] += shares @ block


def _unpacked(stream: VectorStream, form: struct.Struct, what: str) -> tuple[int, ...]:
    data = stream.take(form.size)
    if len(data) < form.size:
        raise DataError(f"{stream.path} is cut off where {what} should be.")
    return form.unpack(data)
