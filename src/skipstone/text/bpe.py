"""Tokenizers of the `tokenizers` library: byte pairs trained on the training texts, or a pretrained
model's tokenizer.json.

Byte-pair encoding is that of Sennrich et al. 2016, "Neural Machine Translation of Rare Words with
Subword Units", arXiv:1508.07909, on bytes, so no text has unknown tokens. Either tokenizer is
stored as JSON in the input's arrays; nothing is pickled.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skipstone.core.disk import read_regular
from skipstone.core.errors import DamagedError, DataError, MissingExtra, UsageError
from skipstone.core.strict_json import parse_json

#: Most that the replacements of a tokenizer, one after another, may multiply the length of a text.
_MOST_GROWTH = 16


def train_bpe(texts: Sequence[str], *, max_tokens: int, min_count: int) -> np.ndarray:
    """Train a BPE tokenizer; its JSON as uint8.

    Args:
        max_tokens: tokens at max_tokens.
        min_count: how often a pair must occur to become a token.
    """
    tokenizers = _import_tokenizers()
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=max_tokens,
        min_frequency=max(2, min_count),
        show_progress=False,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return np.frombuffer(tokenizer.to_str().encode(), np.uint8).copy()


def read_tokenizer(file: Path) -> np.ndarray:
    """A tokenizer.json as uint8.

    Raises:
        UsageError: the file does not exist.
        DataError: it is not a tokenizer.json.
    """
    if not file.is_file():
        raise UsageError(
            f"the tokenizer {file} does not exist.",
            hint="Name a tokenizer.json of the library tokenizers.",
        )
    stored = np.frombuffer(read_regular(file), np.uint8).copy()
    try:
        BpeTokenizer(stored, max_length=1)
    except DamagedError as error:
        raise DataError(f"{file} is not a tokenizer.json: {error}") from None
    return stored


class BpeTokenizer:
    """A tokenizer restored from its JSON.

    Args:
        stored: the JSON as uint8.
        most: tokens per text, including special tokens; the rest is truncated.

    Raises:
        MissingExtra: the library is not installed.
        DamagedError: the JSON is not that of a tokenizer, or its replacements multiply texts.
    """

    def __init__(self, stored: np.ndarray, *, max_length: int) -> None:
        library = _import_tokenizers()
        _reject_growth(parse_json(stored.tobytes(), "the stored tokenizer"))
        with _errors_as_damage("be read"):
            self._tokenizer = library.Tokenizer.from_str(stored.tobytes().decode())
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(max_length)

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    @property
    def max_id(self) -> int:
        """The largest token id."""
        return max(self._tokenizer.get_vocab().values(), default=0)

    def encode_ids(self, text: str) -> np.ndarray:
        """int64 (L,): the token ids of a text, from 0."""
        return np.array(self._encode(text).ids, np.int64)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """How many texts are truncated."""
        return sum(bool(self._encode(text).overflowing) for text in texts)

    def _encode(self, text: str) -> Any:
        """DamagedError where the tokenizer has no id for a text, or its pattern takes too long."""
        with _errors_as_damage("encode a text"):
            return self._tokenizer.encode(text)


@contextlib.contextmanager
def _errors_as_damage(purpose: str) -> Iterator[None]:
    """The library raises plain Exception; its panics derive from BaseException alone."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DamagedError(f"the stored tokenizer cannot {purpose}: {error}") from None


def _reject_growth(tokenizer: Any) -> None:
    """DamagedError if a text may become much longer before it is split: a stranger's tokenizer
    could fill the memory with a word."""
    normalizer = tokenizer.get("normalizer") if isinstance(tokenizer, dict) else None
    growth = math.prod(max(1, len(content)) for content in _list_replacements(normalizer))
    if growth > _MOST_GROWTH:
        raise DamagedError(
            f"the stored tokenizer multiplies texts by up to {growth:,}; allowed: {_MOST_GROWTH}."
        )


def _list_replacements(normalizer: Any) -> Iterator[str]:
    """What the normalizer, and those in it, put in place of letters."""
    if isinstance(normalizer, list):
        for part in normalizer:
            yield from _list_replacements(part)
    elif isinstance(normalizer, dict):
        yield from (str(normalizer[name]) for name in ("content", "prepend") if name in normalizer)
        yield from _list_replacements(normalizer.get("normalizers"))


def _import_tokenizers() -> Any:
    try:
        import tokenizers
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise MissingExtra(
            "byte pairs and tokenizer.json files need the package tokenizers.",
            hint="In skipstone's source folder: pip install '.[text]'",
        ) from error
    return tokenizers
