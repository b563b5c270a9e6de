"""Options of the input `text`. Free of torch, so that ``--help`` stays fast."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from skipstone.core.options import check_options, int_range, option

TextFeatures = Literal["auto", "tokens", "bag"]
TokenLevel = Literal["word", "char", "bpe"]
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

    text_features: TextFeatures = option(
        "auto",
        help="'tokens' is the sequence of words, 'bag' the weighted set of n-grams; 'auto' is what "
        "the model takes",
    )
    token_level: TokenLevel = option(
        "word",
        requires={"text_features": "tokens"},
        help="tokens: 'word' and signs, 'char' each letter, 'bpe' byte pairs trained on the "
        "training texts (Sennrich 2016)",
    )
    tokenizer: str = option(
        "",
        requires={"text_features": "tokens"},
        help="tokens: a tokenizer.json of the library tokenizers, instead of --token-level",
    )
    vocabulary: int = option(
        50_000,
        range=int_range(1, 1 << 26),
        requires={"text_features": "tokens"},
        help="tokens: size of the vocabulary, the commonest tokens",
    )
    max_features: int = option(
        1_000_000,
        range=int_range(1, 1 << 26),
        requires={"text_features": "bag"},
        help="bag: size of the vocabulary, the commonest n-grams of each kind",
    )
    min_count: int = option(
        1,
        range=int_range(1, 1 << 31),
        help="training texts that a token or n-gram of the vocabulary occurs in",
    )
    subwords: str = option(
        "none",
        requires={"text_features": "tokens"},
        help="tokens: add to a word's vector those of its character n-grams of these lengths, "
        "such as 3-5, and of its capitalisation (Bojanowski 2017); 'auto' is 3-5 if tokens are "
        "words; or 'none'",
    )
    subword_bits: int = option(
        _BITS,
        range=int_range(4, 26),
        requires={"text_features": "tokens"},
        help="tokens: subwords share 2^n vectors, by their hash",
    )
    max_length: int = option(
        512,
        range=int_range(1, 1 << 20),
        requires={"text_features": "tokens"},
        help="tokens of a text that a sequence model reads; the rest is truncated",
    )
    word_ngrams: str = option(
        "auto",
        requires={"text_features": "bag"},
        help="bag: word n-grams of these lengths, such as 1-3, or 'none'",
    )
    char_ngrams: str = option(
        "auto",
        requires={"text_features": "bag"},
        help="bag: character n-grams of these lengths, such as 2-6, or 'none'",
    )
    skip_grams: int = option(
        0,
        range=int_range(0, _LONGEST),
        requires={"text_features": "bag"},
        help="bag: pairs of words with up to this many words between them; a text's beginning and "
        "end count as words (Guthrie 2006); 0 is off",
    )
    opening_words: int = option(
        0,
        range=int_range(0, _LONGEST),
        requires={"text_features": "bag"},
        help="bag: each word paired with the first word of its text, the first two, ... up to "
        "this many: for questions, which differ in how they begin; 0 is off",
    )
    hash_bits: int = option(
        0,
        choices=(0,),
        range=int_range(4, 26),
        requires={"text_features": "bag"},
        help="bag: 2^n hashed n-grams of each kind instead of a vocabulary; 0 is off",
    )
    weighting: Weighting = option(
        "tfidf",
        requires={"text_features": "bag"},
        help="bag: 'tfidf', 'binary' or 'counts'; each text is scaled to length 1",
    )
    lowercase: bool = option(True, help="convert texts to lowercase")

    def __post_init__(self) -> None:
        problems = []
        if self.tokenizer and self.token_level != "word":
            problems.append(f"token_level is {self.token_level!r}, but the tokenizer replaces it")
        if self.subwords != "auto" and parse_range(self.subwords) is None:
            problems.append(
                f"subwords is {self.subwords!r}; allowed: 'auto', 'none', or a range up to "
                f"{_LONGEST} such as 3-5"
            )
        elif self.subword_range[1] and (self.tokenizer or self.token_level != "word"):
            splitter = "a tokenizer" if self.tokenizer else f"token_level {self.token_level!r}"
            problems.append(f"subwords is {self.subwords!r} with {splitter}; they need whole words")
        if self.subword_bits != _BITS and not self.subword_range[1]:
            problems.append("subword_bits has no effect without subwords, such as 3-5")
        for name in ("word_ngrams", "char_ngrams"):
            if getattr(self, name) != "auto" and parse_range(getattr(self, name)) is None:
                problems.append(
                    f"{name} is {getattr(self, name)!r}; allowed: 'auto', 'none', or a range up "
                    f"to {_LONGEST} such as 1-3"
                )
        has_ngrams = {self.word_ngrams, self.char_ngrams} != {"none"}
        if not (has_ngrams or self.skip_grams or self.opening_words):
            problems.append("word_ngrams and char_ngrams are both 'none', so a bag has no features")
        check_options(self, problems)

    @property
    def subword_range(self) -> tuple[int, int]:
        """(shortest, longest) subword; (0, 0) without subwords."""
        if self.subwords == "auto":
            return (3, 5) if self.token_level == "word" and not self.tokenizer else (0, 0)
        return parse_range(self.subwords) or (0, 0)


def parse_range(text: str) -> tuple[int, int] | None:
    """ "1-3" as (1, 3); "none" as (0, 0); None if invalid."""
    if text == "none":
        return 0, 0
    match = _RANGE.fullmatch(text)
    low, high = (int(match[1]), int(match[2])) if match else (0, 0)
    return (low, high) if 1 <= low <= high <= _LONGEST else None
