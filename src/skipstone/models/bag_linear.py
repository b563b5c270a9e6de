"""Linear models on bags of n-grams: one row of weights a feature, summed by the values in a text.

The parameters are found in closed form (`solve_...`), by scikit-learn or by `quick_logistic.py`;
what ships is an ordinary network that holds them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skipstone.models.backbone import Backbone
from skipstone.models.bag_options import LinearModelOptions, NaiveBayesOptions
from skipstone.models.quick_logistic import fit_quickly
from skipstone.models.solving import Problem, Solution

#: Multiplications of one pass over the data up to which scikit-learn's exact solver is asked.
EXACT = 30_000_000


class BagLinear(Backbone):
    """Features (N, F) int32 and values (N, F) -> one number a class (N, K).

    Feature 0 is padding: its row is zero. Summation is a matrix product, which all runtimes have.
    """

    classifier = "weight"

    def __init__(self, *, features: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Embedding(features, outputs, padding_idx=0)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.channels, self.strides = (outputs,), (1,)

    def forward(self, x: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:  # type: ignore[override]
        features, values = x
        rows = self.weight(features)  # (N, F, K)
        return (torch.bmm(values.unsqueeze(1), rows).squeeze(1) + self.bias,)

    def effects(self, matrix: Any, *, several: bool) -> np.ndarray:
        """(F,): how far each feature moves the answers over the texts of `matrix` (N, F): the sum
        of the squared changes of its outputs if the feature alone were gone, which in a linear
        model is (value * weight)^2. What moves all of exclusive classes alike moves none.

        Args:
            several: whether classes do not exclude each other.
        """
        weight = self.weight.weight.detach()[1:].double()  # (F, K); row 0 is padding
        if not several:
            weight = weight - weight.mean(dim=1, keepdim=True)
        squares = np.asarray(matrix.multiply(matrix).sum(axis=0), np.float64).ravel()
        return np.asarray(squares * weight.square().sum(dim=1).numpy())

    def stages(self) -> list[list[nn.Module]]:
        return [[self]]


def build_bag_linear(name: str, options: Any, *, in_channels: int, outputs: int = 2) -> BagLinear:
    """The network for `in_channels` features, padding included."""
    return BagLinear(features=in_channels, outputs=outputs)


def linear_solution(weights: np.ndarray, bias: np.ndarray) -> Solution:
    """weights (K, F) and bias (K,) as the state dict of `BagLinear`."""
    table = np.zeros((weights.shape[1] + 1, len(weights)), np.float32)
    table[1:] = weights.T
    return Solution(
        {"weight.weight": table, "bias": np.asarray(bias, np.float32)}, {"outputs": len(weights)}
    )


def solve_logistic(options: LinearModelOptions, problem: Problem) -> Solution:
    """L2-penalised logistic regression: multinomial for one label, one a label for several."""
    from sklearn.linear_model import LogisticRegression

    matrix, targets, classes = problem.matrix, problem.targets, problem.classes
    c = 30.0 if options.c is None else options.c
    if matrix.nnz * classes > EXACT:

        def quickly(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            many = y.shape[1] if y.ndim == 2 else classes
            return fit_quickly(matrix, y, classes=many, c=c, seed=problem.seed)

        if targets.ndim == 2:
            return _labels(quickly, matrix, targets)
        return linear_solution(*quickly(targets))

    def fit(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        model = LogisticRegression(C=c, max_iter=300, tol=1e-4)
        model.fit(matrix, y)
        return model.coef_, model.intercept_

    if targets.ndim == 2:
        return _each_label(fit, matrix, targets)
    return _spread(*fit(targets), np.unique(targets), classes)


def solve_svm(options: LinearModelOptions, problem: Problem) -> Solution:
    """Linear support vector machine, one class against the rest (Fan 2008, LIBLINEAR)."""
    from sklearn.svm import LinearSVC

    matrix, targets = problem.matrix, problem.targets

    def fit(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        model = LinearSVC(C=2.0 if options.c is None else options.c, random_state=problem.seed)
        model.fit(matrix, y)
        return model.coef_, model.intercept_

    if targets.ndim == 2:
        return _each_label(fit, matrix, targets)
    return _spread(*fit(targets), np.unique(targets), problem.classes)


def solve_naive_bayes(options: NaiveBayesOptions, problem: Problem) -> Solution:
    """Multinomial naive Bayes: linear in the values, with logs of smoothed shares as weights."""
    from sklearn.naive_bayes import MultinomialNB

    matrix, targets, classes = problem.matrix, problem.targets, problem.classes
    alpha = 0.1 if options.alpha is None else options.alpha
    if targets.ndim == 1:
        model = MultinomialNB(alpha=alpha).fit(matrix, targets)
        return _spread(model.feature_log_prob_, model.class_log_prior_, np.unique(targets), classes)

    def fit(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        model = MultinomialNB(alpha=alpha).fit(matrix, y)
        weights, prior = model.feature_log_prob_, model.class_log_prior_
        return weights[1:] - weights[:1], prior[1:] - prior[:1]

    return _each_label(fit, matrix, targets)


def solve_nbsvm(options: LinearModelOptions, problem: Problem) -> Solution:
    """Support vector machines on features scaled by their naive Bayes log-count ratio.

    Wang and Manning 2012, "Baselines and Bigrams", section 2.3, without their interpolation: the
    ratio of class k scales the features of its own machine, so both fold into one weight. Each kind
    of feature has a machine of its own, and their margins are summed: in one machine, letters, of
    which a text has many more, would drown its words.
    """
    from sklearn.svm import LinearSVC

    matrix, targets, classes = problem.matrix, problem.targets, problem.classes
    hot = targets if targets.ndim == 2 else np.eye(classes)[targets]
    weights, bias = np.zeros((classes, matrix.shape[1])), np.zeros(classes)
    parts = [matrix[:, kind].tocsr() for kind in problem.kinds]
    kinds = [
        (kind, part, (part > 0).astype(np.float64))
        for kind, part in zip(problem.kinds, parts, strict=True)
    ]
    for k in range(classes):
        own = hot[:, k] > 0
        if own.all() or not own.any():
            bias[k] = 1.0 if own.any() else -1.0
            continue
        if classes == 2 and targets.ndim == 1 and k == 0:
            continue  # the other class's machine, mirrored, says the same
        for kind, part, present in kinds:
            ratio = _log_count_ratio(present, own)
            model = LinearSVC(C=1.0 if options.c is None else options.c, random_state=problem.seed)
            model.fit(part.multiply(ratio[None, :]).tocsr(), own)
            weights[k, kind] = model.coef_[0] * ratio
            bias[k] += model.intercept_[0]
    return linear_solution(weights, bias)


def _log_count_ratio(binary: Any, own: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """log of (share of a feature among the class's) / (among the others'), smoothed."""
    inside = alpha + np.asarray(binary[own].sum(axis=0)).ravel()
    outside = alpha + np.asarray(binary[~own].sum(axis=0)).ravel()
    return np.asarray(np.log(inside / inside.sum()) - np.log(outside / outside.sum()))


def _spread(weights: np.ndarray, bias: np.ndarray, present: np.ndarray, classes: int) -> Solution:
    """scikit-learn's rows, one a class that it saw, as one a class; two classes share one row."""
    if len(present) == 2 and len(weights) == 1:
        weights, bias = np.vstack([0 * weights, weights]), np.append(0.0, bias)
    # A class without a sample is never the answer: below all others at any values from 0 on.
    every = np.repeat(weights.min(axis=0, keepdims=True), classes, axis=0)
    offsets = np.full(classes, bias.min() - 10.0)
    every[present], offsets[present] = weights, bias
    return linear_solution(every, offsets)


Fit = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def _each_label(fit: Fit, matrix: Any, targets: np.ndarray) -> Solution:
    """One model a label: `fit` gives weights (1, F) and bias (1,) of codes (N,)."""

    def one_by_one(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = [fit(own) for own in y.T]
        return np.concatenate([w for w, _ in found]), np.concatenate([b for _, b in found])

    return _labels(one_by_one, matrix, targets)


def _labels(fit: Fit, matrix: Any, targets: np.ndarray) -> Solution:
    """`fit` gives weights (K, F) and bias (K,) of labels 0 and 1 (N, K); one that all or no samples
    have is answered by the bias alone."""
    own = targets > 0
    varied = own.any(axis=0) & ~own.all(axis=0)
    bias = np.where(own.any(axis=0), 10.0, -10.0)
    weights = np.zeros((targets.shape[1], matrix.shape[1]), np.float32)
    if varied.any():
        weights[varied], bias[varied] = fit(own[:, varied].astype(np.int64))
    return linear_solution(weights, bias)
