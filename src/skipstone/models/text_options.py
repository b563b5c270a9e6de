"""Options of the text models. Free of torch, so that ``--help`` stays fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from skipstone.option_types import CHANCE, POSITIVE, check_options, whole

Pooling = Literal["attention", "max"]
HfPooling = Literal["mean", "cls"]


@dataclass(frozen=True, kw_only=True)
class TextCnnOptions:
    """TextCNN (Kim 2014): an embedding, convolutions of several widths, max pooling over time."""

    embedding: int = field(default=128, metadata={"help": "size of a token's vector"})
    maps: int = field(default=100, metadata={"help": "feature maps of each kernel width"})
    kernels: tuple[int, ...] = field(
        default=(2, 3, 4), metadata={"help": "widths of the kernels, in tokens"}
    )
    dropout: float = field(
        default=0.5, metadata={"help": "chance to drop a feature while training, in [0, 1)"}
    )

    token_dropout: float = field(
        default=0.1,
        metadata={"help": "chance to replace a token by the unknown one while training, in [0, 1)"},
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

    embedding: int = field(default=128, metadata={"help": "size of a token's vector"})
    hidden: int = field(default=128, metadata={"help": "size of the state of each direction"})
    layers: int = field(default=1, metadata={"help": "stacked recurrent layers"})
    bidirectional: bool = field(default=True, metadata={"help": "read the text in both directions"})
    pooling: Pooling = field(
        default="attention",
        metadata={"help": "pooling of a text's states: 'attention' (Yang 2016) or 'max'"},
    )
    dropout: float = field(
        default=0.5, metadata={"help": "chance to drop a feature while training, in [0, 1)"}
    )
    token_dropout: float = field(
        default=0.1,
        metadata={"help": "chance to replace a token by the unknown one while training, in [0, 1)"},
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
class FastTextOptions:
    """fastText: the mean of the vectors of n-grams."""

    embedding: int = field(default=64, metadata={"help": "size of an n-gram's vector"})
    dropout: float = field(
        default=0.0, metadata={"help": "chance to drop a feature while training, in [0, 1)"}
    )

    def __post_init__(self) -> None:
        check_options(self, embedding=whole(1), dropout=CHANCE)


@dataclass(frozen=True, kw_only=True)
class HfOptions:
    """Encoders of transformers."""

    token_pooling: HfPooling = field(
        default="mean",
        metadata={"help": "pooling of a text's states: their 'mean', or the first token's ('cls')"},
    )
    dropout: float = field(
        default=0.1, metadata={"help": "chance to drop a feature while training, in [0, 1)"}
    )

    def __post_init__(self) -> None:
        check_options(self, dropout=CHANCE)


@dataclass(frozen=True, kw_only=True)
class LinearModelOptions:
    """Linear models on n-grams: logistic regression, support vector machine."""

    c: float | None = field(
        default=None,
        metadata={
            "help": "inverse strength of the L2 penalty, as in scikit-learn; default: a grid "
            "search on the validation rows"
        },
    )

    def __post_init__(self) -> None:
        check_options(self, c=POSITIVE)


@dataclass(frozen=True, kw_only=True)
class NaiveBayesOptions:
    """Multinomial naive Bayes."""

    alpha: float | None = field(
        default=None,
        metadata={
            "help": "added to each count (Lidstone smoothing); default: a grid search on "
            "the validation rows"
        },
    )

    def __post_init__(self) -> None:
        check_options(self, alpha=POSITIVE)


@dataclass(frozen=True, kw_only=True)
class ForestOptions:
    """A random forest."""

    trees: int = field(default=200, metadata={"help": "number of trees of the forest"})
    max_depth: int | None = field(
        default=None, metadata={"help": "greatest depth of a tree; default: until leaves are pure"}
    )
    min_leaf: int = field(default=1, metadata={"help": "fewest training samples in a leaf"})

    def __post_init__(self) -> None:
        check_options(self, trees=whole(1), max_depth=whole(1), min_leaf=whole(1))
