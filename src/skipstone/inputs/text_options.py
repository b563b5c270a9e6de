"""Options of the input `text`. Free of torch, so that ``--help`` stays fast."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from skipstone.option_types import check_options, whole

Form = Literal["auto", "tokens", "bag"]
Split = Literal["word", "char", "bpe"]
Weighting = Literal["tfidf", "binary", "counts"]

_RANGE = re.compile(r"(\d+)-(\d+)")
_LONGEST = 12
#: Of the table that parts of words share: some 16,000 vectors.
_BITS = 14


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """How a text becomes what a network sees.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    form: Form = field(
        default="auto",
        metadata={
            "help": "'tokens' is the sequence of words, 'bag' the weighted set of n-grams; 'auto' "
            "is what the model takes"
        },
    )
    split: Split = field(
        default="word",
        metadata={
            "help": "tokens: 'word' and signs, 'char' each letter, 'bpe' byte pairs learnt from "
            "the training texts (Sennrich 2016)",
            "only": {"form": "tokens"},
        },
    )
    tokenizer: str = field(
        default="",
        metadata={
            "help": "tokens: a tokenizer.json of the library tokenizers that cuts texts, instead "
            "of --split",
            "only": {"form": "tokens"},
        },
    )
    vocabulary: int = field(
        default=50_000,
        metadata={
            "help": "tokens: the commonest so many are known",
            "only": {"form": "tokens"},
        },
    )
    features: int = field(
        default=1_000_000,
        metadata={
            "help": "bag: the commonest so many n-grams of a kind are known",
            "only": {"form": "bag"},
        },
    )
    min_count: int = field(
        default=1,
        metadata={"help": "training texts that a token or n-gram has to occur in to be known"},
    )
    subwords: str = field(
        default="none",
        metadata={
            "help": "tokens: runs of so many of a word's letters, such as 3-5, and its capitals, "
            "have vectors of their own, and a word their sum beside its own (Bojanowski 2017); "
            "'auto' is 3-5 where tokens are words; 'none' for none",
            "only": {"form": "tokens"},
        },
    )
    subword_bits: int = field(
        default=_BITS,
        metadata={
            "help": "tokens: parts of words share 2^n vectors, by their hash",
            "only": {"form": "tokens"},
        },
    )
    max_length: int = field(
        default=512,
        metadata={
            "help": "tokens of a text that a sequence model reads",
            "only": {"form": "tokens"},
        },
    )
    word_ngrams: str = field(
        default="auto",
        metadata={
            "help": "bag: runs of words, such as 1-3; 'none' for no words",
            "only": {"form": "bag"},
        },
    )
    char_ngrams: str = field(
        default="auto",
        metadata={"help": "bag: runs of letters, such as 2-6, or 'none'", "only": {"form": "bag"}},
    )
    skip_grams: int = field(
        default=0,
        metadata={
            "help": "bag: pairs of words with 1 to so many words between them, where a text's "
            "beginning and end count as words (Guthrie 2006); 0 is off",
            "only": {"form": "bag"},
        },
    )
    opening_words: int = field(
        default=0,
        metadata={
            "help": "bag: each word paired with the first word of its text, the first two, ... up "
            "to so many: for questions, whose kind shows in how they begin; 0 is off",
            "only": {"form": "bag"},
        },
    )
    hash_bits: int = field(
        default=0,
        metadata={
            "help": "bag: 2^n hashed n-grams of a kind instead of a vocabulary; 0 is off",
            "only": {"form": "bag"},
        },
    )
    weighting: Weighting = field(
        default="tfidf",
        metadata={
            "help": "bag: 'tfidf', 'binary' or 'counts'; each text is scaled to length 1",
            "only": {"form": "bag"},
        },
    )
    lowercase: bool = field(default=True, metadata={"help": "take capitals as small letters"})

    def __post_init__(self) -> None:
        problems = []
        if self.tokenizer and self.split != "word":
            problems.append(f"split is {self.split!r} beside a tokenizer, which cuts texts itself")
        if self.subwords != "auto" and parse_range(self.subwords) is None:
            problems.append(
                f"subwords is {self.subwords!r}; allowed: 'auto', 'none', or a range up to "
                f"{_LONGEST} such as 3-5"
            )
        elif self.parts[1] and (self.tokenizer or self.split != "word"):
            cut = "a tokenizer" if self.tokenizer else f"split {self.split!r}"
            problems.append(f"subwords is {self.subwords!r} beside {cut}: only words have parts")
        if self.subword_bits != _BITS and not self.parts[1]:
            problems.append("subword_bits changes nothing without subwords, such as 3-5")
        if self.hash_bits and not 4 <= self.hash_bits <= 26:
            problems.append(f"hash_bits is {self.hash_bits}; allowed: 0, or 4 to 26")
        for name in ("word_ngrams", "char_ngrams"):
            if getattr(self, name) != "auto" and parse_range(getattr(self, name)) is None:
                problems.append(
                    f"{name} is {getattr(self, name)!r}; allowed: 'auto', 'none', or a range up "
                    f"to {_LONGEST} such as 1-3"
                )
        runs = {self.word_ngrams, self.char_ngrams} != {"none"}
        if not (runs or self.skip_grams or self.opening_words):
            problems.append("word_ngrams and char_ngrams are both 'none', which leaves nothing")
        check_options(
            self,
            problems,
            vocabulary=whole(1, 1 << 26),
            features=whole(1, 1 << 26),
            min_count=whole(1, 1 << 31),
            max_length=whole(1, 1 << 20),
            subword_bits=whole(4, 26),
            skip_grams=whole(0, _LONGEST),
            opening_words=whole(0, _LONGEST),
        )

    @property
    def parts(self) -> tuple[int, int]:
        """Lengths of the shortest and the longest part of a word; (0, 0) for none."""
        if self.subwords == "auto":
            return (3, 5) if self.split == "word" and not self.tokenizer else (0, 0)
        return parse_range(self.subwords) or (0, 0)


def parse_range(text: str) -> tuple[int, int] | None:
    """ "1-3" as (1, 3); "none" as (0, 0); None for what is neither."""
    if text == "none":
        return 0, 0
    found = _RANGE.fullmatch(text)
    low, high = (int(found[1]), int(found[2])) if found else (0, 0)
    return (low, high) if 1 <= low <= high <= _LONGEST else None
