"""Label issues: labels that out-of-fold predictions contradict.

Confident learning: Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset
Labels" (JAIR 2021), section 3. Each class has a threshold, the mean confidence in it among the rows
that have it. Of the classes whose threshold a row reaches, the most confident one is its class; if
that is not its label, the label is an issue. Issues are ranked by the margin between the two.

The predictions are those of a logistic regression on a network's pooled features (on n-grams if the
model was solved on those), fitted in folds without the rows that it predicts. Near duplicates share
a fold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from skipstone.core import events

Array = np.ndarray

FOLDS = 5
#: Classes with fewer rows are ignored: two folds need to have each class.
MIN_CLASS_ROWS = 10
#: Inverse strength of the penalty for features that are counted n-grams.
_C = 10.0


@dataclass(frozen=True)
class LabelIssue:
    """A row whose label is probably wrong. `margin`: how much more probable `predicted` is."""

    row: int
    label: str
    predicted: str
    probability: float
    margin: float

    def at_row(self, row: int) -> LabelIssue:
        """This issue at another row number."""
        return replace(self, row=row)

    @property
    def description(self) -> str:
        return (
            f"labelled {self.label}, looks like {self.predicted} ({100 * self.probability:.0f} %)"
        )


def find_label_issues(
    features: Any, labels: Sequence[str], groups: Sequence[Sequence[int]], *, seed: int = 0
) -> list[LabelIssue]:
    """Label issues, worst first; `row` is a position in `labels`.

    Args:
        features: (N, D), pooled maps; or scipy.sparse, counted n-grams.
        labels: one name per row.
        groups: positions that share a fold.
    """
    counts: dict[str, int] = defaultdict(int)
    for label in labels:
        counts[label] += 1
    names = sorted(name for name, count in counts.items() if count >= MIN_CLASS_ROWS)
    if len(names) < 2:
        return []
    rows = np.array([row for row, label in enumerate(labels) if counts[label] >= MIN_CLASS_ROWS])
    codes = np.array([names.index(labels[row]) for row in rows])
    fold = _folds(codes, rows, groups, seed)
    probabilities = _out_of_fold(features[rows], codes, fold, len(names))
    return [
        LabelIssue(
            int(rows[n]),
            names[codes[n]],
            names[answer],
            float(probabilities[n, answer]),
            float(probabilities[n, answer] - probabilities[n, codes[n]]),
        )
        for n, answer in find_confident_errors(probabilities, codes)
    ]


def find_tag_issues(
    features: Any,
    labels: Sequence[Sequence[str]],
    groups: Sequence[Sequence[int]],
    *,
    seed: int = 0,
) -> list[LabelIssue]:
    """Rows with a wrong or missing tag; each row once, with its worst tag."""
    worst: dict[int, LabelIssue] = {}
    for tag in sorted({tag for tags in labels for tag in tags}):
        binary = [tag if tag in tags else f"not {tag}" for tags in labels]
        for suspicion in find_label_issues(features, binary, groups, seed=seed):
            previous = worst.get(suspicion.row)
            if previous is None or suspicion.margin > previous.margin:
                worst[suspicion.row] = suspicion
    return sorted(worst.values(), key=lambda suspicion: (-suspicion.margin, suspicion.row))


def find_confident_errors(probabilities: Array, codes: Array) -> list[tuple[int, int]]:
    """(row, its probable class) of the label issues, by falling margin.

    Args:
        probabilities: (N, K), out of fold.
        codes: (N,) the labels; every class occurs.
    """
    classes = probabilities.shape[1]
    thresholds = np.array([probabilities[codes == k, k].mean() for k in range(classes)])
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    probable = reached.argmax(1)
    rows = np.flatnonzero((reached.max(1) >= 0) & (probable != codes))
    margin = probabilities[rows, probable[rows]] - probabilities[rows, codes[rows]]
    order = np.argsort(-margin, kind="stable")
    return [(int(rows[n]), int(probable[rows[n]])) for n in order if margin[n] > 0]


def _folds(codes: Array, rows: Array, groups: Sequence[Sequence[int]], seed: int) -> Array:
    """A fold per row: classes are spread evenly, groups are not divided."""
    unit = {row: row for row in rows.tolist()}
    for group in groups:
        inside = [row for row in group if row in unit]
        for row in inside:
            unit[row] = inside[0]
    random = np.random.default_rng(seed)
    fold = np.zeros(len(rows), np.int64)
    place = {row: n for n, row in enumerate(rows.tolist())}
    for code in np.unique(codes):
        members = rows[codes == code]
        for number, n in enumerate(random.permutation(len(members))):
            fold[place[int(members[n])]] = number % FOLDS
    for row, first in unit.items():
        fold[place[row]] = fold[place[first]]
    return fold


def _out_of_fold(features: Any, codes: Array, fold: Array, classes: int) -> Array:
    probabilities = np.zeros((len(codes), classes))
    folds = np.unique(fold)
    predict = _predict_pooled if isinstance(features, np.ndarray) else _predict_counted
    for number in events.track_progress(folds.tolist(), "checking labels", unit="folds"):
        train, test = fold != number, fold == number
        if len(np.unique(codes[train])) < 2:
            continue
        with threadpool_limits(1, user_api="blas"):  # more threads wait for each other
            probabilities[test] = predict(features[train], codes[train], features[test], classes)
    return probabilities


def _predict_pooled(train: Array, codes: Array, test: Array, classes: int) -> Array:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    model.fit(train, codes)
    probabilities = np.zeros((len(test), classes))
    probabilities[:, model[-1].classes_] = model.predict_proba(test)
    return probabilities


def _predict_counted(train: Any, codes: Array, test: Any, classes: int) -> Array:
    """For sparse features, by a solver that is fast on large data too."""
    from skipstone.models.backbone import ClosedFormProblem
    from skipstone.models.bow_linear import solve_logistic
    from skipstone.models.text_backbone_options import LinearModelOptions

    solved = solve_logistic(
        LinearModelOptions(svm_c=_C), ClosedFormProblem(train, codes, classes, seed=0)
    )
    logits = test @ solved.tensors["weight.weight"][1:] + solved.tensors["bias"]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))
