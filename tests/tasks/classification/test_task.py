from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sklearn.metrics as sk
from sklearn.utils.class_weight import compute_class_weight

from skipstone.core.errors import DataError, UsageError
from skipstone.data.manifest import Manifest, build_table
from skipstone.data.samples import SampleMeta
from skipstone.tasks.classification.task import (
    MAX_CELL_ITEMS,
    MAX_CONFUSION_CLASSES,
    ClassificationTask,
)
from skipstone.tasks.labels import compute_class_weights
from skipstone.tasks.options import ClassifyOptions

SCHEMA = {"classes": ["a", "b", "c"]}


def manifest(targets: list[str | None]) -> Manifest:
    return Manifest(
        build_table(
            {"path": [f"{row}.png" for row in range(len(targets))], "target": targets}, pa.string()
        ),
        root=Path("photos"),
        reader="test",
        input="image",
        task="classify",
        schema=SCHEMA,
    )


def test_prediction_fields_and_record() -> None:
    task = ClassificationTask(ClassifyOptions(top_k=2), SCHEMA)
    logits = np.log(np.array([[0.2, 0.5, 0.3]], np.float32))
    (prediction,) = task.predict({"logits": logits}, [SampleMeta(7, "x.png")], {})
    assert prediction.fields["label"] == "b"
    assert prediction.fields["probability"] == pytest.approx(0.5)
    assert [entry["label"] for entry in prediction.fields["top"]] == ["b", "c"]
    record = task.score_prediction(prediction, "a")
    assert record == {
        "id": 7,
        "name": "x.png",
        "target": "a",
        "label": "b",
        "correct": False,
        "probability": pytest.approx(0.5),
        "rank": 3,
        "loss": pytest.approx(-np.log(0.2)),
        "brier": pytest.approx(0.8**2 + 0.5**2 + 0.3**2),
        "probabilities": pytest.approx([0.2, 0.5, 0.3]),
    }
    flat = task.predict({"logits": logits}, [SampleMeta(7)], {"temperature": 100.0})[0]
    assert flat.fields["probability"] == pytest.approx(1 / 3, abs=0.01)


def test_statistics_and_class_weights() -> None:
    task = ClassificationTask(ClassifyOptions(class_weights="inverse"), SCHEMA)
    rows = manifest(["a"] * 6 + ["b"] * 3 + ["c"])
    assert task.label_statistics(rows) == {"counts": [6, 3, 1]}
    with pytest.raises(UsageError, match="class counts"):
        task.criterion()
    informed = ClassificationTask(task.options, {**SCHEMA, **task.label_statistics(rows)})
    weights = informed.criterion().loss.class_weights.numpy()
    expected = compute_class_weight(
        "balanced", classes=np.array(["a", "b", "c"]), y=np.array(rows.column_values("target"))
    )
    np.testing.assert_allclose(weights, expected)
    with pytest.raises(DataError, match="no label"):
        task.label_statistics(manifest(["a", None]))


def test_effective_number_weights() -> None:
    """Cui et al. 2019: beta 0 weighs all alike, beta near 1 by inverse counts."""
    counts = [1000, 100, 10, 0]
    np.testing.assert_allclose(compute_class_weights("effective", counts, 0.0), [1, 1, 1, 0])
    inverse = np.array(compute_class_weights("inverse", counts, 0.0))
    near = np.array(compute_class_weights("effective", counts, 1 - 1e-9))
    np.testing.assert_allclose(near / near[0], inverse / inverse[0], rtol=1e-4)
    ours = np.array(compute_class_weights("effective", [500, 20], 0.99))
    number = [(1 - 0.99**n) / (1 - 0.99) for n in (500, 20)]
    assert ours[1] / ours[0] == pytest.approx(number[0] / number[1])
    assert ours.mean() == pytest.approx(1)
    assert compute_class_weights("none", counts, 0.9) is None


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({}, "no list of 'classes'"),
        ({"classes": "abc"}, "no list of 'classes'"),
        ({"classes": ["a"]}, "only one class, 'a'"),
        ({"classes": ["a", "b", "a"]}, "used twice: a"),
    ],
)
def test_impossible_schemas_are_refused(schema: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ClassificationTask(ClassifyOptions(), schema)


def test_wrong_options_are_named_all_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        ClassifyOptions(loss="bce", label_smoothing=1.0, top_k=0)  # type: ignore[arg-type]
    for word in ("loss is 'bce'", "label_smoothing is 1.0", "top_k is 0"):
        assert word in str(caught.value)


def test_a_near_miss_of_a_label_is_named() -> None:
    task = ClassificationTask(ClassifyOptions(), {"classes": ["trousers", "shirt"]})
    with pytest.raises(DataError, match="Did you mean 'trousers'"):
        task.encode_target("trouser")


def test_top_k_only_where_there_are_more_classes() -> None:
    few = ClassificationTask(ClassifyOptions(), {"classes": list("abcde")})
    many = ClassificationTask(ClassifyOptions(), {"classes": list("abcdef")})
    assert "top5" not in {metric.name for metric in few.list_metrics()}
    assert "top5" in {metric.name for metric in many.list_metrics()}


def test_near_ties_are_no_flips() -> None:
    task = ClassificationTask(ClassifyOptions(), SCHEMA)
    before = np.array([[1.0, 1.00001, 0], [1.0, 1.1, 0]], np.float32)
    after = np.array([[1.00001, 1.0, 0], [1.1, 1.0, 0]], np.float32)
    found = task.compare_outputs({"logits": before}, {"logits": after}, {})
    assert (found.flips, found.near_ties) == (1, 1)


def test_worst_mistakes_are_the_surest_ones() -> None:
    task = ClassificationTask(ClassifyOptions(), SCHEMA)
    logits = np.eye(3, dtype=np.float32)[[0] * 40] * np.linspace(0.1, 5, 40)[:, None]
    metas = [SampleMeta(row, f"{row}.png") for row in range(40)]
    predictions = task.predict({"logits": logits.astype(np.float32)}, metas, {})
    records = [task.score_prediction(p, "b") for p in predictions]
    sections = {section["title"]: section for section in task.report_sections(records, {})}
    ids = [item["id"] for item in sections["Worst mistakes"]["items"]]
    assert ids == list(range(39, 15, -1))
    assert sections["Confusion"]["matrix"] == [[0, 0, 0], [40, 0, 0], [0, 0, 0]]
    (cell,) = sections["Confusion"]["cells"]
    assert (cell["truth"], cell["answer"]) == (1, 0)
    assert [item["id"] for item in cell["items"]] == ids[:MAX_CELL_ITEMS]
    item = cell["items"][0]
    assert item["truth_probability"] == pytest.approx(np.exp(-records[39]["loss"]))
    assert item["truth_probability"] + item["probability"] < 1
    rows = sections["By class, weakest first"]["rows"]
    assert rows[0] == ["b", [0.0, 40.0], None, 0.0, 40]
    assert rows[-1] == ["c", None, None, None, 0]


def test_errors_are_summed_up_beside_the_largest_class() -> None:
    task = ClassificationTask(ClassifyOptions(), SCHEMA)
    pairs = [("a", "a")] * 5 + [("b", "a")] * 2 + [("b", "b"), ("c", "a")]
    told = {"loss": 1.0, "brier": 0.5, "probability": 0.9, "rank": 1}
    records = [
        {"id": n, "name": "", "target": one, "label": other, "correct": one == other} | told
        for n, (one, other) in enumerate(pairs)
    ]
    errors = task.summarize_errors(records)
    assert errors is not None
    assert errors.majority == pytest.approx(5 / 9)
    assert errors.majority_title == "always “a”"
    assert errors.weakest == ("c", 0.0, 1.0)
    assert errors.confused == ("b", "a", 2.0, 3.0)
    right = task.summarize_errors(records[:5])
    assert right is not None
    assert (right.weakest, right.confused) == (None, None)


def test_many_classes_take_no_matrix_of_all_of_them() -> None:
    """50,000 squared would be 20 GB. The figures are those over the classes that there are."""
    names = [f"species {number:05d}" for number in range(50_000)]
    few = names[::5_000]
    pairs = [(few[n % 10], few[(n + (n % 3 == 0)) % 10]) for n in range(60)]

    def made(task: ClassificationTask) -> tuple[dict[str, float], dict[str, Any]]:
        told = {
            "loss": 1.0,
            "brier": 0.5,
            "probability": 0.9,
            "rank": 1,
            "probabilities": [0.1] * 10,
        }
        records = [
            {"id": n, "name": f"{n}.jpg", "target": one, "label": other, "correct": one == other}
            | told
            for n, (one, other) in enumerate(pairs)
        ]
        sections = {section["title"]: section for section in task.report_sections(records, {})}
        return task.compute_metrics(records), sections

    wide, sections = made(ClassificationTask(ClassifyOptions(), {"classes": names}))
    narrow, expected = made(ClassificationTask(ClassifyOptions(), {"classes": few}))
    assert wide == pytest.approx({name: narrow[name] for name in wide})
    assert set(narrow) - set(wide) == {"auc", "average_precision"}
    shown = sections[f"Confusion (the {MAX_CONFUSION_CLASSES} most confused classes)"]
    places = [shown["classes"].index(name) for name in few]
    matrix = np.array(shown["matrix"])
    assert matrix.shape == (MAX_CONFUSION_CLASSES, MAX_CONFUSION_CLASSES)
    assert matrix[np.ix_(places, places)].tolist() == expected["Confusion"]["matrix"]
    pair = [shown["classes"][shown["cells"][0][key]] for key in ("truth", "answer")]
    assert pair == [
        expected["Confusion"]["classes"][expected["Confusion"]["cells"][0][key]]
        for key in ("truth", "answer")
    ]


@pytest.mark.parametrize("classes", [2, 3, 20, 21])
def test_rankings_of_one_label_equal_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(classes)
    names = [f"c{code}" for code in range(classes)]
    task = ClassificationTask(ClassifyOptions(), {"classes": names})
    codes = np.concatenate([np.arange(classes), rng.integers(0, classes, 200)])
    logits = rng.normal(size=(len(codes), classes)) + 2 * np.eye(classes)[codes]
    metas = [SampleMeta(row) for row in range(len(codes))]
    predictions = task.predict({"logits": logits}, metas, {})
    records = [task.score_prediction(p, names[c]) for p, c in zip(predictions, codes, strict=True)]
    values = task.compute_metrics(records)
    probability = np.array([prediction.scores["probability"] for prediction in predictions])
    assert values["kappa"] == pytest.approx(sk.cohen_kappa_score(codes, probability.argmax(axis=1)))
    if classes > 20:
        assert "auc" not in values
        return
    one_hot = np.eye(classes)[codes]
    theirs = sk.roc_auc_score(
        codes, probability[:, 1] if classes == 2 else probability, multi_class="ovr"
    )
    assert values["auc"] == pytest.approx(theirs)
    assert values["average_precision"] == pytest.approx(
        sk.average_precision_score(one_hot, probability)
    )
