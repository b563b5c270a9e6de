"""The words whose vectors are wanted while a file of vectors is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from skipstone.text.ngrams import normalize_text

AS_WRITTEN, OTHER_CASE, BY_SUBWORDS, MISSING = 0, 1, 2, 3


class VectorFilter:
    """Words, and for each how its vector was matched so far.

    The first exact match wins; without one, the first of the word in another letter case (files
    begin with the commonest words).

    Attributes:
        match_kinds: uint8 (words,), a constant of this module each.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.match_kinds = np.full(len(self.words), MISSING, np.uint8)
        self._exact = {word: place for place, word in enumerate(self.words)}
        self._folded: dict[str, list[int]] = defaultdict(list)
        for place, word in enumerate(self.words):
            self._folded[normalize_text(word, True)].append(place)

    def match_word(self, word: str) -> list[int]:
        """Match `word` of the file; the indices of words that it matches better than before."""
        word = normalize_text(word, False)
        matches = []
        place = self._exact.get(word)
        if place is not None and self.match_kinds[place] > AS_WRITTEN:
            self.match_kinds[place] = AS_WRITTEN
            matches.append(place)
        for other in self._folded.get(word.lower(), ()):
            if self.match_kinds[other] > OTHER_CASE:
                self.match_kinds[other] = OTHER_CASE
                matches.append(other)
        return matches

    def list_missing(self) -> list[int]:
        """Indices of words without a match so far."""
        return np.flatnonzero(self.match_kinds == MISSING).tolist()
