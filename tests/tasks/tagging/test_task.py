from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics as sk

from skipstone.core.errors import DataError
from skipstone.data.manifest import Manifest, build_table
from skipstone.data.samples import SampleMeta
from skipstone.tasks.labels import compute_positive_weights
from skipstone.tasks.options import TagOptions
from skipstone.tasks.tagging.task import TaggingTask

CLASSES = ["a", "b", "c"]
SCHEMA = {"classes": CLASSES}


def test_prediction_fields_and_record() -> None:
    task = TaggingTask(TagOptions(), SCHEMA)
    probability = np.array([[0.6, 0.2, 0.9]])
    logits = np.log(probability / (1 - probability)).astype(np.float32)
    post = {"thresholds": [0.5, 0.1, 0.95]}
    (prediction,) = task.predict({"logits": logits}, [SampleMeta(1, "x.png")], post)
    assert prediction.fields["label"] == ["a", "b"]
    assert prediction.fields["probability"] == pytest.approx([0.6, 0.2])
    assert prediction.fields["probabilities"] == pytest.approx({"a": 0.6, "b": 0.2, "c": 0.9})
    record = task.score_prediction(prediction, ["a", "c"])
    assert record["correct"] is False
    assert record["jaccard"] == pytest.approx(1 / 3)
    assert record["loss"] == pytest.approx(-np.log([0.6, 0.8, 0.9]).mean())
    assert task.score_prediction(prediction, ["b", "a"])["correct"] is True


def test_metrics_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((300, 3)) < [0.5, 0.2, 0.05]
    logits = (rng.normal(size=(300, 3)) + 2 * truth - 1).astype(np.float32)
    targets = [[CLASSES[k] for k in np.flatnonzero(row)] for row in truth]
    task = TaggingTask(TagOptions(thresholds="half"), SCHEMA)
    predictions = task.predict({"logits": logits}, [SampleMeta(row) for row in range(300)], {})
    values = task.compute_metrics(
        [task.score_prediction(p, t) for p, t in zip(predictions, targets, strict=True)]
    )
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
    metas = [SampleMeta(row) for row in range(600)]

    def macro_f1(thresholds: str) -> float:
        task = TaggingTask(TagOptions(thresholds=thresholds), SCHEMA)  # type: ignore[arg-type]
        outputs = {"logits": logits}
        predictions = task.predict(outputs, metas, task.fit_postprocessing(outputs, targets))
        records = [task.score_prediction(p, t) for p, t in zip(predictions, targets, strict=True)]
        return task.compute_metrics(records)["macro_f1"]

    assert macro_f1("f1") > macro_f1("half") + 0.05


def test_statistics_and_positive_weights() -> None:
    rows = Manifest(
        build_table(
            {"path": list("wxyz"), "target": [["a", "b"], ["a"], [], ["a"]]}, pa.list_(pa.string())
        ),
        root=Path("photos"),
        reader="test",
        input="image",
        task="tag",
        schema=SCHEMA,
    )
    options = TagOptions(class_weights="inverse")
    statistics = TaggingTask(options, SCHEMA).label_statistics(rows)
    assert statistics == {"counts": [3, 1, 0], "samples": 4}
    criterion = TaggingTask(options, {**SCHEMA, **statistics}).criterion()
    assert criterion.loss.class_weights.tolist() == pytest.approx([1 / 3, 3.0, 1.0])
    assert compute_positive_weights("inverse", [1], 10_000, 0.0) == [100.0]
    assert compute_positive_weights("effective", [50, 5], 1000, 0.0) == [1.0, 1.0]
    assert TaggingTask(options, SCHEMA).label_statistics(rows.take_rows([2])) == {
        "counts": [0, 0, 0],
        "samples": 1,
    }


def test_one_tag_is_enough_and_a_word_is_no_list() -> None:
    task = TaggingTask(TagOptions(), {"classes": ["broken"]})
    assert task.encode_target([])["tags"].tolist() == [0.0]
    assert not task.accepts_target("broken")
    with pytest.raises(DataError, match="a list of tags"):
        task.encode_target("broken")


def test_near_ties_are_no_flips() -> None:
    task = TaggingTask(TagOptions(), SCHEMA)
    before = np.array([[1e-5, 3, 3], [0.1, 3, 3]], np.float32)
    after = np.array([[-1e-5, 3, 3], [-0.1, 3, 3]], np.float32)
    found = task.compare_outputs({"logits": before}, {"logits": after}, {})
    assert (found.flips, found.near_ties) == (1, 1)


def test_mistakes_are_told_in_words() -> None:
    task = TaggingTask(TagOptions(), SCHEMA)
    logits = np.array([[5.0, -5, 5]], np.float32)
    (prediction,) = task.predict({"logits": logits}, [SampleMeta(0, "x.png")], {})
    record = task.score_prediction(prediction, ["a", "b"])
    gallery = next(s for s in task.report_sections([record], {}) if s["kind"] == "gallery")
    assert gallery["items"][0]["caption"] == "missed b; wrongly found c"
    assert gallery["items"][0]["probability"] == pytest.approx(1 / (1 + np.exp(-5)))


def test_a_mistake_names_its_surest_wrong_decision() -> None:
    """Not the strongest tag, which is right."""
    task = TaggingTask(TagOptions(), SCHEMA)
    logits = np.array([[9.0, -2, 1], [9.0, -1, 2]], np.float32)
    predictions = task.predict(
        {"logits": logits}, [SampleMeta(0, "x.png"), SampleMeta(1, "y.png")], {}
    )
    records = [task.score_prediction(prediction, ["a", "b"]) for prediction in predictions]
    gallery = next(s for s in task.report_sections(records, {}) if s["kind"] == "gallery")
    found = {item["id"]: item for item in gallery["items"]}
    assert found[0]["decision"] == {"code": 1, "is_present": False}
    assert found[0]["about"] == "missed b"
    assert found[1]["decision"] == {"code": 2, "is_present": True}
    assert found[1]["about"] == "wrongly found c"
    sure = 1 / (1 + np.exp(-2))
    assert [found[k]["probability"] for k in (0, 1)] == pytest.approx([sure, sure])


def test_each_tags_mistakes_have_a_gallery() -> None:
    """b is missed twice, c is wrongly found once; the most frequent comes first."""
    task = TaggingTask(TagOptions(), SCHEMA)
    logits = np.array([[9.0, -2, 1], [9.0, -1, -2], [9.0, 3, -2]], np.float32)
    predictions = task.predict({"logits": logits}, [SampleMeta(n, f"{n}") for n in range(3)], {})
    records = [task.score_prediction(prediction, ["a", "b"]) for prediction in predictions]
    galleries = [s for s in task.report_sections(records, {}) if s["kind"] == "gallery"][1:]
    assert [gallery["title"] for gallery in galleries] == ["Missed: b", "Wrongly found: c"]
    assert [{item["id"] for item in gallery["items"]} for gallery in galleries] == [{0, 1}, {0}]
    assert [gallery["note"] for gallery in galleries] == ["In 2 samples.", "In 1 sample."]
