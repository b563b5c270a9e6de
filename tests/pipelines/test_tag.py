"""Several labels a row and groups, from a CSV: train to compare."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from skipstone.data.manifest import load_manifest
from skipstone.evaluation.intervals import metric_intervals
from skipstone.evaluation.scores import compute_scores
from skipstone.inference.open_model import open_model
from tests.photos import CLASSES
from tests.pipelines.command import Answer, ask, script_answers
from tests.pipelines.conftest import Trained


def test_train(tagged: Trained) -> None:
    assert tagged.value["verified"] is True
    assert not tagged.touched
    assert "tag" in tagged.answer.err
    found = tagged.value["metrics"]
    manifest = load_manifest(tagged.run / "manifest.parquet").rows_with_role("test")
    share = sum(len(tags) for tags in manifest.column_values("target")) / (
        len(manifest) * len(CLASSES)
    )
    assert found["map"]["value"] > share + 0.1  # random scores give about the share of tags


def test_groups_never_straddle_roles(tagged: Trained) -> None:
    manifest = load_manifest(tagged.run / "manifest.parquet")
    roles = defaultdict(set)
    for group, role in zip(
        manifest.column_values("group"), manifest.column_values("role"), strict=True
    ):
        roles[group].add(role)
    assert len(roles) == 16
    assert all(len(found) == 1 for found in roles.values())
    assert {role for found in roles.values() for role in found} == {"train", "val", "test"}


def test_intervals_use_groups(tagged: Trained) -> None:
    part = load_manifest(tagged.run / "manifest.parquet").rows_with_role("test")
    predictor = open_model(tagged.run)
    evaluation = predictor.evaluate(part)
    assert set(evaluation.groups) == set(part.column_values("group"))
    ours = compute_scores(predictor.task, evaluation, part, role="test", seed=3).metrics
    groups = evaluation.groups
    assert ours == metric_intervals(evaluation.records, predictor.task, groups, 3)
    assert ours["map"].to_json() == pytest.approx(tagged.value["metrics"]["map"], abs=1e-4)
    alone = metric_intervals(evaluation.records, predictor.task, None, 3)
    assert any(alone[name].low != ours[name].low for name in ours)


def test_predict_and_the_script_agree(tagged: Trained, tmp_path: Path) -> None:
    files = sorted((tagged.data.parent / "images").iterdir())[:8]
    rows = ask("predict", tagged.run, *files).value["predictions"]
    assert all(isinstance(row["label"], list) for row in rows)
    assert ask("export", tagged.run, "--out", tmp_path / "out").code == 0
    for row, ours in zip(script_answers(tmp_path / "out", rows), rows, strict=True):
        assert row["probabilities"] == pytest.approx(ours["probabilities"], abs=1e-4)


def test_shrink_and_evaluate(tagged: Trained, shrunk_tags: Answer) -> None:
    assert shrunk_tags.code == 0
    assert shrunk_tags.value["receipt"]["metric"] == "map"
    found = ask(
        *("evaluate", shrunk_tags.value["bundle"], tagged.data),
        *("--group-column", "scene", "--separator", "|"),
    )
    assert found.code == 0
    assert found.value["runtime"] == "openvino-int8"
    assert found.value["metrics"]["map"]["n"] == 48
