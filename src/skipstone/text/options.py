"""Options of the input `text`. Free of torch, so that ``--help`` stays fast."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from skipstone.core.options import check_options, whole

Form = Literal["auto", "tokens", "bag"]
Split = Literal["word", "char", "bpe"]
Weighting = Literal["tfidf", "binary", "counts"]

_RANGE = re.compile(r"(\d+)-(\d+)")
_LONGEST = 12
#: Default table size of subwords, 2^14: some 16,000 vectors.
_BITS = 14


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """How a text becomes the arrays that a network gets.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    form: Form = field(
        default="auto",
        metadata={
            "help": "'tokens' is the sequence of words, 'bag' the weighted set of n-grams; 'auto' "
            "is the form that the model takes"
        },
    )
    split: Split = field(
        default="word",
        metadata={
            "help": "tokens: 'word' and signs, 'char' each letter, 'bpe' byte pairs trained on the "
            "training texts (Sennrich 2016)",
            "only": {"form": "tokens"},
        },
    )
    tokenizer: str = field(
        default="",
        metadata={
            "help": "tokens: a tokenizer.json of the library tokenizers, instead of --split",
            "only": {"form": "tokens"},
        },
    )
    vocabulary: int = field(
        default=50_000,
        metadata={
            "help": "tokens: size of the vocabulary, the commonest tokens",
            "only": {"form": "tokens"},
        },
    )
    features: int = field(
        default=1_000_000,
        metadata={
            "help": "bag: size of the vocabulary, the commonest n-grams of each kind",
            "only": {"form": "bag"},
        },
    )
    min_count: int = field(
        default=1,
        metadata={"help": "training texts that a token or n-gram of the vocabulary occurs in"},
    )
    subwords: str = field(
        default="none",
        metadata={
            "help": "tokens: add to a word's vector those of its character n-grams of these "
            "lengths, such as 3-5, and of its capitalisation (Bojanowski 2017); 'auto' is 3-5 if "
            "tokens are words; or 'none'",
            "only": {"form": "tokens"},
        },
    )
    subword_bits: int = field(
        default=_BITS,
        metadata={
            "help": "tokens: subwords share 2^n vectors, by their hash",
            "only": {"form": "tokens"},
        },
    )
    max_length: int = field(
        default=512,
        metadata={
            "help": "tokens of a text that a sequence model reads; the rest is truncated",
            "only": {"form": "tokens"},
        },
    )
    word_ngrams: str = field(
        default="auto",
        metadata={
            "help": "bag: word n-grams of these lengths, such as 1-3, or 'none'",
            "only": {"form": "bag"},
        },
    )
    char_ngrams: str = field(
        default="auto",
        metadata={
            "help": "bag: character n-grams of these lengths, such as 2-6, or 'none'",
            "only": {"form": "bag"},
        },
    )
    skip_grams: int = field(
        default=0,
        metadata={
            "help": "bag: pairs of words with up to this many words between them; a text's "
            "beginning and end count as words (Guthrie 2006); 0 is off",
            "only": {"form": "bag"},
        },
    )
    opening_words: int = field(
        default=0,
        metadata={
            "help": "bag: each word paired with the first word of its text, the first two, ... up "
            "to this many: for questions, which differ in how they begin; 0 is off",
            "only": {"form": "bag"},
        },
    )
    hash_bits: int = field(
        default=0,
        metadata={
            "help": "bag: 2^n hashed n-grams of each kind instead of a vocabulary; 0 is off",
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
    lowercase: bool = field(default=True, metadata={"help": "convert texts to lowercase"})

    def __post_init__(self) -> None:
        problems = []
        if self.tokenizer and self.split != "word":
            problems.append(f"split is {self.split!r}, but the tokenizer replaces it")
        if self.subwords != "auto" and parse_range(self.subwords) is None:
            problems.append(
                f"subwords is {self.subwords!r}; allowed: 'auto', 'none', or a range up to "
                f"{_LONGEST} such as 3-5"
            )
        elif self.subword_range[1] and (self.tokenizer or self.split != "word"):
            splitter = "a tokenizer" if self.tokenizer else f"split {self.split!r}"
            problems.append(f"subwords is {self.subwords!r} with {splitter}; they need whole words")
        if self.subword_bits != _BITS and not self.subword_range[1]:
            problems.append("subword_bits has no effect without subwords, such as 3-5")
        if self.hash_bits and not 4 <= self.hash_bits <= 26:
            problems.append(f"hash_bits is {self.hash_bits}; allowed: 0, or 4 to 26")
        for name in ("word_ngrams", "char_ngrams"):
            if getattr(self, name) != "auto" and parse_range(getattr(self, name)) is None:
                problems.append(
                    f"{name} is {getattr(self, name)!r}; allowed: 'auto', 'none', or a range up "
                    f"to {_LONGEST} such as 1-3"
                )
        has_ngrams = {self.word_ngrams, self.char_ngrams} != {"none"}
        if not (has_ngrams or self.skip_grams or self.opening_words):
            problems.append("word_ngrams and char_ngrams are both 'none', so a bag has no features")
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
    def subword_range(self) -> tuple[int, int]:
        """(shortest, longest) subword; (0, 0) without subwords."""
        if self.subwords == "auto":
            return (3, 5) if self.split == "word" and not self.tokenizer else (0, 0)
        return parse_range(self.subwords) or (0, 0)


def parse_range(text: str) -> tuple[int, int] | None:
    """ "1-3" as (1, 3); "none" as (0, 0); None if invalid."""
    if text == "none":
        return 0, 0
    match = _RANGE.fullmatch(text)
    low, high = (int(match[1]), int(match[2])) if match else (0, 0)
    return (low, high) if 1 <= low <= high <= _LONGEST else None
