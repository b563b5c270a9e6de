"""Options of the models for texts. Free of torch, so that `--help` stays fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from skipstone.errors import UsageError

Pooling = Literal["attention", "max"]


@dataclass(frozen=True, kw_only=True)
class TextCnnOptions:
    """Kim 2014: an embedding, convolutions of a few widths, the greatest response of each."""

    embedding: int = field(default=256, metadata={"help": "numbers that stand for a token"})
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
        problems = [
            f"{name} is {value}; allowed: 1 or more"
            for name, value in (("embedding", self.embedding), ("maps", self.maps))
            if value < 1
        ]
        if not self.kernels or min(self.kernels) < 1:
            problems.append(
                f"kernels is {self.kernels}; allowed: widths of 1 or more, such as 3,4,5"
            )
        problems += chance_problems(dropout=self.dropout, token_dropout=self.token_dropout)
        if problems:
            raise UsageError("; ".join(problems) + ".")


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
        problems = [
            f"{name} is {getattr(self, name)}; allowed: 1 or more"
            for name in ("embedding", "hidden", "layers")
            if getattr(self, name) < 1
        ]
        if self.pooling not in get_args(Pooling):
            problems.append(f"pooling is {self.pooling!r}; allowed: 'attention', 'max'")
        problems += chance_problems(dropout=self.dropout, token_dropout=self.token_dropout)
        if problems:
            raise UsageError("; ".join(problems) + ".")


@dataclass(frozen=True, kw_only=True)
class MeanOptions:
    """The mean of n-grams' vectors."""

    embedding: int = field(default=64, metadata={"help": "numbers that stand for an n-gram"})
    dropout: float = field(
        default=0.0, metadata={"help": "chance to drop a feature while training, in [0, 1)"}
    )

    def __post_init__(self) -> None:
        problems = [] if self.embedding >= 1 else [f"embedding is {self.embedding}; allowed: 1 up"]
        problems += chance_problems(dropout=self.dropout)
        if problems:
            raise UsageError("; ".join(problems) + ".")


def chance_problems(**chances: float) -> list[str]:
    """What is wrong with chances to drop something, a sentence each."""
    return [
        f"{name} is {value}; allowed: at least 0 and less than 1"
        for name, value in chances.items()
        if not 0 <= value < 1
    ]
