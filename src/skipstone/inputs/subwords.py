"""The parts of words: runs of their letters, each with a vector of its own in a network.

Bojanowski et al. 2017, "Enriching Word Vectors with Subword Information", arXiv:1607.04606, section
3.2. So a word that was never seen is known by what it is made of, and "painter" by "painted". As
there, a word's beginning and end count as letters, and parts share a table by their hash. What
differs: where capitals are taken as small letters, how a word was written is a part of it, too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from skipstone.inputs.text_grams import Letters, segment_hashes

#: Runs of a word's letters that are read: a word of nine letters has so many of 3 to 5.
_MOST_RUNS = 24
#: Parts of a word: how it is written, then its runs.
MOST_PARTS = 1 + _MOST_RUNS
#: With capitals: at its beginning alone, throughout, in another way.
_CASES = 3
_OPENS, _CLOSES = 1, 2  # code points that no word has


def count_parts(spec: Mapping[str, int]) -> int:
    """How many different parts there are: 2^bits runs, by their hash, and the ways to write."""
    return (1 << spec["bits"]) + _CASES


def word_parts(
    letters: Letters,
    capital: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    spec: Mapping[str, int],
) -> np.ndarray:
    """int64 (W, MOST_PARTS): numbers of the parts of a text's words; -1 where there is none.

    Args:
        capital: bool, of each letter, whether it was written as a capital.
        first, last: where each word begins, and the letter after its last.
        spec: {"shortest", "longest", "bits"}: lengths of runs, and the size of their table, 2^bits.
    """
    case = _written(capital, first, last)
    case = np.where(case < 0, -1, case + (1 << spec["bits"]))
    return np.concatenate([case[:, None], _runs(letters, first, last, spec)], axis=1)


def _written(capital: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The way in which each word has capitals; -1 without, and for a text's first word where only
    its beginning is one, which tells nothing."""
    before = np.concatenate([[0], np.cumsum(capital)])
    many = before[last] - before[first]
    begins = capital[first] & (many == 1)
    found = np.where(begins, 0, np.where(many == last - first, 1, 2))
    told = (many > 0) & ~(begins & (np.arange(len(first)) == 0))
    return np.where(told, found, -1)


def _runs(
    letters: Letters, first: np.ndarray, last: np.ndarray, spec: Mapping[str, int]
) -> np.ndarray:
    """int64 (W, _MOST_RUNS): each word's runs of letters, short ones first."""
    sizes = last - first + 2
    word = np.repeat(np.arange(len(first)), sizes)
    place = np.arange(len(word)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    marked = np.full(len(word), _OPENS, np.uint32)
    marked[place == sizes[word] - 1] = _CLOSES
    inside = (place > 0) & (place < sizes[word] - 1)
    marked[inside] = letters.points[(first[word] + place - 1)[inside]]
    found = np.full((len(first), _MOST_RUNS), -1, np.int64)
    before = np.zeros(len(first), np.int64)  # runs of each word that are shorter
    for length in range(spec["shortest"], spec["longest"] + 1):
        start = np.flatnonzero(place + length <= sizes[word])
        column = before[word[start]] + place[start]
        start, column = start[column < _MOST_RUNS], column[column < _MOST_RUNS]
        hashes = segment_hashes(marked, start, start + length)
        found[word[start], column] = (hashes >> np.uint64(64 - spec["bits"])).astype(np.int64)
        before += np.maximum(sizes - length + 1, 0)
    return found
