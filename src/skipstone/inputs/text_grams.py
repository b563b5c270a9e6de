"""Tokens and n-grams of texts as 64-bit hashes.

Needs numpy and the standard library only: the same functions fit a vocabulary on a whole corpus,
encode one text for an answer, and run in the exported script. Nothing here loops over letters.

A hash of code points c_s..c_(e-1) is the polynomial sum of v(c_j) B^(j-s) mod 2^64 (Karp and Rabin
1987), finished by splitmix64 (Steele et al. 2014). Prefix sums give that of every segment at once.
Among a million n-grams two share a hash with a chance of about 3 in 100 million.
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
    return Grams(segment_hashes(letters.points, first, last), letters.text[first], first, last)


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
        hashes = segment_hashes(points, first, first + length)
        # The space before a text is the end of the one before: the second letter says whose it is.
        owner = text[1 : count + 1] if length > 1 else text[:count]
        same = owner == text[length - 1 :] if length > 1 else points > 0x20
        grams = Grams(hashes, owner, np.maximum(where[:count], 0), where[length - 1 :] + 1)
        found.append(_kept(grams, same))
    return found


def _kept(grams: Grams, keep: np.ndarray) -> Grams:
    return Grams(grams.hashes[keep], grams.text[keep], grams.first[keep], grams.last[keep])


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
