"""Average precision against pycocotools."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from skipstone.core.registry import TASKS
from skipstone.evaluation.intervals import calibration_error_interval
from skipstone.tasks.base import RecordTable, Task
from skipstone.tasks.detection import metrics as figures
from skipstone.tasks.detection.boxes import Detections

CLASSES = 3


def random_set(
    seed: int, photos: int = 12, digits: int = 2
) -> list[tuple[Detections, figures.Truths]]:
    """Boxes of every size; predictions near some of them, and crowds. Few `digits` make ties."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(photos):
        count = int(rng.integers(0, 12))
        corner = rng.uniform(0, 400, (count, 2))
        truth = np.concatenate([corner, corner + rng.uniform(4, 220, (count, 2))], axis=1)
        codes = rng.integers(0, CLASSES, count)
        crowd = rng.random(count) < 0.15
        copies = rng.integers(0, max(count, 1), int(rng.integers(0, 30)) if count else 0)
        near = truth[copies] + rng.normal(0, 8, (len(copies), 4))
        noise = rng.uniform(0, 300, (6, 2))
        far = np.concatenate([noise, noise + rng.uniform(5, 150, (6, 2))], axis=1)
        boxes = np.concatenate([near, far])
        boxes = np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:], boxes[:, :2] + 1)], axis=1)
        found = np.concatenate([codes[copies], rng.integers(0, CLASSES, 6)])
        wrong = rng.random(len(found)) < 0.1
        found = np.where(wrong, rng.integers(0, CLASSES, len(found)), found)
        scores = rng.random(len(found)).round(digits)
        order = np.argsort(-scores, kind="stable")
        detections = Detections(boxes[order], scores[order], found[order])
        pairs.append((detections, figures.Truths(truth, codes, crowd, crowd)))
    return pairs


def to_record(pair: tuple[Detections, figures.Truths]) -> dict[str, Any]:
    return figures.match_boxes(*pair, CLASSES)


def coco_statistics(pairs: list[tuple[Detections, figures.Truths]]) -> np.ndarray:
    """(sizes, classes, thresholds) of pycocotools; NaN where it has -1."""

    def to_xywh(box: np.ndarray) -> list[float]:
        return [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]

    truth: dict[str, Any] = {
        "images": [{"id": photo} for photo in range(len(pairs))],
        "categories": [{"id": code} for code in range(CLASSES)],
        "annotations": [],
    }
    answers = []
    for photo, (found, truths) in enumerate(pairs):
        for box, code, crowd in zip(truths.boxes, truths.codes, truths.crowd, strict=True):
            xywh = to_xywh(box)
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": photo,
                    "category_id": int(code),
                    "bbox": xywh,
                    "area": xywh[2] * xywh[3],
                    "iscrowd": int(crowd),
                }
            )
        for box, score, code in zip(*found, strict=True):
            row = {"image_id": photo, "category_id": int(code), "bbox": to_xywh(box)}
            answers.append({**row, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        scoring = COCOeval(coco, coco.loadRes(answers), "bbox")
        scoring.evaluate()
        scoring.accumulate()
    precision = scoring.eval["precision"][..., -1]  # (thresholds, recalls, classes, sizes)
    mean = np.where((precision < 0).any(axis=1), np.nan, precision.mean(axis=1))
    return np.asarray(mean.transpose(2, 1, 0))


def own_statistics(table: RecordTable) -> np.ndarray:
    return np.array(
        [
            [
                figures.average_precision(
                    table, size, code, figures.count_truths(table, size)[code]
                )
                for code in range(CLASSES)
            ]
            for size in range(len(figures.SIZES))
        ]
    )


@pytest.mark.parametrize("seed", range(12))
def test_equals_pycocotools(seed: int) -> None:
    """On random sets with crowds and tied scores, for every size, class and threshold."""
    pairs = random_set(seed)
    table = RecordTable.from_records([to_record(pair) for pair in pairs])
    np.testing.assert_allclose(own_statistics(table), coco_statistics(pairs), atol=1e-6)


def test_a_photo_drawn_twice_counts_twice() -> None:
    pairs = random_set(3, digits=12)  # of a tie, the order would depend on that of the photos
    table = RecordTable.from_records([to_record(pair) for pair in pairs])
    weight = np.random.default_rng(0).integers(0, 4, len(pairs)).astype(float)
    drawn = [pair for pair, count in zip(pairs, weight, strict=True) for _ in range(int(count))]
    again = RecordTable.from_records([to_record(pair) for pair in drawn])
    np.testing.assert_allclose(
        own_statistics(table.with_weights(weight)), own_statistics(again), atol=1e-9
    )


def test_difficult_objects_need_not_be_found() -> None:
    boxes = np.array([[0, 0, 40, 40], [100, 100, 140, 140]], float)
    codes, none = np.zeros(2, int), np.zeros(2, bool)
    truths = figures.Truths(boxes, codes, none, np.array([False, True]))
    both = Detections(boxes, np.array([0.9, 0.8]), codes)
    one = Detections(boxes[:1], np.array([0.9]), codes[:1])
    for found in (both, one):
        table = RecordTable.from_records([figures.match_boxes(found, truths, 1)])
        assert figures.average_precision(table, 0, 0, 1.0)[0] == pytest.approx(1.0)
        assert figures.pair_boxes(found, truths, 1) == [[0, 0, 1.0, 1600.0]]


def test_pairs_hold_missed_confused_and_invented_boxes() -> None:
    truth = np.array([[0, 0, 40, 40], [60, 0, 100, 40], [0, 60, 40, 100]], float)
    found = np.array([[0, 0, 40, 38], [60, 0, 100, 40], [200, 200, 240, 240]], float)
    none = np.zeros(3, bool)
    truths = figures.Truths(truth, np.array([0, 0, 1]), none, none)
    detections = Detections(found, np.array([0.9, 0.8, 0.7]), np.array([0, 1, 1]))
    pairs = [tuple(pair[:2]) for pair in figures.pair_boxes(detections, truths, 2)]
    assert sorted(pairs) == [(0, 0), (0, 1), (1, 2), (2, 1)]


def test_threshold_has_the_greatest_f1() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(200)
    hits = rng.random(200) < scores
    chosen = figures.choose_threshold(scores, hits, 150)
    assert chosen is not None

    def f1(threshold: float) -> float:
        kept = scores >= threshold
        return float(2 * hits[kept].sum() / (kept.sum() + 150))

    assert f1(chosen) == pytest.approx(max(map(f1, [*scores, 0.0])))
    assert figures.choose_threshold(scores, np.zeros(200), 150) is None


def test_score_calibration_equals_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 2, 4000)
    hits = rng.random(4000) < 1 / (1 + np.exp(-(0.6 * logits + 0.8)))
    scale, shift = figures.fit_score_calibration(1 / (1 + np.exp(-logits)), hits.astype(float))
    model = LogisticRegression(C=1e6).fit(logits[:, None], hits)
    assert scale == pytest.approx(model.coef_[0, 0], abs=5e-3)
    assert shift == pytest.approx(model.intercept_[0], abs=5e-3)


@pytest.mark.parametrize(("middle", "spread"), [(-9.0, 0.01), (-6.0, 0.3), (-1.0, 2.0)])
def test_score_calibration_of_a_weak_network_stays_finite(middle: float, spread: float) -> None:
    """After a few steps all scores are nearly equal, and Newton's method alone diverges."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    logits = rng.normal(middle, spread, 5000)
    hits = (rng.random(5000) < 1 / (1 + np.exp(middle + 4 - logits))).astype(float)

    def penalized_loss(weights: np.ndarray) -> float:
        z = weights[0] * logits + weights[1]
        penalty = ((weights - (1, 0)) ** 2).sum() / 2
        return float((np.logaddexp(0, z) - hits * z).sum() + penalty)

    found = figures.fit_score_calibration(1 / (1 + np.exp(-logits)), hits)
    best = minimize(penalized_loss, [1.0, 0.0], method="BFGS")
    assert penalized_loss(np.array(found)) <= best.fun + 1e-3
    assert 0.01 <= found[0] < 50


def record_of(rows: list[tuple[float, bool, bool]]) -> dict[str, Any]:
    """A record of boxes (probability, hit, ignored) of one class, which calibration needs."""
    bits = [[int(row[at]) for row in rows] for at in (1, 2)]
    sizes = len(figures.SIZES)
    return {
        "score": [row[0] for row in rows],
        "hits": [bits[0]] * sizes,
        "ignored": [bits[1]] * sizes,
    }


def test_calibration_error_of_a_hand_example() -> None:
    """0.7 twice, one of them right; boxes below 10 % and on ignored objects do not count."""
    records = [
        record_of([(0.70, True, False), (0.05, False, False)]),
        record_of([(0.70, False, False), (0.9, True, False), (0.9, False, True)]),
        record_of([]),
    ]
    table = RecordTable.from_records(records)
    bins = figures.box_reliability(table)
    assert bins.count.sum() == 3
    assert bins.expected_calibration_error() == pytest.approx((2 * 0.2 + 0.1) / 3)
    terms = figures.box_calibration_terms(table)
    assert terms.shape[0] == 3
    assert np.abs(terms.mean(axis=0)).sum() == pytest.approx(bins.expected_calibration_error())
    doubled = table.with_weights(np.array([0.0, 2.0, 1.0]))
    assert figures.box_reliability(doubled).count.sum() == 4


def test_calibration_error_and_its_interval_of_true_probabilities() -> None:
    spec = TASKS["detect"]
    task: Task = spec.load()(spec.make_options(), {"classes": ["cat"]})
    metric = next(metric for metric in task.list_metrics() if metric.name == "ece")
    rng = np.random.default_rng(0)
    for shift, low, high in ((0.0, 0.0, 0.04), (0.3, 0.26, 0.34)):
        score = rng.uniform(0.4, 1.0, (200, 10))
        hit = rng.random((200, 10)) < score - shift
        rows = [
            record_of([(float(p), bool(h), False) for p, h in zip(*pair, strict=True)])
            for pair in zip(score, hit, strict=True)
        ]
        table = RecordTable.from_records(rows)
        value = figures.box_reliability(table).expected_calibration_error()
        assert low <= value <= high
        bottom, top = calibration_error_interval(task.calibration_terms(table), seed=0)
        assert bottom <= shift <= top
    assert metric.kind == "calibration"


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9])
def test_the_promised_share_is_found_on_unseen_photos(share: float) -> None:
    """On average over many calibrations, and hardly more than promised."""
    rng = np.random.default_rng(0)
    recalls = []
    for _ in range(300):
        found, truths = draw_hits(rng, 40)
        threshold = figures.choose_threshold_for_recall(found, truths, share) or 0.0
        unseen, counts = draw_hits(rng, 40)
        pairs = zip(unseen, counts, strict=True)
        missed = [1 - (hits >= threshold).sum() / n if n else 0.0 for hits, n in pairs]
        recalls.append(1 - np.mean(missed))
    error = np.std(recalls) / np.sqrt(len(recalls))
    assert share - 3 * error <= np.mean(recalls) <= share + 0.04


def draw_hits(rng: np.random.Generator, photos: int) -> tuple[list[np.ndarray], list[int]]:
    """Scores of found objects and the number of objects; some photos are hard, some are empty."""
    truths = rng.integers(0, 9, photos).tolist()
    hard = rng.beta(4, 2, photos)
    found = [
        rng.beta(1 + 6 * h, 2, n)[rng.random(n) < 0.97] for h, n in zip(hard, truths, strict=True)
    ]
    return found, truths


def test_a_share_that_cannot_be_promised() -> None:
    found, truths = [np.array([0.9])] * 5, [1] * 5
    assert figures.choose_threshold_for_recall(found, truths, 0.9) is None  # 1 / 6 > 0.1
    threshold = figures.choose_threshold_for_recall(found, truths, 0.8)
    assert threshold is not None
    assert 0 < threshold <= 0.9


def test_errors_are_counted_in_objects() -> None:
    spec = TASKS["detect"]
    task: Task = spec.load()(spec.make_options(), {"classes": ["cat", "dog"]})
    pairs = [[0, 0, 0.9, 99.0]] * 6 + [[1, 0, 0.8, 99.0]] + [[1, 1, 0.8, 99.0], [1, 2, 0.0, 99.0]]
    records = [{"pairs": pairs}, {"pairs": [[2, 1, 0.0, 99.0], [0, 0, 0.7, 99.0]]}]
    errors = task.summarize_errors(records)
    assert errors is not None
    name, right, objects = errors.weakest or ("", 0.0, 1.0)
    assert (name, right / objects) == ("dog", pytest.approx(1 / 3))
    assert errors.confused == ("dog", "cat", pytest.approx(0.1), pytest.approx(0.3))
