"""Labels that a model doubts, from predictions for rows that it was not fitted on.

Confident learning: Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset
Labels" (JAIR 2021), section 3. Each class has a threshold, the mean confidence in it among the rows
that carry it. A row belongs to the class it is most confident in of those whose threshold it
reaches; where that is another class than its label, the label is doubted. Ranked by the margin
between the two.

The predictions are those of a logistic regression on a network's pooled features (on n-grams, where
the model was solved on those), fitted in folds, so that none has seen the label it judges; rows
that show the same share a fold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skipstone import events

Array = np.ndarray

FOLDS = 5
#: A class with fewer rows is not judged, nor is it offered: two folds have to hold it.
FEWEST = 10
#: Inverse strength of the penalty where features are counted n-grams.
_C = 10.0


@dataclass(frozen=True)
class Suspicion:
    """A row whose label is doubted. `margin` is how much more probable the other class is."""

    row: int
    label: str
    answer: str
    probability: float
    margin: float

    def at(self, row: int) -> Suspicion:
        """The same of another row."""
        return replace(self, row=row)

    @property
    def words(self) -> str:
        return f"labelled {self.label}, looks like {self.answer} ({100 * self.probability:.0f} %)"


def doubted(
    features: Any, labels: Sequence[str], groups: Sequence[Sequence[int]], *, seed: int = 0
) -> list[Suspicion]:
    """Doubted labels, worst first; `row` is a position in `labels`.

    Args:
        features: (N, D), pooled maps; or scipy.sparse, counted n-grams.
        labels: one name a row.
        groups: positions that share a fold.
    """
    counts: dict[str, int] = defaultdict(int)
    for label in labels:
        counts[label] += 1
    names = sorted(name for name, count in counts.items() if count >= FEWEST)
    if len(names) < 2:
        return []
    rows = np.array([row for row, label in enumerate(labels) if counts[label] >= FEWEST])
    codes = np.array([names.index(labels[row]) for row in rows])
    fold = _folds(codes, rows, groups, seed)
    probabilities = _out_of_fold(features[rows], codes, fold, len(names))
    return [
        Suspicion(
            int(rows[n]),
            names[codes[n]],
            names[answer],
            float(probabilities[n, answer]),
            float(probabilities[n, answer] - probabilities[n, codes[n]]),
        )
        for n, answer in confident_errors(probabilities, codes)
    ]


def doubted_tags(
    features: Any,
    labels: Sequence[Sequence[str]],
    groups: Sequence[Sequence[int]],
    *,
    seed: int = 0,
) -> list[Suspicion]:
    """Rows of which a tag is doubted, or its absence; each row once, for its worst."""
    worst: dict[int, Suspicion] = {}
    for tag in sorted({tag for tags in labels for tag in tags}):
        said = [tag if tag in tags else f"not {tag}" for tags in labels]
        for suspicion in doubted(features, said, groups, seed=seed):
            known = worst.get(suspicion.row)
            if known is None or suspicion.margin > known.margin:
                worst[suspicion.row] = suspicion
    return sorted(worst.values(), key=lambda suspicion: (-suspicion.margin, suspicion.row))


def confident_errors(probabilities: Array, codes: Array) -> list[tuple[int, int]]:
    """(row, class it belongs to) of the doubted rows, by falling margin.

    Args:
        probabilities: (N, K), each from a model that has not seen the row.
        codes: (N,) the given classes; every class occurs.
    """
    classes = probabilities.shape[1]
    thresholds = np.array([probabilities[codes == k, k].mean() for k in range(classes)])
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    believed = reached.argmax(1)
    counted = reached.max(1) >= 0
    rows = np.flatnonzero(counted & (believed != codes))
    margin = probabilities[rows, believed[rows]] - probabilities[rows, codes[rows]]
    order = np.argsort(-margin, kind="stable")
    return [(int(rows[n]), int(believed[rows[n]])) for n in order if margin[n] > 0]


def _folds(codes: Array, rows: Array, groups: Sequence[Sequence[int]], seed: int) -> Array:
    """A fold for each row: classes spread evenly, groups whole."""
    unit = {row: row for row in rows.tolist()}
    for group in groups:
        inside = [row for row in group if row in unit]
        for row in inside:
            unit[row] = inside[0]
    random = np.random.default_rng(seed)
    fold = np.zeros(len(rows), np.int64)
    place = {row: n for n, row in enumerate(rows.tolist())}
    for code in np.unique(codes):
        own = rows[codes == code]
        for number, n in enumerate(random.permutation(len(own))):
            fold[place[int(own[n])]] = number % FOLDS
    for row, first in unit.items():
        fold[place[row]] = fold[place[first]]
    return fold


def _out_of_fold(features: Any, codes: Array, fold: Array, classes: int) -> Array:
    probabilities = np.zeros((len(codes), classes))
    folds = np.unique(fold)
    answer = _of_pooled if isinstance(features, np.ndarray) else _of_counted
    for held in events.track(folds.tolist(), "judging labels", unit="folds"):
        inside, outside = fold != held, fold == held
        if len(np.unique(codes[inside])) < 2:
            continue
        probabilities[outside] = answer(features[inside], codes[inside], features[outside], classes)
    return probabilities


def _of_pooled(known: Array, codes: Array, asked: Array, classes: int) -> Array:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    model.fit(known, codes)
    found = np.zeros((len(asked), classes))
    found[:, model[-1].classes_] = model.predict_proba(asked)
    return found


def _of_counted(known: Any, codes: Array, asked: Any, classes: int) -> Array:
    """The same of sparse features, by the solver that takes seconds of large sets, too."""
    from skipstone.models.bag_linear import solve_logistic
    from skipstone.models.solving import Problem
    from skipstone.models.text_options import LinearModelOptions

    solved = solve_logistic(LinearModelOptions(c=_C), Problem(known, codes, classes, seed=0))
    logits = asked @ solved.tensors["weight.weight"][1:] + solved.tensors["bias"]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))
