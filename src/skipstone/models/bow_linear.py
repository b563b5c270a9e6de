"""Linear models on bags of n-grams: one row of weights per feature, summed by the text's values.

The parameters are fitted by scikit-learn or by AdaGrad (`solve_...`), then stored as the tensors of
an ordinary network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor, nn

from skipstone.models.backbone import Backbone, ClosedFormProblem, ClosedFormSolution
from skipstone.models.text_backbone_options import LinearModelOptions, NaiveBayesOptions

_BATCH = 256
_EPOCHS = 5
_RATE = 0.5


def fit_logistic_adagrad(
    matrix: Any,
    targets: np.ndarray,
    *,
    classes: int,
    c: float,
    seed: int,
    epochs: int = _EPOCHS,
    rate: float = _RATE,
) -> tuple[np.ndarray, np.ndarray]:
    """weights (K, F) and bias (K,) near the minimum of mean loss + |w|^2 / (2 c N), multinomial or
    multi-label, of large sparse data.

    Mini-batches with AdaGrad (Duchi et al. 2011), whose learning rate per weight suits rare features.
    Each step updates only the rows of the features in its batch.

    Args:
        matrix: scipy.sparse csr (N, F), rows of norm about 1.
        targets: int (N,) of exclusive classes (softmax cross-entropy); or 0 and 1 (N, K) (sum of K
            sigmoid cross-entropies), where each column has both values.
        c: inverse strength of the penalty, as in scikit-learn.
    """
    rows, features = matrix.shape
    weights = np.zeros((features, classes), np.float32)
    squares = np.full((features, 1), 1e-8, np.float32)
    bias = np.zeros(classes, np.float32)
    if targets.ndim == 2:  # start from the labels' frequencies, because most labels are rare
        share = targets.mean(axis=0)
        bias = np.log(share / (1 - share)).astype(np.float32)
    bias_square = np.full(classes, 1e-8, np.float32)
    decay = np.float32(1 / (c * rows))
    rng = np.random.default_rng(seed)
    matrix = matrix.tocsr().astype(np.float32)
    for epoch in range(epochs):
        step = np.float32(rate * (1 - epoch / epochs))
        order = rng.permutation(rows)
        for start in range(0, rows, _BATCH):
            chosen = order[start : start + _BATCH]
            batch = matrix[chosen]
            used, place = np.unique(batch.indices, return_inverse=True)
            small = type(batch)(
                (batch.data, place.astype(np.int32), batch.indptr), (len(chosen), len(used))
            )
            table = weights[used]  # (U, K)
            error = _logit_gradients(small @ table + bias, targets[chosen]) / np.float32(
                len(chosen)
            )
            gradient = small.T @ error + decay * table
            # one rate per feature, by the mean over classes: as good here, with less memory
            squares[used] += np.mean(gradient * gradient, axis=1, keepdims=True)
            weights[used] = table - step * gradient / np.sqrt(squares[used])
            slope = error.sum(axis=0)
            bias_square += slope * slope
            bias -= step * slope / np.sqrt(bias_square)
    return weights.T, bias


def _logit_gradients(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Gradient of each sample's loss with respect to its logits (N, K)."""
    if targets.ndim == 2:
        return np.asarray(expit(logits) - targets, np.float32)
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    share[np.arange(len(targets)), targets] -= 1
    return np.asarray(share)


#: Up to this many multiplications per pass over the data, scikit-learn's exact solver is used.
MAX_EXACT_OPERATIONS = 30_000_000


class BowLinear(Backbone):
    """Features (N, F) int32 and values (N, F) -> logits (N, K).

    Feature 0 is padding: its row is zero. Summation is a matrix product, which all runtimes have.
    """

    classifier_name = "weight"

    def __init__(self, *, features: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Embedding(features, outputs, padding_idx=0)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.channels, self.strides = (outputs,), (1,)

    def forward(self, x: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:  # type: ignore[override]
        features, values = x
        rows = self.weight(features)  # (N, F, K)
        return (torch.bmm(values.unsqueeze(1), rows).squeeze(1) + self.bias,)

    def feature_effects(self, matrix: Any, *, multi_label: bool) -> np.ndarray:
        """(F,): the effect of each feature on the predictions for the rows of `matrix` (N, F).

        That is the sum of the squared changes of the logits if the feature alone were removed:
        (value * weight)^2. With exclusive classes, what all classes have in common is subtracted.

        Args:
            multi_label: multi-label.
        """
        weight = self.weight.weight.detach()[1:].double()  # (F, K); row 0 is padding
        if not multi_label:
            weight = weight - weight.mean(dim=1, keepdim=True)
        squares = np.asarray(matrix.multiply(matrix).sum(axis=0), np.float64).ravel()
        return np.asarray(squares * weight.square().sum(dim=1).numpy())

    def stage_modules(self) -> list[list[nn.Module]]:
        return [[self]]


def build_bow_linear(name: str, options: Any, *, in_channels: int, outputs: int = 2) -> BowLinear:
    """The network for `in_channels` features, padding included."""
    return BowLinear(features=in_channels, outputs=outputs)


def linear_solution(weights: np.ndarray, bias: np.ndarray) -> ClosedFormSolution:
    """weights (K, F) and bias (K,) as the state dict of `BowLinear`."""
    table = np.zeros((weights.shape[1] + 1, len(weights)), np.float32)
    table[1:] = weights.T
    return ClosedFormSolution(
        {"weight.weight": table, "bias": np.asarray(bias, np.float32)}, {"outputs": len(weights)}
    )


def solve_logistic(options: LinearModelOptions, problem: ClosedFormProblem) -> ClosedFormSolution:
    """L2-penalised logistic regression: multinomial, or one model per label if multi-label."""
    from sklearn.linear_model import LogisticRegression

    matrix, targets, classes = problem.matrix, problem.targets, problem.classes
    c = 30.0 if options.svm_c is None else options.svm_c
    if matrix.nnz * classes > MAX_EXACT_OPERATIONS:

        def fit_large(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            outputs = y.shape[1] if y.ndim == 2 else classes
            return fit_logistic_adagrad(matrix, y, classes=outputs, c=c, seed=problem.seed)

        if targets.ndim == 2:
            return _fit_varied_labels(fit_large, matrix, targets)
        return linear_solution(*fit_large(targets))

    def fit(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        model = LogisticRegression(C=c, max_iter=300, tol=1e-4)
        model.fit(matrix, y)
        return model.coef_, model.intercept_

    if targets.ndim == 2:
        return _fit_each_label(fit, matrix, targets)
    return _expand_to_classes(*fit(targets), np.unique(targets), classes)


def solve_svm(options: LinearModelOptions, problem: ClosedFormProblem) -> ClosedFormSolution:
    """Linear support vector machine, one versus rest (Fan 2008, LIBLINEAR)."""
    from sklearn.svm import LinearSVC

    matrix, targets = problem.matrix, problem.targets

    def fit(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        model = LinearSVC(
            C=2.0 if options.svm_c is None else options.svm_c, random_state=problem.seed
        )
        model.fit(matrix, y)
        return model.coef_, model.intercept_

    if targets.ndim == 2:
        return _fit_each_label(fit, matrix, targets)
    return _expand_to_classes(*fit(targets), np.unique(targets), problem.classes)


def solve_naive_bayes(options: NaiveBayesOptions, problem: ClosedFormProblem) -> ClosedFormSolution:
    """Multinomial naive Bayes: linear in the values; weights are log smoothed frequencies."""
    from sklearn.naive_bayes import MultinomialNB

    matrix, targets, classes = problem.matrix, problem.targets, problem.classes
    alpha = 0.1 if options.alpha is None else options.alpha
    if targets.ndim == 1:
        return _count_frequencies(matrix, targets, classes, alpha)

    def fit(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        model = MultinomialNB(alpha=alpha).fit(matrix, y)
        weights, prior = model.feature_log_prob_, model.class_log_prior_
        return weights[1:] - weights[:1], prior[1:] - prior[:1]

    return _fit_each_label(fit, matrix, targets)


def _count_frequencies(
    matrix: Any, targets: np.ndarray, classes: int, alpha: float
) -> ClosedFormSolution:
    """As scikit-learn's MultinomialNB, a few classes at a time: with 10,000 classes its three tables
    in float64 take many times the memory of the model."""
    ordered = matrix.tocsr()[np.argsort(targets, kind="stable")]
    samples = np.bincount(targets, minlength=classes)
    ends = np.concatenate([[0], np.cumsum(samples)])
    table = np.zeros((matrix.shape[1] + 1, classes), np.float32)
    lowest = np.full(matrix.shape[1], np.inf)
    present = np.flatnonzero(samples)
    for block in np.array_split(present, -(-len(present) // _CLASSES_AT_A_TIME)):
        counts = np.vstack([ordered[ends[k] : ends[k + 1]].sum(axis=0) for k in block])
        logs = np.log(np.asarray(counts, np.float64) + alpha)
        logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
        np.minimum(lowest, logs.min(axis=0), out=lowest)
        table[1:, block] = logs.T
    bias = np.log(np.maximum(samples, 1) / samples.sum())
    absent = np.flatnonzero(samples == 0)
    if len(absent):  # never predicted, as in `_expand_to_classes`
        table[1:, absent] = lowest[:, None]
        bias[absent] = bias[present].min() - 10.0
    return ClosedFormSolution(
        {"weight.weight": table, "bias": bias.astype(np.float32)}, {"outputs": classes}
    )


def solve_nbsvm(options: LinearModelOptions, problem: ClosedFormProblem) -> ClosedFormSolution:
    """Support vector machines on features scaled by their naive Bayes log-count ratio.

    Wang and Manning 2012, "Baselines and Bigrams", section 2.3, without their interpolation. The
    ratio of class k scales the features of its machine, so both fold into one weight. Words and
    character n-grams have a machine each, and their margins are summed: in one machine the
    character n-grams, which are many more, would dominate.
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
        positive = hot[:, k] > 0
        if positive.all() or not positive.any():
            bias[k] = 1.0 if positive.any() else -1.0
            continue
        if classes == 2 and targets.ndim == 1 and k == 0:
            continue  # the mirror image of class 1's machine
        for kind, part, present in kinds:
            ratio = _log_count_ratio(present, positive)
            model = LinearSVC(
                C=1.0 if options.svm_c is None else options.svm_c, random_state=problem.seed
            )
            model.fit(part.multiply(ratio[None, :]).tocsr(), positive)
            weights[k, kind] = model.coef_[0] * ratio
            bias[k] += model.intercept_[0]
    return linear_solution(weights, bias)


def _log_count_ratio(binary: Any, positive: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """log(a feature's frequency in the class / its frequency in the other classes), smoothed."""
    inside = alpha + np.asarray(binary[positive].sum(axis=0)).ravel()
    outside = alpha + np.asarray(binary[~positive].sum(axis=0)).ravel()
    return np.asarray(np.log(inside / inside.sum()) - np.log(outside / outside.sum()))


def _expand_to_classes(
    weights: np.ndarray, bias: np.ndarray, present: np.ndarray, classes: int
) -> ClosedFormSolution:
    """One row per class from scikit-learn's, which has a row per class with training samples, and
    one row for two classes."""
    if len(present) == 2 and len(weights) == 1:
        weights, bias = np.vstack([0 * weights, weights]), np.append(0.0, bias)
    # A class without samples is never predicted: below all others at any values from 0 on.
    rows = np.repeat(weights.min(axis=0, keepdims=True), classes, axis=0)
    offsets = np.full(classes, bias.min() - 10.0)
    rows[present], offsets[present] = weights, bias
    return linear_solution(rows, offsets)


#: Classes whose frequencies are counted at a time, in float64.
_CLASSES_AT_A_TIME = 64
Fit = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def _fit_each_label(fit: Fit, matrix: Any, targets: np.ndarray) -> ClosedFormSolution:
    """One model per label: `fit` gives weights (1, F) and bias (1,) for codes (N,)."""

    def fit_one_by_one(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weights = np.empty((y.shape[1], matrix.shape[1]), np.float32)
        bias = np.empty(y.shape[1])
        for row, label in enumerate(y.T):
            weights[row], bias[row] = (value[0] for value in fit(label))
        return weights, bias

    return _fit_varied_labels(fit_one_by_one, matrix, targets)


def _fit_varied_labels(fit: Fit, matrix: Any, targets: np.ndarray) -> ClosedFormSolution:
    """`fit` gives weights (K, F) and bias (K,) for labels 0 and 1 (N, K). A label that all samples
    or none have gets a bias only."""
    positive = targets > 0
    varied = positive.any(axis=0) & ~positive.all(axis=0)
    bias = np.where(positive.any(axis=0), 10.0, -10.0)
    weights = np.zeros((targets.shape[1], matrix.shape[1]), np.float32)
    if varied.any():
        weights[varied], bias[varied] = fit(positive[:, varied].astype(np.int8))
    return linear_solution(weights, bias)
