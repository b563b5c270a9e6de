"""Augmentation of texts, on the text itself, so for sequences of tokens and bags of n-grams.

Each text has its own generator, keyed by (seed, epoch, id, view), as images have. Sources: Wei and
Zou 2019, "EDA", arXiv:1901.11196, for deletion, swapping, insertion and synonyms; Karimi et al.
2021, "AEDA", arXiv:2108.13230, for punctuation; Belinkov and Bisk 2018, arXiv:1711.02173, for
misspelling.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skipstone.core.errors import UsageError
from skipstone.core.rng import scoped_seed
from skipstone.data.samples import Sample
from skipstone.datasets.mixing import TextMixing, unmixable_error
from skipstone.image.augment import describe_callable, import_callable
from skipstone.inputs.base import DecodedSample, Input
from skipstone.tasks.base import Task
from skipstone.text.ngrams import is_spaceless, normalize_text
from skipstone.text.synonyms import read_synonyms
from skipstone.text.text_augment_options import TEXT_MIXING, TextAugmentOptions
from skipstone.text.token_spans import split_into_spans

Synonyms = Mapping[str, tuple[str, ...]]
#: `noise` skips shorter words: one letter more or less makes another word of them.
_MIN_LETTERS = 3
#: What AEDA inserts (section 2).
_MARKS = (".", ";", "?", ":", "!", ",")


@dataclass
class TextSpans:
    """A text as substrings. Operations change words only; signs and spaces stay in place.

    Args:
        parts: the substrings, in order.
        words: indices of the words.
        unspaced_words: indices of words of one letter, in scripts without spaces. They may stand next to
            each other, where two words of other scripts would merge.
    """

    parts: list[str]
    words: list[int]
    unspaced_words: list[int]

    @staticmethod
    def from_text(text: str) -> TextSpans:
        parts, tokens = split_into_spans(text)
        words = [at for at in tokens if any(map(str.isalnum, parts[at]))]
        return TextSpans(parts, words, [at for at in words if is_spaceless(parts[at][0])])

    def __str__(self) -> str:
        return "".join(self.parts)


class TextAugmentation:
    """The operations of `strengths` in order, then `custom`.

    Args:
        strengths: {operation: strength}, see `TextAugmentOptions.strengths`.
        synonyms: {lowercase word: its synonyms}.
        custom: takes and returns a str; may draw from the random states of torch, numpy and
            Python, which are seeded for it and restored.
    """

    #: It changes decoded records, before they are encoded.
    augments_records = True

    def __init__(
        self,
        strengths: Mapping[str, float],
        synonyms: Synonyms | None = None,
        custom: Callable[[str], str] | None = None,
    ) -> None:
        self.strengths = dict(strengths)
        self.synonyms = dict(synonyms or {})
        self.custom = custom

    @property
    def is_thread_safe(self) -> bool:
        """Whether loading threads may call it: a user's callable may draw from the global
        random states, which training uses."""
        return self.custom is None

    def __call__(self, sample: Sample, *, seed: int, epoch: int) -> Sample:
        return sample

    def augment_record(
        self, raw: DecodedSample, *, id: int, view: int, seed: int, epoch: int
    ) -> DecodedSample:
        """The augmented record; its value is a text's UTF-8 bytes, in and out."""
        rng = random.Random(f"{seed},{epoch},{id},{view}")
        text = self.augment_text(raw.value.tobytes().decode(), rng)
        return DecodedSample(
            np.frombuffer(text.encode(), np.uint8), (len(text),), is_augmented=True
        )

    def augment_text(self, text: str, rng: random.Random) -> str:
        """The augmented text."""
        pieces = TextSpans.from_text(text)
        for name, strength in self.strengths.items():
            if name in ("synonyms", "insert"):
                change = _replace if name == "synonyms" else _insert
                change(pieces, rng, strength, self.synonyms)
            else:
                _OPERATIONS[name](pieces, rng, strength)
        text = str(pieces)
        if self.custom is None:
            return text
        with scoped_seed(rng.getrandbits(32)):
            result = self.custom(text)
        if not isinstance(result, str):
            raise UsageError(
                f"the augmentation {describe_callable(self.custom)} returned "
                f"{type(result).__name__}, not a str."
            )
        return result


def make_text_augmentation(
    options: TextAugmentOptions, input: Input, task: Task | None = None
) -> TextAugmentation | None:
    """The augmentation of single texts, or None if nothing changes them.

    Raises:
        UsageError: the task has spatial targets, or `custom` cannot be imported.
        DataError: the table of synonyms cannot be read.
    """
    strengths = {name: s for name, s in options.get_strengths().items() if name not in TEXT_MIXING}
    custom = None if options.custom is None else import_callable(options.custom)
    if not strengths and custom is None:
        return None
    if task is not None and task.spatial_targets:
        raise UsageError(
            f"the targets of {task.name!r} are places in the texts, whose words would move.",
            hint="Leave --augment out.",
        )
    table = options.synonym_table if {"synonyms", "insert"} & strengths.keys() else None
    synonyms = {} if table is None else read_synonyms(Path(table))
    return TextAugmentation(strengths, synonyms, custom)


def _replace(pieces: TextSpans, rng: random.Random, chance: float, synonyms: Synonyms) -> None:
    for at in pieces.words:
        word = pieces.parts[at]
        others = synonyms.get(normalize_text(word, True))
        if others is not None and rng.random() < chance:
            pieces.parts[at] = _as_written(rng.choice(others), word)


def _insert(pieces: TextSpans, rng: random.Random, chance: float, synonyms: Synonyms) -> None:
    """Insert a synonym of a random word that has one, or a punctuation mark, behind words."""
    known = [normalize_text(pieces.parts[at], True) for at in pieces.words]
    known = [word for word in known if word in synonyms]
    alone = set(pieces.unspaced_words)
    for at in pieces.words:
        if rng.random() >= chance:
            continue
        new = rng.choice(synonyms[rng.choice(known)]) if known else rng.choice(_MARKS)
        pieces.parts[at] += new if at in alone else f" {new}"


def _as_written(synonym: str, word: str) -> str:
    """The synonym with the capitals of the word that it replaces."""
    if word.isupper() and len(word) > 1:
        return synonym.upper()
    return synonym[:1].upper() + synonym[1:] if word[:1].isupper() else synonym


def _delete(pieces: TextSpans, rng: random.Random, chance: float) -> None:
    """Delete words with the space before them, but never all of them."""
    deleted = [at for at in pieces.words if rng.random() < chance]
    if deleted and len(deleted) == len(pieces.words):
        deleted.remove(rng.choice(deleted))
    for at in deleted:
        pieces.parts[at] = ""
        neighbour = at - 1 if at else at + 1
        if neighbour < len(pieces.parts) and pieces.parts[neighbour].isspace():
            pieces.parts[neighbour] = ""
    pieces.words = [at for at in pieces.words if pieces.parts[at]]


def _swap(pieces: TextSpans, rng: random.Random, chance: float) -> None:
    alone = set(pieces.unspaced_words)
    kinds = [
        [at for at in pieces.words if at not in alone],
        [at for at in pieces.words if at in alone],
    ]
    parts = pieces.parts
    for words in kinds:
        for at in words:
            if rng.random() < chance:
                other = rng.choice(words)
                parts[at], parts[other] = parts[other], parts[at]


def _misspell(pieces: TextSpans, rng: random.Random, chance: float) -> None:
    """Misspell one letter of a word; replacements are letters of the text, so of its script."""
    alone = set(pieces.unspaced_words)
    letters = "".join(pieces.parts[at] for at in pieces.words if at not in alone)
    for at in pieces.words:
        word = pieces.parts[at]
        if len(word) < _MIN_LETTERS or rng.random() >= chance:
            continue
        place = rng.randrange(len(word))
        kind = rng.randrange(4)
        if kind == 0:
            word = word[:place] + word[place + 1 :]
        elif kind == 1:
            word = word[: place + 1] + word[place:]
        elif kind == 2:
            word = word[:place] + rng.choice(letters) + word[place + 1 :]
        else:
            place = min(place, len(word) - 2)
            word = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        pieces.parts[at] = word


_OPERATIONS: Mapping[str, Callable[[TextSpans, random.Random, float], None]] = {
    "delete": _delete,
    "swap": _swap,
    "noise": _misspell,
}


def make_text_mixing(options: TextAugmentOptions, task: Task) -> TextMixing | None:
    """The mixing of texts, or None if it is off.

    Raises:
        UsageError: the task has spatial targets.
    """
    words, features = (options.get_strengths().get(name, 0.0) for name in TEXT_MIXING)
    if not (words or features):
        return None
    if task.spatial_targets:
        raise unmixable_error(task)
    return TextMixing(task, words=words, features=features)
