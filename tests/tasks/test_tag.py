from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics as sk

from skipstone.data.manifest import Manifest, table_of
from skipstone.data.samples import Meta
from skipstone.errors import DataError
from skipstone.tasks.labels import positive_weights
from skipstone.tasks.options import TagOptions
from skipstone.tasks.tag import Tag

CLASSES = ["a", "b", "c"]
SCHEMA = {"classes": CLASSES}


def test_prediction_fields_and_record() -> None:
    task = Tag(TagOptions(), SCHEMA)
    probability = np.array([[0.6, 0.2, 0.9]])
    logits = np.log(probability / (1 - probability)).astype(np.float32)
    post = {"thresholds": [0.5, 0.1, 0.95]}
    (prediction,) = task.predict({"logits": logits}, [Meta(1, "x.png")], post)
    assert prediction.fields["label"] == ["a", "b"]
    assert prediction.fields["probability"] == pytest.approx([0.6, 0.2])
    assert prediction.fields["probabilities"] == pytest.approx({"a": 0.6, "b": 0.2, "c": 0.9})
    record = task.score(prediction, ["a", "c"])
    assert record["correct"] is False
    assert record["jaccard"] == pytest.approx(1 / 3)
    assert record["loss"] == pytest.approx(-np.log([0.6, 0.8, 0.9]).mean())
    assert task.score(prediction, ["b", "a"])["correct"] is True


def test_metrics_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((300, 3)) < [0.5, 0.2, 0.05]
    logits = (rng.normal(size=(300, 3)) + 2 * truth - 1).astype(np.float32)
    targets = [[CLASSES[k] for k in np.flatnonzero(row)] for row in truth]
    task = Tag(TagOptions(thresholds="half"), SCHEMA)
    predictions = task.predict({"logits": logits}, [Meta(row) for row in range(300)], {})
    values = task.compute([task.score(p, t) for p, t in zip(predictions, targets, strict=True)])
    found, probability = logits >= 0, 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert values == pytest.approx(
        {
            "map": sk.average_precision_score(truth, probability, average="macro"),
            "accuracy": sk.accuracy_score(truth, found),
            "macro_f1": sk.f1_score(truth, found, average="macro"),
            "micro_f1": sk.f1_score(truth, found, average="micro"),
            "jaccard": sk.jaccard_score(truth, found, average="samples", zero_division=1.0),
            "ece": values["ece"],
            "nll": np.mean([sk.log_loss(truth[:, k], probability[:, k]) for k in range(3)]),
        }
    )


def test_thresholds_raise_f1_on_the_part_they_are_chosen_on() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((600, 3)) < [0.5, 0.2, 0.05]
    logits = (rng.normal(size=(600, 3)) + 3 * truth - 3.5).astype(np.float32)
    targets = [[CLASSES[k] for k in np.flatnonzero(row)] for row in truth]
    metas = [Meta(row) for row in range(600)]

    def macro_f1(thresholds: str) -> float:
        task = Tag(TagOptions(thresholds=thresholds), SCHEMA)  # type: ignore[arg-type]
        outputs = {"logits": logits}
        predictions = task.predict(outputs, metas, task.calibrate(outputs, targets))
        records = [task.score(p, t) for p, t in zip(predictions, targets, strict=True)]
        return task.compute(records)["macro_f1"]

    assert macro_f1("f1") > macro_f1("half") + 0.05


def test_statistics_and_positive_weights() -> None:
    rows = Manifest(
        table_of(
            {"path": list("wxyz"), "target": [["a", "b"], ["a"], [], ["a"]]}, pa.list_(pa.string())
        ),
        root=Path("photos"),
        reader="test",
        input="image",
        task="tag",
        schema=SCHEMA,
    )
    options = TagOptions(class_weights="inverse")
    statistics = Tag(options, SCHEMA).statistics(rows)
    assert statistics == {"counts": [3, 1, 0], "samples": 4}
    criterion = Tag(options, {**SCHEMA, **statistics}).criterion()
    assert criterion.loss.class_weights.tolist() == pytest.approx([1 / 3, 3.0, 1.0])
    assert positive_weights("inverse", [1], 10_000, 0.0) == [100.0]
    assert positive_weights("effective", [50, 5], 1000, 0.0) == [1.0, 1.0]
    assert Tag(options, SCHEMA).statistics(rows.take([2])) == {"counts": [0, 0, 0], "samples": 1}


def test_one_tag_is_enough_and_a_word_is_no_list() -> None:
    task = Tag(TagOptions(), {"classes": ["broken"]})
    assert task.target([])["tags"].tolist() == [0.0]
    assert not task.knows("broken")
    with pytest.raises(DataError, match="a list of tags"):
        task.target("broken")


def test_near_ties_are_no_flips() -> None:
    task = Tag(TagOptions(), SCHEMA)
    before = np.array([[1e-5, 3, 3], [0.1, 3, 3]], np.float32)
    after = np.array([[-1e-5, 3, 3], [-0.1, 3, 3]], np.float32)
    found = task.difference({"logits": before}, {"logits": after}, {})
    assert (found.flips, found.near_ties) == (1, 1)


def test_mistakes_are_told_in_words() -> None:
    task = Tag(TagOptions(), SCHEMA)
    logits = np.array([[5.0, -5, 5]], np.float32)
    (prediction,) = task.predict({"logits": logits}, [Meta(0, "x.png")], {})
    record = task.score(prediction, ["a", "b"])
    gallery = next(s for s in task.sections([record], {}) if s["kind"] == "gallery")
    assert gallery["items"][0]["caption"] == "missed b; wrongly found c"
    assert gallery["items"][0]["probability"] == pytest.approx(1 / (1 + np.exp(-5)))


def test_a_mistake_names_its_surest_wrong_decision() -> None:
    """Not the strongest tag, which is right."""
    task = Tag(TagOptions(), SCHEMA)
    logits = np.array([[9.0, -2, 1], [9.0, -1, 2]], np.float32)
    predictions = task.predict({"logits": logits}, [Meta(0, "x.png"), Meta(1, "y.png")], {})
    records = [task.score(prediction, ["a", "b"]) for prediction in predictions]
    gallery = next(s for s in task.sections(records, {}) if s["kind"] == "gallery")
    found = {item["id"]: item for item in gallery["items"]}
    assert found[0]["decision"] == {"code": 1, "found": False}
    assert found[0]["about"] == "missed b"
    assert found[1]["decision"] == {"code": 2, "found": True}
    assert found[1]["about"] == "wrongly found c"
    sure = 1 / (1 + np.exp(-2))
    assert [found[k]["probability"] for k in (0, 1)] == pytest.approx([sure, sure])
