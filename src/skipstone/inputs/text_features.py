"""From a text to numbers: tokens and n-grams as 64-bit hashes, then places in a vocabulary.

Needs numpy and the standard library only: the same functions fit a vocabulary on a whole corpus,
encode one text for an answer, and run in the exported script. Nothing here loops over letters.

A hash of code points c_s..c_(e-1) is the polynomial sum of v(c_j) B^(j-s) mod 2^64 (Karp and Rabin
1987), finished by splitmix64 (Steele et al. 2014). Prefix sums give that of every segment at once.
Among a million n-grams two share a hash with a chance of about 3 in 100 million.
"""

from __future__ import annotations

import base64
import functools
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PAD, UNKNOWN, FIRST = 0, 1, 2  # ids of a sequence: padding, a token never seen, the vocabulary's

_BASE = 0x9E3779B97F4A7C15 | 1
_INVERSE = pow(_BASE, -1, 1 << 64)
_NEXT = np.uint64(0xD6E8FEB86659FD93)
_BEGIN, _END = np.uint64(1), np.uint64(2)  # a text's beginning and end among its tokens
_APART, _WITHIN, _ALONE, _UNSEEN = 0, 1, 2, 255
#: Written without spaces between words: Thai, Lao, Myanmar, Khmer, kana, Han. Each letter is a
#: token of its own, and n-grams make the words.
_SPACELESS = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)
_JOINERS = (0x200C, 0x200D)  # inside Persian and Indic words


@dataclass(frozen=True)
class Letters:
    """Texts as one row of code points.

    Args:
        points: uint32 (L,); each text ends with a line feed.
        kinds: uint8 (L,): between tokens, part of a word, or a token alone.
        text: int32 (L,), the number of the text.
        count: of texts.
    """

    points: np.ndarray
    kinds: np.ndarray
    text: np.ndarray
    count: int


@dataclass(frozen=True)
class Grams:
    """Hashes (G,) and the text that each is from, in order; `first` and `last` say which letters
    of `Letters` it spans."""

    hashes: np.ndarray
    text: np.ndarray
    first: np.ndarray
    last: np.ndarray


def plain(text: str, lowercase: bool) -> str:
    """One Unicode form (NFC), and lower case where asked for."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return text.lower() if lowercase else text


def letters_of(texts: Sequence[str]) -> Letters:
    """Texts (already `plain`) as code points with their kinds."""
    joined = "\n".join(texts) + "\n"
    points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4")
    lengths = np.fromiter((len(text) + 1 for text in texts), np.int64, len(texts))
    owner = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
    return Letters(points, _kinds(points), owner, len(texts))


def token_grams(letters: Letters, *, split: str = "word") -> Grams:
    """Every token: words and lone signs, or ("char") every letter that is no space."""
    first, last = token_spans(letters, split=split)
    return Grams(_segments(letters.points, first, last), letters.text[first], first, last)


def token_spans(letters: Letters, *, split: str = "word") -> tuple[np.ndarray, np.ndarray]:
    """Where each token begins, and the letter after its last."""
    kinds = letters.kinds
    alone = kinds == _ALONE if split == "word" else kinds != _APART
    inside = (kinds == _WITHIN) & ~alone
    before = np.concatenate([[False], inside[:-1]])
    after = np.concatenate([inside[1:], [False]])
    first = np.flatnonzero(alone | (inside & ~before))
    last = np.flatnonzero(alone | (inside & ~after)) + 1
    return first, last


def word_ngrams(tokens: Grams, longest: int) -> list[Grams]:
    """Runs of 1 to `longest` tokens of one text, one entry a length."""
    found = [tokens]
    current = tokens
    for length in range(2, longest + 1):
        count = len(tokens.hashes) - length + 1
        if count <= 0:
            break
        longer = _finish(current.hashes[:count] * _NEXT + tokens.hashes[length - 1 :])
        keep = tokens.text[:count] == tokens.text[length - 1 :]
        whole = Grams(longer, tokens.text[:count], tokens.first[:count], tokens.last[length - 1 :])
        found.append(_kept(whole, keep))
        current = whole
    return found


def skip_grams(tokens: Grams, count: int, longest: int) -> list[Grams]:
    """Pairs of tokens of one text with 1 to `longest` others between them, one entry a gap.

    Which gap it is makes no difference to a pair (Guthrie et al. 2006, "A Closer Look at Skip-gram
    Modelling"). A text's beginning and end count as tokens, so the second word is told from others.

    Args:
        count: of texts.
    """
    sizes = np.bincount(tokens.text, minlength=count) + 2
    begins = np.cumsum(sizes) - sizes
    place = np.arange(len(tokens.text)) + 2 * tokens.text + 1
    hashes = np.empty(int(sizes.sum()), np.uint64)
    hashes[begins], hashes[begins + sizes - 1], hashes[place] = _BEGIN, _END, tokens.hashes
    text = np.repeat(np.arange(count, dtype=tokens.text.dtype), sizes)
    first, last = np.zeros((2, len(hashes)), np.int64)
    first[place], last[place] = tokens.first, tokens.last
    first[begins], last[begins + sizes - 1] = first[begins + 1], last[begins + sizes - 2]
    found = []
    for gap in range(2, longest + 2):
        pairs = _finish(hashes[:-gap] * _NEXT + hashes[gap:])
        whole = Grams(pairs, text[:-gap], first[:-gap], last[gap:])
        found.append(_kept(whole, text[:-gap] == text[gap:]))
    return found


def opening_pairs(tokens: Grams, longest: int) -> list[Grams]:
    """Each token together with the first 1 to `longest` ones of its text before it, one entry a
    number: "how many" and "people" of "How many people ...", wherever that stands."""
    starts = np.flatnonzero(np.append(True, tokens.text[1:] != tokens.text[:-1]))
    starts = starts[: len(tokens.text)]
    lengths = np.diff(np.append(starts, len(tokens.text)))
    position = np.arange(len(tokens.text)) - np.repeat(starts, lengths)
    opening = np.full(len(starts), _BEGIN)
    found = []
    for taken in range(1, longest + 1):
        word = np.minimum(starts + taken - 1, len(tokens.text) - 1)  # of shorter texts none is kept
        opening = _finish(opening * _NEXT + tokens.hashes[word])
        pairs = _finish(np.repeat(opening, lengths) * _NEXT + tokens.hashes)
        first = np.repeat(tokens.first[starts], lengths)
        whole = Grams(pairs, tokens.text, first, tokens.last)
        found.append(_kept(whole, position >= taken))
    return found


def char_ngrams(letters: Letters, shortest: int, longest: int) -> list[Grams]:
    """Runs of letters of one text, spaces and all, where a run of spaces counts as one.

    A text's beginning and end count as a letter of their own, so "^who" is not the "who" inside.
    """
    space = letters.kinds == _APART
    keep = ~space
    keep[1:] |= space[1:] & ~space[:-1]
    where = np.concatenate([[-1], np.flatnonzero(keep)])  # a text begins after a space, too
    points = np.where(space[where], 0x20, letters.points[where]).astype(np.uint32)
    text = letters.text[where]
    ends = np.append(text[1:] != text[:-1], True)
    ends[0] |= where[0] < 0
    points[ends & space[where]] = 0x0A
    found = []
    for length in range(shortest, longest + 1):
        count = len(points) - length + 1
        if count <= 0:
            break
        first = np.arange(count)
        hashes = _segments(points, first, first + length)
        # The space before a text is the end of the one before: the second letter says whose it is.
        owner = text[1 : count + 1] if length > 1 else text[:count]
        same = owner == text[length - 1 :] if length > 1 else points > 0x20
        grams = Grams(hashes, owner, np.maximum(where[:count], 0), where[length - 1 :] + 1)
        found.append(_kept(grams, same))
    return found


def _kept(grams: Grams, keep: np.ndarray) -> Grams:
    return Grams(grams.hashes[keep], grams.text[keep], grams.first[keep], grams.last[keep])


def _segments(points: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """uint64 hash of each points[first:last]."""
    up, down = _powers(1 << max(len(points) - 1, 1).bit_length())
    sums = np.zeros(len(points) + 1, np.uint64)
    np.cumsum(_finish(points.astype(np.uint64) + np.uint64(1)) * up[: len(points)], out=sums[1:])
    return _finish((sums[last] - sums[first]) * down[first] + (last - first).astype(np.uint64))


@functools.lru_cache(maxsize=4)
def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """B^0, B^1, ... and their inverses mod 2^64."""
    both = []
    for base in (_BASE, _INVERSE):
        row = np.full(count, base, np.uint64)
        row[0] = 1
        both.append(np.cumprod(row))
    return both[0], both[1]


def _finish(value: np.ndarray) -> np.ndarray:
    """splitmix64's last steps: every bit depends on every bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(value ^ (value >> np.uint64(31)))


_KINDS = np.full(0x110000, _UNSEEN, np.uint8)


def _kinds(points: np.ndarray) -> np.ndarray:
    kinds = _KINDS[points]
    if (kinds == _UNSEEN).any():
        for point in np.unique(points[kinds == _UNSEEN]).tolist():
            _KINDS[point] = _kind(point)
        kinds = _KINDS[points]
    return np.asarray(kinds)


def is_spaceless(letter: str) -> bool:
    """Whether a letter is of writing without spaces, and a token by itself."""
    return any(low <= ord(letter) <= high for low, high in _SPACELESS)


def _kind(point: int) -> int:
    if is_spaceless(chr(point)):
        return _ALONE
    group = unicodedata.category(chr(point))[0]
    if group in "LNM" or point == 0x5F or point in _JOINERS:
        return _WITHIN
    return _APART if group in "ZC" else _ALONE


# --- what a model is given ----------------------------------------------------------------------

#: Kinds of features of a bag: runs of words, runs of letters, pairs of words that lie apart, pairs
#: with a text's first words.
FEATURE_KINDS = ("word", "char", "skip", "opening")


def encode_text(text: str, spec: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    """The arrays of one text, as the network takes them but without the batch dimension.

    {"tokens": int32 (L,)}, or {"features": int32 (F,), "values": float32 (F,)}.

    Args:
        text: as a person wrote it.
        spec: {"form", "split", "lowercase", "max_length"}, or {"form", "blocks", ...}.
        arrays: the fitted vocabularies.
    """
    letters = letters_of([plain(text, spec["lowercase"])])
    if spec["form"] == "tokens":
        hashes = token_grams(letters, split=spec["split"]).hashes[: spec["max_length"]]
        ids = places(hashes, arrays["vocabulary"], missing=UNKNOWN - FIRST) + FIRST
        return {"tokens": ids.astype(np.int32) if len(ids) else np.array([UNKNOWN], np.int32)}
    columns, values = [], []
    for _, column, value in bag_rows(letters, spec, arrays):
        columns.append(column + 1)  # 0 is padding
        values.append(value)
    features = np.concatenate([*columns, np.zeros(1, np.int64)]).astype(np.int32)
    return {
        "features": features,
        "values": np.concatenate([*values, np.zeros(1)]).astype(np.float32),
    }


def places(hashes: np.ndarray, vocabulary: np.ndarray, *, missing: int) -> np.ndarray:
    """int64: where each hash stands in a sorted vocabulary; `missing` where it does not."""
    if not len(vocabulary):
        return np.full(len(hashes), missing, np.int64)
    at = np.searchsorted(vocabulary, hashes)
    at[at == len(vocabulary)] = 0
    return np.where(vocabulary[at] == hashes, at, missing)


def grams_of_block(letters: Letters, block: Mapping[str, Any]) -> list[Grams]:
    """The n-grams of a block: {"kind": one of `FEATURE_KINDS`, "shortest", "longest"}."""
    kind, shortest, longest = block["kind"], block["shortest"], block["longest"]
    if kind == "char":
        return char_ngrams(letters, shortest, longest)
    tokens = token_grams(letters)
    if kind == "skip":
        return skip_grams(tokens, letters.count, longest)[shortest - 1 :]
    if kind == "opening":
        return opening_pairs(tokens, longest)[shortest - 1 :]
    return word_ngrams(tokens, longest)[shortest - 1 :]


def bag_rows(
    letters: Letters, spec: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(text, column, value), one triple of arrays a block: sorted, each pair once.

    Values are counts weighed by `weighting` and scaled so that each text's row of a block has
    length 1. A block's columns begin at its `start`.
    """
    rows = []
    for number, block in enumerate(spec["blocks"]):
        grams = grams_of_block(letters, block)
        hashes = np.concatenate([part.hashes for part in grams]) if grams else _NOTHING
        text = np.concatenate([part.text for part in grams]) if grams else _NOTHING
        column = columns_of(hashes, block, arrays.get(f"vocabulary.{number}", _NOTHING))
        text, column, counts = counted_pairs(text, column, block["size"])
        value = weighed(counts, spec["weighting"])
        if f"idf.{number}" in arrays:
            value = value * arrays[f"idf.{number}"][column]
        length = np.sqrt(np.bincount(text, value * value, letters.count))
        value = value / np.maximum(length, 1e-12)[text]
        rows.append((text, column + block["start"], value))
    return rows


_NOTHING = np.zeros(0, np.uint64)


def columns_of(hashes: np.ndarray, block: Mapping[str, Any], vocabulary: np.ndarray) -> np.ndarray:
    """Columns of n-grams, -1 for those that the vocabulary lacks; hashed blocks lack none."""
    if block["bits"]:
        return (hashes >> np.uint64(64 - block["bits"])).astype(np.int64)
    return places(hashes, vocabulary, missing=-1)


def counted_pairs(
    text: np.ndarray, column: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct (text, column) pairs in order, with how often each occurs; columns of -1 go."""
    known = column >= 0
    keys, counts = np.unique(
        text[known].astype(np.int64) * max(size, 1) + column[known], return_counts=True
    )
    return keys // max(size, 1), keys % max(size, 1), counts


def weighed(counts: np.ndarray, weighting: str) -> np.ndarray:
    """Counts as they are, as 1 (binary), or (tfidf) 1 + log count."""
    if weighting == "binary":
        return np.ones(len(counts))
    return 1 + np.log(counts) if weighting == "tfidf" else counts.astype(np.float64)


# --- the exported script ------------------------------------------------------------------------


def packed(array: np.ndarray) -> dict[str, str]:
    """An array as JSON."""
    return {"type": array.dtype.str, "data": base64.b64encode(array.tobytes()).decode()}


def decode_text(data: bytes, spec: Any) -> Any:
    """A file's bytes to the network's arrays. ValueError says what is wrong."""
    arrays = {
        name: np.frombuffer(base64.b64decode(value["data"]), value["type"])
        for name, value in spec["arrays"].items()
    }
    return encode_text(text_of(data), spec, arrays)


def text_of(data: bytes) -> str:
    """Bytes as UTF-8, or UTF-16 with its mark. ValueError names the line that is neither."""
    try:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        start = data.rfind(b"\n", 0, error.start) + 1
        what = f"0x{data[error.start]:02x} is no UTF-8; save the file as UTF-8"
        if (
            data[error.start] == 0xED
            and b"\xa0" <= data[error.start + 1 : error.start + 2] < b"\xc0"
        ):
            what = (
                "half a letter, whose other half was cut off"  # a surrogate, as of JSON's escapes
            )
        raise ValueError(f"line {line}, byte {error.start - start + 1}: {what}") from None
