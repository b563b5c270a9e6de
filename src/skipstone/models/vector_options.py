"""Options of word vectors from a file. Free of torch, so that `--help` stays fast."""

from __future__ import annotations

from dataclasses import dataclass, field

from skipstone.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class VectorOptions:
    """Word vectors to start with.

    Raises:
        UsageError: there is nothing to freeze.
    """

    vectors: str | None = field(
        default=None,
        metadata={
            "metavar": "FILE",
            "help": "texts: start with the word vectors of a file: GloVe, word2vec (text or "
            "binary), fastText (.vec or .bin), as it is or packed with gzip",
        },
    )
    freeze_vectors: bool = field(
        default=False, metadata={"help": "keep those vectors as they are; only the rest learns"}
    )

    def __post_init__(self) -> None:
        if self.freeze_vectors and self.vectors is None:
            raise UsageError(
                "--freeze-vectors needs vectors to freeze.", hint="Name them: --vectors FILE"
            )
