"""Split a text into its tokens and the substrings between them."""

from __future__ import annotations

import itertools

import numpy as np

from skipstone.text.ngrams import to_letters, token_spans


def split_into_spans(text: str) -> tuple[list[str], list[int]]:
    """Substrings that make up the text, and the indices of those that are tokens.

    >>> pieces_of("So, it")
    (['So', ',', ' ', 'it'], [0, 1, 3])
    """
    first, last = token_spans(to_letters([text]))
    ends = np.unique(np.concatenate([[0, len(text)], first, last]))
    parts = [text[begin:end] for begin, end in itertools.pairwise(ends.tolist())]
    return parts, np.searchsorted(ends, first).tolist()
