"""Random changes to training texts, made on the text itself, before it becomes numbers.

So they serve sequences of tokens and bags of n-grams alike. Each text has its own dice, keyed by
(seed, epoch, id, view), as pictures have. Sources: Wei and Zou 2019, "EDA", arXiv:1901.11196, for
deletion, swapping and synonyms; Belinkov and Bisk 2018, arXiv:1711.02173, for misspelling.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skipstone.data.samples import Sample
from skipstone.errors import UsageError
from skipstone.inputs.base import Input, Raw
from skipstone.inputs.text_grams import is_spaceless, plain
from skipstone.inputs.text_pieces import pieces_of
from skipstone.prepare.augment import import_callable
from skipstone.prepare.randomness import scoped_seed
from skipstone.prepare.synonyms import read_synonyms
from skipstone.prepare.text_augment_options import TEXT_MIXING, TextAugmentOptions
from skipstone.tasks.base import Task

Synonyms = Mapping[str, tuple[str, ...]]
#: Shorter words are left as they are by `noise`: one letter more or less is another word.
_SHORTEST = 3


@dataclass
class Pieces:
    """A text in pieces; `words` says which of them are words. Signs and spaces stay in place.

    `alone` are words of one letter, in writing without spaces: they stand side by side, where two
    words of other writing would become one.
    """

    parts: list[str]
    words: list[int]
    alone: list[int]

    @staticmethod
    def of(text: str) -> Pieces:
        parts, tokens = pieces_of(text)
        words = [at for at in tokens if any(map(str.isalnum, parts[at]))]
        return Pieces(parts, words, [at for at in words if is_spaceless(parts[at][0])])

    def __str__(self) -> str:
        return "".join(self.parts)


class TextAugment:
    """The operations of `strengths` in order, then `custom`.

    Args:
        strengths: operation name -> strength, see `TextAugmentOptions.strengths`.
        synonyms: of words in small letters.
        custom: takes and returns a str; may draw from the random states of torch, numpy and
            Python, which are seeded for it and put back.
    """

    #: It changes what an input decodes, before that is encoded.
    on_records = True

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
    def thread_safe(self) -> bool:
        """Whether it may run beside training: a user's callable may use the global dice."""
        return self.custom is None

    def __call__(self, sample: Sample, *, seed: int, epoch: int) -> Sample:
        return sample

    def record(self, raw: Raw, *, id: int, view: int, seed: int, epoch: int) -> Raw:
        """The changed record; its value is a text's UTF-8 bytes, in and out."""
        rng = random.Random(f"{seed},{epoch},{id},{view}")
        text = self.text(raw.value.tobytes().decode(), rng)
        return Raw(np.frombuffer(text.encode(), np.uint8), (len(text),), once=True)

    def text(self, text: str, rng: random.Random) -> str:
        """The changed text."""
        pieces = Pieces.of(text)
        for name, strength in self.strengths.items():
            if name == "synonyms":
                _replace(pieces, rng, strength, self.synonyms)
            else:
                _OPERATIONS[name](pieces, rng, strength)
        text = str(pieces)
        if self.custom is None:
            return text
        with scoped_seed(rng.getrandbits(32)):
            made = self.custom(text)
        if not isinstance(made, str):
            name = getattr(self.custom, "__qualname__", repr(self.custom))
            raise UsageError(
                f"the augmentation {self.custom.__module__}:{name} returned "
                f"{type(made).__name__}, not a str."
            )
        return made


def make_text_augment(
    options: TextAugmentOptions, input: Input, task: Task | None = None
) -> TextAugment | None:
    """What `options` mean, or None where nothing is to be done to single texts.

    Raises:
        UsageError: targets lie on the texts, or `custom` cannot be imported.
        DataError: the table of synonyms cannot be read.
    """
    strengths = {name: s for name, s in options.strengths().items() if name not in TEXT_MIXING}
    custom = None if options.custom is None else import_callable(options.custom)
    if not strengths and custom is None:
        return None
    if task is not None and task.places:
        raise UsageError(
            f"the answers of {task.name!r} lie on the texts, whose words would move under them.",
            hint="Leave --augment out.",
        )
    table = None if "synonyms" not in strengths else options.synonym_table
    synonyms = {} if table is None else read_synonyms(Path(table))
    return TextAugment(strengths, synonyms, custom)


def _replace(pieces: Pieces, rng: random.Random, chance: float, synonyms: Synonyms) -> None:
    for at in pieces.words:
        word = pieces.parts[at]
        others = synonyms.get(plain(word, True))
        if others is not None and rng.random() < chance:
            pieces.parts[at] = _as_written(rng.choice(others), word)


def _as_written(synonym: str, word: str) -> str:
    """The synonym with the capitals of the word that it stands for."""
    if word.isupper() and len(word) > 1:
        return synonym.upper()
    return synonym[:1].upper() + synonym[1:] if word[:1].isupper() else synonym


def _delete(pieces: Pieces, rng: random.Random, chance: float) -> None:
    """Words with the space before them; one always stays."""
    gone = [at for at in pieces.words if rng.random() < chance]
    if gone and len(gone) == len(pieces.words):
        gone.remove(rng.choice(gone))
    for at in gone:
        pieces.parts[at] = ""
        beside = at - 1 if at else at + 1
        if beside < len(pieces.parts) and pieces.parts[beside].isspace():
            pieces.parts[beside] = ""
    left = set(gone)
    pieces.words = [at for at in pieces.words if at not in left]


def _swap(pieces: Pieces, rng: random.Random, chance: float) -> None:
    alone = set(pieces.alone)
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


def _misspell(pieces: Pieces, rng: random.Random, chance: float) -> None:
    """One letter of a word; a letter that comes instead is one of the text's own, so that the
    script stays."""
    alone = set(pieces.alone)
    letters = "".join(pieces.parts[at] for at in pieces.words if at not in alone)
    for at in pieces.words:
        word = pieces.parts[at]
        if len(word) < _SHORTEST or rng.random() >= chance:
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


_OPERATIONS: Mapping[str, Callable[[Pieces, random.Random, float], None]] = {
    "delete": _delete,
    "swap": _swap,
    "noise": _misspell,
}
