"""Options of the models that are found in closed form. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from skipstone.option_types import POSITIVE, check_options, whole


@dataclass(frozen=True, kw_only=True)
class LinearModelOptions:
    """Linear on n-grams: logistic regression, support vector machine."""

    c: float | None = field(
        default=None,
        metadata={
            "help": "inverse strength of the L2 penalty, as in scikit-learn; by default a few "
            "values are tried, and the select part decides"
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
            "help": "added to each count (Lidstone smoothing); by default a few values are tried, "
            "and the select part decides"
        },
    )

    def __post_init__(self) -> None:
        check_options(self, alpha=POSITIVE)


@dataclass(frozen=True, kw_only=True)
class ForestOptions:
    """A random forest."""

    trees: int = field(default=200, metadata={"help": "trees of the forest"})
    max_depth: int | None = field(
        default=None, metadata={"help": "deepest level of a tree; by default until leaves are pure"}
    )
    min_leaf: int = field(default=1, metadata={"help": "least training samples in a leaf"})

    def __post_init__(self) -> None:
        check_options(self, trees=whole(1), max_depth=whole(1), min_leaf=whole(1))
