"""Options of the text models. Free of torch, so that ``--help`` stays fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skipstone.core.errors import UsageError
from skipstone.core.options import (
    POSITIVE,
    PROBABILITY,
    CheckedOptions,
    check_options,
    int_range,
    option,
)

Pooling = Literal["attention", "max"]
HfPooling = Literal["mean", "cls"]


@dataclass(frozen=True, kw_only=True)
class TextCnnOptions:
    """TextCNN (Kim 2014): an embedding, convolutions of several widths, max pooling over time."""

    embedding: int = option(128, range=int_range(1), help="size of a token's vector")
    maps: int = option(100, range=int_range(1), help="feature maps of each kernel width")
    kernels: tuple[int, ...] = option(
        (2, 3, 4), range=int_range(1), help="widths of the kernels, in tokens"
    )
    dropout: float = option(0.5, range=PROBABILITY, help="chance to drop a feature while training")

    token_dropout: float = option(
        0.1, range=PROBABILITY, help="chance to replace a token by the unknown one while training"
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernels", tuple(self.kernels))
        check_options(
            self, () if self.kernels else ["kernels is empty; allowed: widths such as 3,4,5"]
        )


@dataclass(frozen=True, kw_only=True)
class RecurrentOptions(CheckedOptions):
    """RNN, LSTM and GRU over word vectors."""

    embedding: int = option(128, range=int_range(1), help="size of a token's vector")
    hidden: int = option(128, range=int_range(1), help="size of the state of each direction")
    layers: int = option(1, range=int_range(1), help="stacked recurrent layers")
    bidirectional: bool = option(True, help="read the text in both directions")
    pooling: Pooling = option(
        "attention", help="pooling of a text's states: 'attention' (Yang 2016) or 'max'"
    )
    dropout: float = option(0.5, range=PROBABILITY, help="chance to drop a feature while training")
    token_dropout: float = option(
        0.1, range=PROBABILITY, help="chance to replace a token by the unknown one while training"
    )


@dataclass(frozen=True, kw_only=True)
class FastTextOptions(CheckedOptions):
    """fastText: the mean of the vectors of n-grams."""

    embedding: int = option(64, range=int_range(1), help="size of an n-gram's vector")
    dropout: float = option(0.0, range=PROBABILITY, help="chance to drop a feature while training")


@dataclass(frozen=True, kw_only=True)
class HfOptions(CheckedOptions):
    """Encoders of transformers."""

    token_pooling: HfPooling = option(
        "mean", help="pooling of a text's states: their 'mean', or the first token's ('cls')"
    )
    dropout: float = option(0.1, range=PROBABILITY, help="chance to drop a feature while training")


@dataclass(frozen=True, kw_only=True)
class LinearModelOptions(CheckedOptions):
    """Linear models on n-grams: logistic regression, support vector machine."""

    svm_c: float | None = option(
        None,
        range=POSITIVE,
        help="inverse strength of the L2 penalty, as in scikit-learn; default: a grid search on "
        "the validation rows",
    )


@dataclass(frozen=True, kw_only=True)
class NaiveBayesOptions(CheckedOptions):
    """Multinomial naive Bayes."""

    alpha: float | None = option(
        None,
        range=POSITIVE,
        help="added to each count (Lidstone smoothing); default: a grid search on the validation "
        "rows",
    )


@dataclass(frozen=True, kw_only=True)
class ForestOptions(CheckedOptions):
    """A random forest."""

    trees: int = option(200, range=int_range(1), help="number of trees of the forest")
    max_depth: int | None = option(
        None, range=int_range(1), help="greatest depth of a tree; default: until leaves are pure"
    )
    min_leaf: int = option(1, range=int_range(1), help="fewest training samples in a leaf")


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
