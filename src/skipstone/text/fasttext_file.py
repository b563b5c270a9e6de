"""fastText's .bin files: a dictionary, and the vectors of words and of their character n-grams.

Layout (fastText's args.cc, dictionary.cc, densematrix.cc; little-endian):

    int32 magic, version (11 or 12), dim ws epoch minCount neg wordNgrams loss model bucket minn
    maxn lrUpdateRate; float64 t; int32 size, words, labels; int64 tokens, pruned
    size times: the word, a zero byte, int64 count, int8 type; words first, then labels
    bool quantized; int64 rows (words + bucket), dim; float32 rows x dim; the output matrix, which
    is not read

A word's vector is the mean of its row and the rows of its n-grams: minn to maxn letters of
`<word>`, hashed into `bucket` rows (Bojanowski et al. 2017, arXiv:1607.04606, section 3.2). A word
that the dictionary does not have gets the mean of its n-grams.
"""

from __future__ import annotations

import struct

import numpy as np

from skipstone.core.errors import DataError
from skipstone.text.vector_filter import BY_SUBWORDS, VectorFilter
from skipstone.text.vector_stream import VectorStream

FASTTEXT_MAGIC = struct.pack("<i", 793712314)
_SUPERVISED = 3  # of `model`
_BLOCK = 1 << 22  # bytes of the matrix in memory


def fasttext_dimension(stream: VectorStream) -> int:
    """Numbers per vector, from the header. DataError for an unknown version."""
    head = stream.peek_bytes(12)
    _, version, dimension = struct.unpack("<iii", head) if len(head) == 12 else (0, 0, 0)
    if version not in (11, 12) or not 1 <= dimension <= 10_000:
        raise DataError(
            f"{stream.path} has fastText version {version} and vectors of {dimension:,} numbers; "
            "allowed: versions 11 and 12, 1 to 10,000 numbers."
        )
    return int(dimension)


def read_fasttext(
    stream: VectorStream, words: VectorFilter, vectors: np.ndarray
) -> tuple[int, int]:
    """Fill `vectors` for `words`. Returns (words of the dictionary, 0 words that are cut).

    Raises:
        DataError: the file is quantized, damaged or cut off.
    """
    args = _unpack(stream, "<ii12id")
    version, model, bucket, shortest, longest = (args[at] for at in (1, 9, 10, 11, 12))
    size, count, _, _, pruned = _unpack(stream, "<iiiqq")
    if (version == 11 and model == _SUPERVISED) or pruned == 0:
        longest = 0  # no n-grams
    rows: dict[int, list[int]] = {}  # place of a wanted word -> rows of the matrix
    for number in range(size):
        word = stream.read_until(b"\0", 1 << 16)
        _unpack(stream, "<qb")
        if word is None:
            raise _damaged(stream, f"word {number + 1:,} of {size:,} has no end")
        if number < count:
            text = word.decode(errors="replace")
            for place in words.match_word(text):
                rows[place] = [number, *_ngram_rows(text, count, bucket, shortest, longest)]
    quantized, height, width = _unpack(stream, "<?qq")
    if quantized or pruned > 0:
        raise DataError(
            f"{stream.path} is quantized (.ftz), which is not supported.",
            hint="Give the .bin that it was made of, or a .vec.",
        )
    if (height, width) != (count + bucket, vectors.shape[1]):
        raise _damaged(stream, f"{count:,} words cannot have a {height:,} x {width:,} matrix")
    for place in words.list_missing():
        if ngrams := _ngram_rows(words.words[place], count, bucket, shortest, longest):
            rows[place] = ngrams
            words.match_kinds[place] = BY_SUBWORDS
    _add_rows(stream, height, rows, vectors)
    return count, 0


def _ngram_rows(word: str, first: int, bucket: int, shortest: int, longest: int) -> list[int]:
    """Dictionary::computeSubwords: FNV-1a (32 bits) of signed bytes."""
    letters = [letter.encode() for letter in f"<{word}>"]
    rows = []
    for begin in range(len(letters) if bucket > 0 else 0):
        value = 2166136261
        for end in range(begin + 1, min(begin + longest, len(letters)) + 1):
            for byte in letters[end - 1]:
                value ^= byte if byte < 128 else byte | 0xFFFFFF00
                value = value * 16777619 & 0xFFFFFFFF
            is_bracket = end - begin == 1 and (begin == 0 or end == len(letters))
            if end - begin >= shortest and not is_bracket:
                rows.append(first + value % bucket)
    return rows


def _add_rows(
    stream: VectorStream, height: int, rows: dict[int, list[int]], vectors: np.ndarray
) -> None:
    """vectors[place] = mean of the matrix's `rows[place]`, block by block of the matrix."""
    width = vectors.shape[1]
    uses = sorted((row, place) for place, several in rows.items() for row in several)
    row, place = np.array(uses, np.int64).reshape(-1, 2).T
    step = max(1, _BLOCK // (4 * width))
    for begin in range(0, height, step):
        count = min(step, height - begin)
        data = stream.read_bytes(4 * width * count)
        if len(data) < 4 * width * count:
            raise _damaged(stream, "it is cut off in its matrix")
        low, high = np.searchsorted(row, [begin, begin + count])
        block = np.frombuffer(data, "<f4").reshape(count, width)
        np.add.at(vectors, place[low:high], block[row[low:high] - begin])
    for index, several in rows.items():
        vectors[index] /= len(several)
    if not np.isfinite(vectors).all():
        raise _damaged(stream, "its matrix has numbers that are not finite")


def _unpack(stream: VectorStream, form: str) -> tuple[int, ...]:
    data = stream.read_bytes(struct.calcsize(form))
    if len(data) < struct.calcsize(form):
        raise _damaged(stream, "it is cut off")
    return struct.unpack(form, data)


def _damaged(stream: VectorStream, reason: str) -> DataError:
    return DataError(f"{stream.path} is not a complete fastText .bin file: {reason}.")
