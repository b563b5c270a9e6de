"""Options of pretrained word vectors. Free of torch, so that ``--help`` stays fast."""

from __future__ import annotations

from dataclasses import dataclass

from skipstone.core.errors import UsageError
from skipstone.core.options import option


@dataclass(frozen=True, kw_only=True)
class VectorOptions:
    """Pretrained word vectors.

    Raises:
        UsageError: frozen vectors without a file.
    """

    vectors: str | None = option(
        None,
        metavar="FILE",
        help="texts: initialise the embedding from a file of word vectors: GloVe, word2vec (text "
        "or binary), fastText (.vec or .bin), plain or compressed with gzip",
    )
    freeze_vectors: bool = option(False, help="do not train those vectors")

    def __post_init__(self) -> None:
        if self.freeze_vectors and self.vectors is None:
            raise UsageError(
                "--freeze-vectors needs --vectors.", hint="Give a file: --vectors FILE"
            )
