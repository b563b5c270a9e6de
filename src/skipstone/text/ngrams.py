"""Tokens and n-grams of texts as 64-bit hashes.

Needs numpy and the standard library only: the same functions fit a vocabulary on a corpus, encode
one text for a prediction, and run in the exported script. All of it is vectorised over letters.

The hash of code points c_s..c_(e-1) is the polynomial sum of v(c_j) B^(j-s) mod 2^64 (Karp and
Rabin 1987), finished by splitmix64 (Steele et al. 2014). Prefix sums give the hashes of all
segments at once. The probability of a collision among a million n-grams is about 3e-8.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_BASE = 0x9E3779B97F4A7C15 | 1
_INVERSE = pow(_BASE, -1, 1 << 64)
_NEXT = np.uint64(0xD6E8FEB86659FD93)
_BEGIN, _END = np.uint64(1), np.uint64(2)  # a text's beginning and end among its tokens
_SEPARATOR, _IN_WORD, _OWN_TOKEN, _UNDECIDED = 0, 1, 2, 255
#: Scripts without spaces between words: Thai, Lao, Myanmar, Khmer, kana, Han. Each letter is a
#: token, and n-grams stand for words.
_SPACELESS = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)
_JOINERS = (0x200C, 0x200D)  # inside Persian and Indic words


@dataclass(frozen=True)
class Letters:
    """Texts concatenated as code points.

    Args:
        points: uint32 (L,); each text ends with a line feed.
        kinds: uint8 (L,): a separator of tokens, in a word, or a token of its own.
        text: int32 (L,), the index of the text.
        count: number of texts.
    """

    points: np.ndarray
    kinds: np.ndarray
    text: np.ndarray
    count: int


@dataclass(frozen=True)
class NGrams:
    """Tokens or n-grams in order: hashes (G,), the index of each one's text, and the span
    first:last of `Letters`."""

    hashes: np.ndarray
    text: np.ndarray
    first: np.ndarray
    last: np.ndarray


def normalize_text(text: str, lowercase: bool) -> str:
    """Normalise: Unicode form NFC, and lowercase if wanted."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return text.lower() if lowercase else text


def to_letters(texts: Sequence[str]) -> Letters:
    """Texts (already `plain`) as code points with their kinds."""
    joined = "\n".join(texts) + "\n"
    points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4")
    lengths = np.fromiter((len(text) + 1 for text in texts), np.int64, len(texts))
    owner = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
    return Letters(points, _kinds(points), owner, len(texts))


def hash_tokens(letters: Letters, *, level: str = "word") -> NGrams:
    """All tokens: words and single signs, or ("char") every letter but spaces."""
    first, last = token_spans(letters, level=level)
    return NGrams(segment_hashes(letters.points, first, last), letters.text[first], first, last)


def token_spans(letters: Letters, *, level: str = "word") -> tuple[np.ndarray, np.ndarray]:
    """(first letter, letter after the last) of each token."""
    kinds = letters.kinds
    is_token = kinds == _OWN_TOKEN if level == "word" else kinds != _SEPARATOR
    inside = (kinds == _IN_WORD) & ~is_token
    before = np.concatenate([[False], inside[:-1]])
    after = np.concatenate([inside[1:], [False]])
    first = np.flatnonzero(is_token | (inside & ~before))
    last = np.flatnonzero(is_token | (inside & ~after)) + 1
    return first, last


def word_ngrams(tokens: NGrams, longest: int) -> list[NGrams]:
    """N-grams of 1 to `longest` tokens, one entry per length."""
    by_length = [tokens]
    current = tokens
    for length in range(2, longest + 1):
        count = len(tokens.hashes) - length + 1
        if count <= 0:
            break
        longer = _finish(current.hashes[:count] * _NEXT + tokens.hashes[length - 1 :])
        keep = tokens.text[:count] == tokens.text[length - 1 :]
        current = NGrams(
            longer, tokens.text[:count], tokens.first[:count], tokens.last[length - 1 :]
        )
        by_length.append(_select(current, keep))
    return by_length


def skip_grams(tokens: NGrams, count: int, longest: int) -> list[NGrams]:
    """Pairs of tokens with 1 to `longest` others between them, one entry per gap.

    A pair has one hash for all gaps (Guthrie et al. 2006, "A Closer Look at Skip-gram Modelling").
    A text's beginning and end count as tokens, which marks its second and last but one word.

    Args:
        count: number of texts.
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
    by_gap = []
    for gap in range(2, longest + 2):
        hashed = _finish(hashes[:-gap] * _NEXT + hashes[gap:])
        pairs = NGrams(hashed, text[:-gap], first[:-gap], last[gap:])
        by_gap.append(_select(pairs, text[:-gap] == text[gap:]))
    return by_gap


def opening_pairs(tokens: NGrams, longest: int) -> list[NGrams]:
    """Each token paired with the first 1 to `longest` tokens of its text, one entry per number:
    "how many" with "people" of "How many people ...", at any distance."""
    starts = np.flatnonzero(np.append(True, tokens.text[1:] != tokens.text[:-1]))
    starts = starts[: len(tokens.text)]
    lengths = np.diff(np.append(starts, len(tokens.text)))
    position = np.arange(len(tokens.text)) - np.repeat(starts, lengths)
    opening = np.full(len(starts), _BEGIN)
    by_number = []
    for number in range(1, longest + 1):
        word = np.minimum(starts + number - 1, len(tokens.text) - 1)  # drops shorter texts below
        opening = _finish(opening * _NEXT + tokens.hashes[word])
        hashed = _finish(np.repeat(opening, lengths) * _NEXT + tokens.hashes)
        pairs = NGrams(hashed, tokens.text, np.repeat(tokens.first[starts], lengths), tokens.last)
        by_number.append(_select(pairs, position >= number))
    return by_number


def char_ngrams(letters: Letters, shortest: int, longest: int) -> list[NGrams]:
    """Character n-grams, one entry per length; spaces are letters, several of them count as one.

    A text's beginning and end count as letters, so "^who" differs from "who" inside a text.
    """
    space = letters.kinds == _SEPARATOR
    keep = ~space
    keep[1:] |= space[1:] & ~space[:-1]
    where = np.concatenate([[-1], np.flatnonzero(keep)])  # the first text also follows a space
    points = np.where(space[where], 0x20, letters.points[where]).astype(np.uint32)
    text = letters.text[where]
    ends = np.append(text[1:] != text[:-1], True)
    ends[0] |= where[0] < 0
    points[ends & space[where]] = 0x0A
    by_length = []
    for length in range(shortest, longest + 1):
        count = len(points) - length + 1
        if count <= 0:
            break
        first = np.arange(count)
        hashes = segment_hashes(points, first, first + length)
        # The space before a text ends the previous one: the n-gram's second letter has its index.
        owner = text[1 : count + 1] if length > 1 else text[:count]
        keep = owner == text[length - 1 :] if length > 1 else points > 0x20
        grams = NGrams(hashes, owner, np.maximum(where[:count], 0), where[length - 1 :] + 1)
        by_length.append(_select(grams, keep))
    return by_length


def _select(grams: NGrams, keep: np.ndarray) -> NGrams:
    return NGrams(grams.hashes[keep], grams.text[keep], grams.first[keep], grams.last[keep])


def segment_hashes(points: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
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
    """splitmix64's finalizer: every output bit depends on every input bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(value ^ (value >> np.uint64(31)))


_KIND_OF_POINT = np.full(0x110000, _UNDECIDED, np.uint8)


def _kinds(points: np.ndarray) -> np.ndarray:
    kinds = _KIND_OF_POINT[points]
    if (kinds == _UNDECIDED).any():
        for point in np.unique(points[kinds == _UNDECIDED]).tolist():
            _KIND_OF_POINT[point] = _kind(point)
        kinds = _KIND_OF_POINT[points]
    return np.asarray(kinds)


def is_spaceless(letter: str) -> bool:
    """Whether a letter is of a script without spaces, and thus a token of its own."""
    return any(low <= ord(letter) <= high for low, high in _SPACELESS)


def _kind(point: int) -> int:
    if is_spaceless(chr(point)):
        return _OWN_TOKEN
    group = unicodedata.category(chr(point))[0]
    if group in "LNM" or point == 0x5F or point in _JOINERS:
        return _IN_WORD
    return _SEPARATOR if group in "ZC" else _OWN_TOKEN
