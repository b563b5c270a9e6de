"""Subwords: character n-grams of words, each with its own vector in a network.

Bojanowski et al. 2017, "Enriching Word Vectors with Subword Information", arXiv:1607.04606, section
3.2: an out-of-vocabulary word gets a vector from its n-grams, and "painter" shares some with
"painted". As there, a word's beginning and end count as letters, and subwords share a table by
their hash. An addition: with lowercasing, the capitalisation of a word is a subword, too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from skipstone.text.ngrams import Letters, segment_hashes

#: Character n-grams per word at most: a word of nine letters has so many of 3 to 5.
_MAX_NGRAMS = 24
#: Subwords per word: its capitalisation, then its n-grams.
MAX_SUBWORDS = 1 + _MAX_NGRAMS
#: Capitalisations: the first letter only, all letters, mixed.
_CASES = 3
_OPENS, _CLOSES = 1, 2  # code points that do not occur in words


def count_subword_ids(spec: Mapping[str, int]) -> int:
    """Number of subword ids: 2^bits hashed n-grams, and the capitalisations."""
    return (1 << spec["bits"]) + _CASES


def subword_ids(
    letters: Letters,
    capital: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    spec: Mapping[str, int],
) -> np.ndarray:
    """int64 (W, MOST_PARTS): subword ids of a text's words, padded with -1.

    Args:
        capital: bool (L,), whether each letter was a capital before lowercasing.
        first, last: each word's first letter, and the one after its last.
        spec: {"shortest", "longest", "bits"}: lengths of n-grams, and the table's size, 2^bits.
    """
    case = _capitalization(capital, first, last)
    case = np.where(case < 0, -1, case + (1 << spec["bits"]))
    return np.concatenate([case[:, None], _ngram_ids(letters, first, last, spec)], axis=1)


def _capitalization(capital: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """int64 (W,): the index of each word's capitalisation; -1 without capitals, and for a text's
    first word if only its first letter is one, which carries no information."""
    before = np.concatenate([[0], np.cumsum(capital)])
    count = before[last] - before[first]
    is_initial = capital[first] & (count == 1)
    case = np.where(is_initial, 0, np.where(count == last - first, 1, 2))
    is_informative = (count > 0) & ~(is_initial & (np.arange(len(first)) == 0))
    return np.where(is_informative, case, -1)


def _ngram_ids(
    letters: Letters, first: np.ndarray, last: np.ndarray, spec: Mapping[str, int]
) -> np.ndarray:
    """int64 (W, _MAX_NGRAMS): hashed character n-grams of each word, short ones first."""
    sizes = last - first + 2
    word = np.repeat(np.arange(len(first)), sizes)
    place = np.arange(len(word)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    marked = np.full(len(word), _OPENS, np.uint32)
    marked[place == sizes[word] - 1] = _CLOSES
    inside = (place > 0) & (place < sizes[word] - 1)
    marked[inside] = letters.points[(first[word] + place - 1)[inside]]
    ids = np.full((len(first), _MAX_NGRAMS), -1, np.int64)
    before = np.zeros(len(first), np.int64)  # number of shorter n-grams of each word
    for length in range(spec["shortest"], spec["longest"] + 1):
        start = np.flatnonzero(place + length <= sizes[word])
        column = before[word[start]] + place[start]
        start, column = start[column < _MAX_NGRAMS], column[column < _MAX_NGRAMS]
        hashes = segment_hashes(marked, start, start + length)
        ids[word[start], column] = (hashes >> np.uint64(64 - spec["bits"])).astype(np.int64)
        before += np.maximum(sizes - length + 1, 0)
    return ids
