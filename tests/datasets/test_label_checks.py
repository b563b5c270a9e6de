"""Rows that have one label only are refused where it shows, and need no baseline where they may."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from skipstone.core.errors import UsageError
from skipstone.core.settings import Settings
from skipstone.datasets.cache import RecordCache
from skipstone.training.baseline import make_baseline_plan
from skipstone.training.plan import TrainPlan, build_plan, exclude_unreadable_rows
from skipstone.training.run_directory import RunFolder
from tests.text_data import rows, write_folders

TEXTS = [(text, label) for text, label in rows(48) if label != "animal"]


def plan_of(data: Path) -> TrainPlan:
    settings = Settings({"seed": 0, "max_bad": "100%"})
    return build_plan(data, model="naive-bayes", weights="auto", seed=0, settings=settings)


def test_the_plan_is_refused_where_your_training_folder_holds_one(tmp_path: Path) -> None:
    write_folders(tmp_path, [pair for pair in TEXTS if pair[1] == "colour"], "train")
    write_folders(tmp_path, TEXTS[:8], "test")
    with pytest.raises(UsageError, match=r"all of them colour \(number is in the test rows only\)"):
        plan_of(tmp_path)


def test_test_rows_of_other_labels_throughout_are_refused(tmp_path: Path) -> None:
    write_folders(tmp_path, TEXTS, "train")
    write_folders(tmp_path, [(text, label.title()) for text, label in TEXTS[:8]], "Test")
    with pytest.raises(UsageError, match=r"your test rows have other labels \(Colour, Number\)"):
        plan_of(tmp_path)
    write_folders(tmp_path, TEXTS[8:10], "Test")
    assert len(plan_of(tmp_path).manifest.rows_with_role("test")) == 10


def test_the_run_ends_where_unreadable_files_leave_one(tmp_path: Path) -> None:
    data = write_folders(tmp_path / "mail", TEXTS)
    plan = plan_of(data)
    for file in (data / "number").iterdir():
        file.write_bytes(b"\xff")
    with (
        RunFolder(tmp_path / "run") as run,
        pytest.raises(UsageError, match=r"\(number is in the unreadable rows only\)"),
    ):
        exclude_unreadable_rows(plan, run, RecordCache())
    assert make_baseline_plan(plan) is not None
    # as where another model goes on with rows of one label
    assert (
        make_baseline_plan(replace(plan, manifest=plan.manifest.filter_rows("target", "colour")))
        is None
    )
