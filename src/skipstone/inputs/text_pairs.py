"""Tokenisers of the `tokenizers` library: byte pairs learnt from the training texts, or one that
came with a model, as a tokenizer.json.

Byte pairs are those of Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword
Units", arXiv:1508.07909, on bytes, so that no text holds anything unknown. Either is stored as its
own JSON in the input's arrays and read back from there; nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skipstone.errors import DamagedError, DataError, MissingExtra, UsageError


def learn_pairs(texts: Sequence[str], *, most: int, least: int) -> np.ndarray:
    """The JSON of a tokeniser of up to `most` tokens, as uint8.

    Args:
        least: how often a pair occurs before it becomes a token.
    """
    tokenizers = _library()
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=most,
        min_frequency=max(2, least),
        show_progress=False,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
    )
    made.train_from_iterator(texts, trainer)
    return np.frombuffer(made.to_str().encode(), np.uint8).copy()


def read_tokenizer(file: Path) -> np.ndarray:
    """A tokenizer.json as uint8. UsageError where there is none; DataError where it is none."""
    if not file.is_file():
        raise UsageError(
            f"there is no tokenizer {file}.", hint="It is a file of the library tokenizers."
        )
    stored = np.frombuffer(file.read_bytes(), np.uint8).copy()
    try:
        Pairs(stored, most=1)
    except DamagedError as error:
        raise DataError(f"{file} is no tokenizer.json: {error}") from None
    return stored


class Pairs:
    """A tokeniser read back from its JSON.

    Args:
        most: tokens of a text, the marks that it puts at its ends included; the rest is cut off.

    Raises:
        MissingExtra: the library is not installed.
        DamagedError: it is no tokeniser.
    """

    def __init__(self, stored: np.ndarray, *, most: int) -> None:
        try:
            self._tokenizer = _library().Tokenizer.from_str(stored.tobytes().decode())
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(most)
        except MissingExtra:
            raise
        except Exception as error:  # the library raises plain Exception
            raise DamagedError(f"the stored tokeniser cannot be read: {error}") from None

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    @property
    def largest(self) -> int:
        """The largest id that it may give."""
        return max(self._tokenizer.get_vocab().values(), default=0)

    def ids(self, text: str) -> np.ndarray:
        """int64 (L,), from 0."""
        return np.array(self._tokenizer.encode(text).ids, np.int64)

    def cut(self, texts: Sequence[str]) -> int:
        """How many texts are cut off."""
        return sum(bool(self._tokenizer.encode(text).overflowing) for text in texts)


def _library() -> Any:
    try:
        import tokenizers
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise MissingExtra(
            "byte pairs and tokenizer.json files need the package tokenizers.",
            hint="pip install 'skipstone[text]'",
        ) from error
    return tokenizers
