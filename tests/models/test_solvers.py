"""Solved models against scikit-learn's own predictions, through the network that ships."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse import csr_array
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.svm import LinearSVC

from skipstone.core.registry import BACKBONES
from skipstone.core.specs import resolve_target
from skipstone.models import bow_linear as bag_linear
from skipstone.models.backbone import ClosedFormProblem
from skipstone.models.bow_linear import fit_logistic_adagrad
from tests.image.bombs import measure

ROWS, FEATURES = 120, 40
SOLVED = ("logistic", "linear-svm", "nbsvm", "naive-bayes", "random-forest")


def data(classes: int, seed: int = 0) -> tuple[csr_array, np.ndarray]:
    """Sparse rows of which some features tell the class."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, classes, ROWS)
    dense = rng.random((ROWS, FEATURES)) * (rng.random((ROWS, FEATURES)) < 0.15)
    dense[np.arange(ROWS), codes] += rng.random(ROWS)
    dense /= np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), 1e-9)
    return csr_array(dense.astype(np.float32)), codes


def padded(matrix: csr_array) -> tuple[torch.Tensor, torch.Tensor]:
    """The matrix as the network's arrays: features from 1, padding behind."""
    longest = int(np.diff(matrix.indptr).max()) + 1
    features = np.zeros((ROWS, longest), np.int32)
    values = np.zeros((ROWS, longest), np.float32)
    for row in range(ROWS):
        part = slice(matrix.indptr[row], matrix.indptr[row + 1])
        count = part.stop - part.start
        features[row, :count] = matrix.indices[part] + 1
        values[row, :count] = matrix.data[part]
    return torch.from_numpy(features), torch.from_numpy(values)


def answers(
    name: str, matrix: csr_array, targets: np.ndarray, classes: int, **options
) -> np.ndarray:
    """Logits of the network that holds what the solver found."""
    entry = BACKBONES[name]
    given = entry.make_options(options)
    found = resolve_target(entry.solver)(given, ClosedFormProblem(matrix, targets, classes, 3))
    net = entry.load()(name, given, in_channels=FEATURES + 1, **found.shape).eval()
    state = {key: torch.from_numpy(value) for key, value in found.tensors.items()}
    net.load_state_dict(state, strict=True)
    with torch.no_grad():
        return net(padded(matrix))[-1].numpy()


def softmax(logits: np.ndarray) -> np.ndarray:
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    return share / share.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 4])
def test_logistic(classes: int) -> None:
    matrix, codes = data(classes)
    theirs = LogisticRegression(C=5, max_iter=300).fit(matrix, codes)
    ours = softmax(answers("logistic", matrix, codes, classes, svm_c=5.0))
    np.testing.assert_allclose(ours, theirs.predict_proba(matrix), atol=1e-5)


@pytest.mark.parametrize("classes", [2, 4])
def test_svm(classes: int) -> None:
    matrix, codes = data(classes)
    theirs = LinearSVC(C=0.7, random_state=3).fit(matrix, codes)
    ours = answers("linear-svm", matrix, codes, classes, svm_c=0.7)
    margins = ours if classes > 2 else ours[:, 1]
    np.testing.assert_allclose(margins, theirs.decision_function(matrix), atol=1e-5)
    assert np.array_equal(ours.argmax(axis=1), theirs.predict(matrix))


@pytest.mark.parametrize("classes", [2, 4])
def test_naive_bayes(classes: int) -> None:
    matrix, codes = data(classes)
    theirs = MultinomialNB(alpha=0.3).fit(matrix, codes)
    ours = softmax(answers("naive-bayes", matrix, codes, classes, alpha=0.3))
    np.testing.assert_allclose(ours, theirs.predict_proba(matrix), atol=1e-5)


@pytest.mark.parametrize("classes", [2, 4])
def test_random_forest(classes: int) -> None:
    matrix, codes = data(classes)
    theirs = RandomForestClassifier(n_estimators=20, random_state=3).fit(matrix, codes)
    ours = answers("random-forest", matrix, codes, classes, trees=20)
    share = theirs.predict_proba(matrix)
    np.testing.assert_allclose(np.exp(ours), np.clip(share, 1e-6, 1), atol=1e-5)
    new, _ = data(classes, seed=9)  # paths that no training row took
    entry = BACKBONES["random-forest"]
    given = entry.make_options({"trees": 20})
    found = resolve_target(entry.solver)(given, ClosedFormProblem(matrix, codes, classes, 3))
    net = entry.load()("random-forest", given, in_channels=FEATURES + 1, **found.shape)
    net.load_state_dict({k: torch.from_numpy(v) for k, v in found.tensors.items()})
    with torch.no_grad():
        fresh = net(padded(new))[-1].exp().numpy()
    np.testing.assert_allclose(fresh, np.clip(theirs.predict_proba(new), 1e-6, 1), atol=1e-5)


@pytest.mark.parametrize("name", SOLVED)
def test_a_class_without_samples_is_never_the_answer(name: str) -> None:
    matrix, codes = data(3)
    codes = codes + (codes >= 1)  # of four classes, number 1 has none
    ours = answers(name, matrix, codes, 4)
    assert np.isfinite(ours).all()
    assert 1 not in ours.argmax(axis=1)
    assert (ours.argmax(axis=1) == codes).mean() > 0.8


@pytest.mark.parametrize("name", SOLVED)
def test_several_labels_a_sample(name: str) -> None:
    matrix, codes = data(4)
    hot = np.eye(5)[codes]
    hot[::3, (codes[::3] + 1) % 4] = 1  # two labels; the fifth nobody has
    ours = answers(name, matrix, hot, 5)
    assert ((ours > 0) == (hot > 0)).mean() > 0.75
    assert (ours[:, 4] < 0).all()


def test_nbsvm_sums_a_machine_of_each_kind_of_feature() -> None:
    """Against scikit-learn's naive Bayes for the ratio, and its machine on each kind alone."""
    matrix, codes = data(2)
    kinds = (slice(0, 25), slice(25, FEATURES))
    margin = np.zeros(ROWS)
    for kind in kinds:
        part = matrix[:, kind]
        counts = MultinomialNB(alpha=1.0).fit(part > 0, codes).feature_log_prob_
        scaled = part.multiply((counts[1] - counts[0])[None]).tocsr()
        machine = LinearSVC(C=1.0, random_state=3).fit(scaled, codes)
        margin += machine.decision_function(scaled)
    entry = BACKBONES["nbsvm"]
    solve = resolve_target(entry.solver)
    found = solve(
        entry.make_options({"svm_c": 1.0}), ClosedFormProblem(matrix, codes, 2, 3, kinds)
    ).tensors
    ours = matrix @ found["weight.weight"][1:] + found["bias"]
    np.testing.assert_allclose(ours[:, 1] - ours[:, 0], margin, rtol=1e-4, atol=1e-4)


def test_several_labels_of_a_forest_are_scikit_learns() -> None:
    matrix, codes = data(4)
    hot = np.eye(4, dtype=np.int64)[codes]
    hot[::3, (codes[::3] + 1) % 4] = 1
    theirs = RandomForestClassifier(n_estimators=10, random_state=3, n_jobs=-1).fit(matrix, hot)
    share = np.stack([one[:, 1] for one in theirs.predict_proba(matrix)], axis=1)
    ours = answers("random-forest", matrix, hot, 4, trees=10)
    np.testing.assert_allclose(1 / (1 + np.exp(-ours)), np.clip(share, 1e-6, 1 - 1e-6), atol=1e-5)


def test_the_quick_solver_comes_near_the_exact_one() -> None:
    matrix, codes = data(4)
    weights, bias = fit_logistic_adagrad(matrix, codes, classes=4, c=5.0, seed=0, epochs=400)
    exact = LogisticRegression(C=5, max_iter=500).fit(matrix, codes)

    def loss(w: np.ndarray, b: np.ndarray) -> float:
        share = softmax(matrix @ w.T + b)[np.arange(ROWS), codes]
        return float(-np.log(share).mean() + (w**2).sum() / (2 * 5.0 * ROWS))

    best = loss(exact.coef_, exact.intercept_)
    assert best <= loss(weights, bias) <= 1.02 * best


def several(seed: int = 0) -> tuple[csr_array, np.ndarray]:
    """Rows with labels that do not exclude each other; the last of four is rare, and two more that
    all and none of them have."""
    matrix, codes = data(4, seed)
    hot = np.eye(4, dtype=np.int64)[codes]
    hot[::3, (codes[::3] + 1) % 3] = 1
    hot[np.flatnonzero(hot[:, 3])[4:], 3] = 0
    return matrix, hot


def test_the_quick_solver_of_several_labels_comes_near_the_exact_one() -> None:
    """Against scikit-learn's model of each label."""
    matrix, hot = several()
    weights, bias = fit_logistic_adagrad(matrix, hot, classes=4, c=5.0, seed=0, epochs=400)
    for k in range(4):
        exact = LogisticRegression(C=5, max_iter=500).fit(matrix, hot[:, k])

        def loss(w: np.ndarray, b: float, sign: np.ndarray = 2 * hot[:, k] - 1) -> float:
            fit = np.logaddexp(0, -sign * (matrix @ w + b)).mean()
            return float(fit + (w**2).sum() / (2 * 5.0 * ROWS))

        best = loss(exact.coef_[0], exact.intercept_[0])
        assert 0.999 * best <= loss(weights[k], bias[k]) <= 1.02 * best


def test_several_labels_of_large_data_take_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, hot = several()
    hot = np.hstack([hot, np.ones((ROWS, 1), np.int64), np.zeros((ROWS, 1), np.int64)])
    exact = answers("logistic", matrix, hot, 6, svm_c=5.0)

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("one exact model a label")

    monkeypatch.setattr(bag_linear, "MAX_EXACT_OPERATIONS", matrix.nnz * 6 - 1)
    monkeypatch.setattr(LogisticRegression, "fit", refuse)
    quick = answers("logistic", matrix, hot, 6, svm_c=5.0)
    assert ((quick > 0) == (exact > 0)).mean() > 0.95
    assert np.corrcoef(quick[:, :4].ravel(), exact[:, :4].ravel())[0, 1] > 0.95
    np.testing.assert_array_equal(quick[:, 4:], np.tile([10.0, -10.0], (ROWS, 1)))


def test_effects_of_a_forest_are_the_gaps_between_the_sides_that_a_feature_decides() -> None:
    """Against scikit-learn's own decision paths."""
    matrix, codes = data(3)
    entry = BACKBONES["random-forest"]
    given = entry.make_options({"trees": 8})
    found = resolve_target(entry.solver)(given, ClosedFormProblem(matrix, codes, 3, 3))
    net = entry.load()("random-forest", given, in_channels=FEATURES + 1, **found.shape)
    net.load_state_dict({key: torch.from_numpy(value) for key, value in found.tensors.items()})
    model = RandomForestClassifier(8, random_state=3).fit(matrix, codes)
    dense, expected = matrix.toarray(), np.zeros(FEATURES)
    for tree in model.estimators_:
        table, paths = tree.tree_, tree.decision_path(matrix).toarray()
        share = table.value[:, 0] / table.value[:, 0].sum(axis=1, keepdims=True)
        for node in np.flatnonzero(table.children_left >= 0):
            feature = table.feature[node]
            right = paths[:, node].astype(bool) & (dense[:, feature] > table.threshold[node])
            gap = share[table.children_left[node]] - share[table.children_right[node]]
            expected[feature] += right.sum() * np.square(gap).sum()
    assert (expected > 0).any()
    np.testing.assert_allclose(net.feature_effects(matrix, multi_label=False), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_many_classes_take_little_more_than_their_table(kind: str) -> None:
    classes, features = (1_000 if kind == "classes" else 300), 20_000
    matrix = sparse.random(3 * classes, features, 1e-3, "csr", random_state=0)
    codes = np.arange(3 * classes) % classes
    targets = codes if kind == "classes" else np.eye(classes, dtype=np.int8)[codes]
    entry = BACKBONES["naive-bayes"]
    solve = resolve_target(entry.solver)
    problem = ClosedFormProblem(matrix, targets, classes, 0)
    table = 4 * classes * features
    assert measure(lambda: solve(entry.make_options(), problem))[1] < 4 * table
