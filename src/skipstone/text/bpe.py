"""Tokenizers of the `tokenizers` library: byte pairs trained on the training texts, or a pretrained
model's tokenizer.json.

Byte-pair encoding is that of Sennrich et al. 2016, "Neural Machine Translation of Rare Words with
Subword Units", arXiv:1508.07909, on bytes, so no text has unknown tokens. Either tokenizer is
stored as JSON in the input's arrays; nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skipstone.core.disk import read_regular
from skipstone.core.errors import DamagedError, DataError, MissingExtra, UsageError


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
        DamagedError: the JSON is not that of a tokenizer.
    """

    def __init__(self, stored: np.ndarray, *, max_length: int) -> None:
        try:
            self._tokenizer = _import_tokenizers().Tokenizer.from_str(stored.tobytes().decode())
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(max_length)
        except MissingExtra:
            raise
        except Exception as error:  # the library raises plain Exception
            raise DamagedError(f"the stored tokenizer cannot be read: {error}") from None

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    @property
    def max_id(self) -> int:
        """The largest token id."""
        return max(self._tokenizer.get_vocab().values(), default=0)

    def encode_ids(self, text: str) -> np.ndarray:
        """int64 (L,): the token ids of a text, from 0."""
        return np.array(self._tokenizer.encode(text).ids, np.int64)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """How many texts are truncated."""
        return sum(bool(self._tokenizer.encode(text).overflowing) for text in texts)


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
