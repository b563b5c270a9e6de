"""The words whose vectors are looked for, while a file of vectors goes by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from skipstone.inputs.text_grams import plain

AS_WRITTEN, OTHER_CASE, BY_PARTS, MISSING = 0, 1, 2, 3


class WantedWords:
    """Words, and how well each is served so far: `how` holds a constant of this module each.

    The first vector of a word as it is written wins; without one, the first of the same word in
    other letter case (files begin with the words that are commonest).
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.how = np.full(len(self.words), MISSING, np.uint8)
        self._exact = {word: place for place, word in enumerate(self.words)}
        self._folded: dict[str, list[int]] = defaultdict(list)
        for place, word in enumerate(self.words):
            self._folded[plain(word, True)].append(place)

    def take(self, word: str) -> list[int]:
        """Places of the words that `word` of the file serves better than what came before."""
        word = plain(word, False)
        found = []
        place = self._exact.get(word)
        if place is not None and self.how[place] > AS_WRITTEN:
            self.how[place] = AS_WRITTEN
            found.append(place)
        for other in self._folded.get(word.lower(), ()):
            if self.how[other] > OTHER_CASE:
                self.how[other] = OTHER_CASE
                found.append(other)
        return found

    def missing(self) -> list[int]:
        """Places that nothing serves so far."""
        return np.flatnonzero(self.how == MISSING).tolist()
