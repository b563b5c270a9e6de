"""Two rows of words beside each other: which of them agree, and whether both say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

import numpy as np

Array = np.ndarray

#: Words and letters that have to agree: of less nobody can say whether it is a copy.
FEWEST_WORDS, FEWEST_LETTERS = 3, 12
#: The share of letters in words that were put in or left out, and of an end that was cut off.
ADDED, CUT = 0.2, 0.45
#: An end that is cut off leaves so many words; fewer where the cut goes through a word.
CUT_WORDS, CUT_WITHIN = 8, 4
#: One word in so many may be another, and one in so many be mistyped, but always one.
REPLACED_WORDS, MISTYPED_WORDS = 20, 5
#: A word is mistyped less often than once in so many times.
SLIPS = 20
#: A word of so many letters may have one mistake, and one of so many two.
_ONE_MISTAKE, _TWO_MISTAKES = 4, 9
#: Stretches of words whose pairs are compared one by one.
_LARGEST = 400


@dataclass(frozen=True)
class Agreement:
    """Args:
    share: of the letters that agree, 1 where only capitals, signs and spaces differ.
    differing: (positions in the first, positions in the second) of words that do not.
    """

    share: float
    differing: tuple[frozenset[int], frozenset[int]]


def agreement(
    first: Sequence[str], second: Sequence[str], commonness: Mapping[str, int]
) -> Agreement | None:
    """How far two texts agree, or None where they do not say the same.

    Args:
        first, second: folded words.
        commonness: {word: in how many texts it occurs}; a word that others use, too, is no typing
            mistake of another such word.
    """
    found = Beside(first, second, commonness)
    total = max(_letters(first), _letters(second))
    words = max(len(first), len(second))
    if found.agreeing < FEWEST_WORDS or found.agreeing_letters < FEWEST_LETTERS:
        return None
    if found.mistyped > max(1, words // MISTYPED_WORDS):
        return None
    if (found.replaced + found.exchanged) * REPLACED_WORDS > words:
        return None
    cut = found.cut and found.agreeing >= (CUT_WITHIN if found.within else CUT_WORDS)
    if found.added_letters > (CUT if cut else ADDED) * total:
        return None
    differing = (frozenset(found.only[0]), frozenset(found.only[1]))
    lost = found.added_letters + found.replaced_letters + found.mistakes
    return Agreement(1 - lost / max(total, 1), differing)


class Beside:
    """Words laid beside each other.

    Attributes:
        agreeing: words that are equal; `agreeing_letters` theirs.
        mistyped: words with typing mistakes; `mistakes` in all of them.
        replaced: words in place of others, `replaced_letters` theirs.
        added: words that only one of the texts has, of each; `added_letters` theirs.
        cut: whether one of the texts is the other without its end, `within` a word.
        only: positions in each of what does not agree.
    """

    def __init__(
        self, first: Sequence[str], second: Sequence[str], commonness: Mapping[str, int]
    ) -> None:
        self._texts = first, second
        self._commonness = commonness
        self.agreeing = self.agreeing_letters = 0
        self.mistyped = self.mistakes = 0
        self.replaced = self.replaced_letters = self.added_letters = 0
        self.added: tuple[list[str], list[str]] = ([], [])
        self.only: tuple[list[int], list[int]] = ([], [])
        head = _common(first, second)
        tail = _common(first[head:][::-1], second[head:][::-1])
        self._agree(first[:head])
        self._agree(first[len(first) - tail :])
        rest = first[head : len(first) - tail], second[head : len(second) - tail]
        self.cut = not tail and _is_cut(*rest)
        self.within = self.cut and bool(rest[0]) and bool(rest[1])
        if self.cut:
            self._cut(head)
        elif rest[0] or rest[1]:
            self._middle(head, *rest)

    @property
    def exchanged(self) -> int:
        """Words added to one text while others were added elsewhere to the other; words that only
        moved are none."""
        if not (self.added[0] and self.added[1]):
            return 0
        ours, theirs = Counter(self.added[0]), Counter(self.added[1])
        return min((ours - theirs).total(), (theirs - ours).total())

    def _agree(self, words: Sequence[str]) -> None:
        self.agreeing += len(words)
        self.agreeing_letters += _letters(words)

    def _cut(self, head: int) -> None:
        for text, words in enumerate(self._texts):
            self.only[text].extend(range(head, len(words)))
        lengths = [_letters(words[head:]) for words in self._texts]
        self.added_letters += abs(lengths[0] - lengths[1])

    def _middle(self, head: int, first: Sequence[str], second: Sequence[str]) -> None:
        if set(first).isdisjoint(second) and "".join(first) != "".join(second):
            self._differ((head, first), (head, second))
            return
        matcher = SequenceMatcher(None, first, second, autojunk=False)
        for kind, a, b, c, d in matcher.get_opcodes():
            # "can not" is "cannot"
            if kind == "equal" or "".join(first[a:b]) == "".join(second[c:d]):
                self._agree(first[a:b])
            else:
                self._differ((head + a, first[a:b]), (head + c, second[c:d]))

    def _differ(self, first: tuple[int, Sequence[str]], second: tuple[int, Sequence[str]]) -> None:
        """A stretch in which no word is equal: words with typing mistakes, replaced, added."""
        (start, ours), (begin, theirs) = first, second
        self.only[0].extend(range(start, start + len(ours)))
        self.only[1].extend(range(begin, begin + len(theirs)))
        pairs = self._mistakes(ours, theirs)
        self.mistyped += len(pairs)
        self.mistakes += sum(mistakes for _, _, mistakes in pairs)
        left, right = list(ours), list(theirs)
        for at, other, _ in reversed(pairs):
            del left[at], right[other]
        swapped = min(len(left), len(right))
        self.replaced += swapped
        self.replaced_letters += max(_letters(left[:swapped]), _letters(right[:swapped]))
        for text, words in enumerate((left[swapped:], right[swapped:])):
            self.added[text].extend(words)
            self.added_letters += _letters(words)

    def _mistakes(self, ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[int, int, int]]:
        """(position, position, mistakes) of words that are one with typing mistakes, in order."""
        if len(ours) * len(theirs) > _LARGEST:
            return []
        found, begin = [], 0
        for at, word in enumerate(ours):
            for other in range(begin, len(theirs)):
                if self._both_known(word, theirs[other]):
                    continue
                count = mistakes(word, theirs[other])
                if count:
                    found.append((at, other, count))
                    begin = other + 1
                    break
        return found

    def _both_known(self, word: str, other: str) -> bool:
        """Whether each is a word of its own: the rarer is not just a slip of the other."""
        rarer, other_count = sorted(self._commonness.get(w, 0) for w in (word, other))
        return rarer > 1 and rarer * SLIPS >= other_count


@lru_cache(1 << 16)
def mistakes(word: str, other: str) -> int:
    """How many typing mistakes make one word the other; 0 where they are two words.

    A letter too many, too few, another one, or two that changed places (optimal string alignment).
    Short words have none, nor have numbers.
    """
    longer = max(len(word), len(other))
    allowed = 0 if longer < _ONE_MISTAKE else 1 if longer < _TWO_MISTAKES else 2
    if longer == _ONE_MISTAKE - 1 and sorted(word) == sorted(other):
        allowed = 1
    if abs(len(word) - len(other)) > allowed or not allowed:
        return 0
    found = _distance(word, other, allowed)
    if found > allowed or any(letter.isdigit() for letter in word + other):
        return 0
    return found


def _distance(a: str, b: str, most: int) -> int:
    """Optimal string alignment distance; any number above `most` where it is above."""
    if most == 1:  # what lies between equal beginnings and ends is a letter, or two that changed
        head = _common(a, b)
        tail = _common(a[head:][::-1], b[head:][::-1])
        a, b = a[head : len(a) - tail], b[head : len(b) - tail]
        return 1 if max(len(a), len(b)) == 1 or (len(a) == 2 and a == b[::-1]) else 2
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        new = [i]
        for j, other in enumerate(b, 1):
            cost = min(new[-1] + 1, row[j] + 1, row[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            new.append(cost)
        if min(new) > most:
            return most + 1
        before, row = row, new
    return row[-1]


def unlike_at_most(words: Array) -> Array:
    """Of the shorter of two texts, how many words may be missing in the other: (P,) from (P,), the
    words of the longer. More of them, and `agreement` is None."""
    bound: Array = np.maximum(1, words // MISTYPED_WORDS) + words // REPLACED_WORDS + 1
    return bound


def _is_cut(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether what is left of one text is nothing, or the beginning of the other's next word."""
    short, long = sorted((first, second), key=lambda words: (len(words), _letters(words)))
    if not long or len(short) > 1:
        return False
    begun = short and long[0].startswith(short[0]) and short != long
    return not short or bool(begun and not long[0][-1].isdigit())


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    count = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        count += 1
    return count


def _letters(words: Sequence[str]) -> int:
    return sum(map(len, words))
