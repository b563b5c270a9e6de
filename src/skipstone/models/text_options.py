"""Options of the models for texts. Free of torch, so that `--help` stays fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from skipstone.option_types import CHANCE, check_options, whole

Pooling = Literal["attention", "max"]


@dataclass(frozen=True, kw_only=True)
class TextCnnOptions:
    """Kim 2014: an embedding, convolutions of a few widths, the greatest response of each."""

    embedding: int = field(default=128, metadata={"help": "numbers that stand for a token"})
    maps: int = field(default=100, metadata={"help": "feature maps of each kernel width"})
    kernels: tuple[int, ...] = field(
        default=(2, 3, 4), metadata={"help": "widths of the kernels, in tokens"}
    )
    dropout: float = field(
        default=0.5, metadata={"help": "chance to drop a feature while training, in [0, 1)"}
    )

    token_dropout: float = field(
        default=0.1,
        metadata={"help": "chance to hide a token while training, as one never seen, in [0, 1)"},
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernels", tuple(self.kernels))
        check_options(
            self,
            () if self.kernels else ["kernels is empty; allowed: widths such as 3,4,5"],
            embedding=whole(1),
            maps=whole(1),
            kernels=whole(1),
            dropout=CHANCE,
            token_dropout=CHANCE,
        )


@dataclass(frozen=True, kw_only=True)
class RecurrentOptions:
    """RNN, LSTM and GRU over word vectors."""

    embedding: int = field(default=128, metadata={"help": "numbers that stand for a token"})
    hidden: int = field(default=128, metadata={"help": "numbers in a state, each direction"})
    layers: int = field(default=1, metadata={"help": "recurrent layers on each other"})
    bidirectional: bool = field(
        default=True, metadata={"help": "read from both ends, not only from the first word"}
    )
    pooling: Pooling = field(
        default="attention",
        metadata={"help": "states of a text by 'attention' (Yang 2016), or the greatest ('max')"},
    )
    dropout: float = field(
        default=0.5, metadata={"help": "chance to drop a feature while training, in [0, 1)"}
    )
    token_dropout: float = field(
        default=0.1,
        metadata={"help": "chance to hide a token while training, as one never seen, in [0, 1)"},
    )

    def __post_init__(self) -> None:
        check_options(
            self,
            embedding=whole(1),
            hidden=whole(1),
            layers=whole(1),
            dropout=CHANCE,
            token_dropout=CHANCE,
        )


@dataclass(frozen=True, kw_only=True)
class MeanOptions:
    """The mean of n-grams' vectors."""

    embedding: int = field(default=64, metadata={"help": "numbers that stand for an n-gram"})
    dropout: float = field(
        default=0.0, metadata={"help": "chance to drop a feature while training, in [0, 1)"}
    )

    def __post_init__(self) -> None:
        check_options(self, embedding=whole(1), dropout=CHANCE)
