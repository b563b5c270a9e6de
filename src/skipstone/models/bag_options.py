"""Options of the models that are found in closed form. Free of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from skipstone.errors import UsageError


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
        if self.c is not None and not 0 < self.c < math.inf:
            raise UsageError(f"c is {self.c}; allowed: a number above 0.")


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
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise UsageError(f"alpha is {self.alpha}; allowed: a number above 0.")


@dataclass(frozen=True, kw_only=True)
class ForestOptions:
    """A random forest."""

    trees: int = field(default=200, metadata={"help": "trees of the forest"})
    max_depth: int | None = field(
        default=None, metadata={"help": "deepest level of a tree; by default until leaves are pure"}
    )
    min_leaf: int = field(default=1, metadata={"help": "least training samples in a leaf"})

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}; allowed: 1 or more"
            for name, value in (
                ("trees", self.trees),
                ("max_depth", self.max_depth),
                ("min_leaf", self.min_leaf),
            )
            if value is not None and value < 1
        ]
        if problems:
            raise UsageError("; ".join(problems) + ".")
