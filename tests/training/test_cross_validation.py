"""Models that are solved at once: scored by folds, then fitted on all rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from skipstone.core.errors import UsageError
from skipstone.core.settings import Settings
from skipstone.data.manifest import Manifest, build_table
from skipstone.datasets.cache import RecordCache
from skipstone.datasets.folds import FOLDS, assign_folds, list_fold_fits
from skipstone.datasets.stratify import RowUnit
from skipstone.tasks.classification.task import ClassificationTask
from skipstone.tasks.options import ClassifyOptions
from skipstone.training.closed_form import extract_features, fit_closed_form, solve
from skipstone.training.cross_validation import CrossValidation, FoldOutputs
from skipstone.training.finalize import scored_role
from skipstone.training.plan import TrainPlan, build_plan
from skipstone.training.run_directory import RunFolder
from skipstone.training.train_output import TrainOutput
from tests.text_data import rows, write_csv


def plan_of(folder: Path, model: str, header: str = "text,label", **options: Any) -> TrainPlan:
    data = folder / "texts.csv"
    if not data.exists():
        write_csv(data, rows(90), header)
    settings = Settings({"seed": 0, **options})
    return build_plan(data, model=model, weights="auto", seed=0, settings=settings)


def fit(plan: TrainPlan, folder: Path) -> TrainOutput:
    with RunFolder(folder / "run") as run:
        return fit_closed_form(plan, run, RecordCache())


def test_a_row_is_predicted_by_a_model_and_a_vocabulary_without_it(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "linear-svm", svm_c=1.0)
    output = fit(plan, tmp_path)
    assert output.validation is not None
    train_rows = plan.manifest.rows_with_role("train")
    assert len(train_rows) == len(plan.manifest) == 90
    first = output.validation.repeats[0]
    position = {id: at for at, id in enumerate(first.rows.column_values("id"))}
    one = list_fold_fits(train_rows)[0][0]
    inside = train_rows.take_rows(one.train)
    input: Any = plan.input.fit(inside.list_sources())
    matrix, targets = extract_features(input, plan.task, inside, "linear-svm")
    network: Any = solve(plan.arch, input, matrix, targets, 3, plan.seed)[0]
    outside, _ = extract_features(
        input, plan.task, train_rows.take_rows(one.held_out), "linear-svm"
    )
    weight = network.backbone.weight.weight.detach().numpy()[1:]
    wanted = outside @ weight + network.backbone.bias.detach().numpy()
    ids = [train_rows.column_values("id")[row] for row in one.held_out]
    actual = first.outputs[0]["logits"][[position[id] for id in ids]]
    np.testing.assert_allclose(actual, wanted, atol=1e-5)
    assert input.feature_spec().channels < plan.input.feature_spec().channels


def test_the_model_that_ships_is_fitted_on_all_rows(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "linear-svm", svm_c=1.0)
    output = fit(plan, tmp_path)
    matrix, targets = extract_features(plan.input, plan.task, plan.manifest, "linear-svm")
    wanted, _ = solve(plan.arch, plan.input, matrix, targets, 3, plan.seed)
    for name, value in wanted.state_dict().items():
        np.testing.assert_array_equal(value, output.network.state_dict()[name])
    assert matrix.shape[0] == 90


def test_small_data_is_scored_three_times_and_each_row_counts_once(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "naive-bayes", alpha=0.1)
    output = fit(plan, tmp_path)
    assert output.validation is not None
    assert len(output.validation.repeats) == 3
    scores = output.validation.compute_scores(plan.task, seed=0)
    assert (scores.role, scored_role(plan.manifest)) == ("folds", "folds")
    parts = [output.validation.evaluate(plan.task, repeat) for repeat in range(3)]
    mean = np.mean([record["correct"] for part in parts for record in part.records])
    assert scores.metrics["accuracy"].value == pytest.approx(mean)
    assert {value.n for value in scores.metrics.values()} == {90}
    assert len(scores.records) == 90


def test_an_automatic_choice_compares_models_and_their_mean(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "auto")
    with RunFolder(tmp_path / "run") as run:
        output = fit_closed_form(plan, run, RecordCache())
        compared = [entry["models"] for entry in run.entries("cross-validated")]
    names = [[model["model"] for model in models] for models in compared]
    assert names == [["linear-svm"], ["nbsvm"], ["linear-svm", "nbsvm"]]
    assert output.validation is not None


@pytest.mark.parametrize("header", ["test", "validation"])
def test_rows_that_the_user_names_for_the_test_are_not_fitted_on(
    tmp_path: Path, header: str
) -> None:
    table = [(*row, "train") for row in rows(60)] + [(*row, header) for row in rows(30, seed=1)]
    write_csv(tmp_path / "texts.csv", table, "text,label,split")  # type: ignore[arg-type]
    plan = plan_of(tmp_path, "naive-bayes", alpha=0.1)
    roles = plan.manifest.column_values("role")
    assert (roles.count("train"), roles.count("test")) == (60, 30)
    assert scored_role(plan.manifest) == "test"
    folds = plan.manifest.column_values(FOLDS)
    assert all((role == "train") == bool(fold) for role, fold in zip(roles, folds, strict=True))


def test_candidates_that_win_by_chance_do_not_raise_the_score() -> None:
    """Of 40 candidates that guess, the best is right in far more than half of 200 rows."""
    dice = np.random.default_rng(0)
    names = ["a", "b"]
    labels = [names[code] for code in dice.integers(0, 2, 200)]
    table = build_table({"path": ["x"] * 200, "target": labels}, pa.string())
    manifest = Manifest(table, Path(), "r", "text", "classify", {"classes": names})
    task = ClassificationTask(ClassifyOptions(), {"classes": names})
    outputs = [{"logits": dice.normal(size=(200, 2)).astype(np.float32)} for _ in range(40)]
    part = FoldOutputs(manifest, np.arange(200) % 5, outputs)
    ranks = part.rank_candidates(task, np.ones(200, bool))
    assert max(ranks) > 0.56
    scores = CrossValidation([part], int(np.argmax(ranks))).compute_scores(task, seed=0)
    assert scores.metrics["accuracy"].value < 0.54


@pytest.mark.parametrize(("wrong", "chosen"), [(range(5, 54), 0), (range(10), 2)])
def test_the_mean_of_models_has_to_be_clearly_better(wrong: range, chosen: int) -> None:
    """Five rows gained and four lost are no reason for two models instead of one."""
    labels = ["a", "b"] * 100
    table = build_table({"path": ["x"] * 200, "target": labels}, pa.string())
    manifest = Manifest(table, Path(), "r", "text", "classify", {"classes": ["a", "b"]})
    task = ClassificationTask(ClassifyOptions(), {"classes": ["a", "b"]})

    def outputs_with(rows: range) -> dict[str, np.ndarray]:
        logits = np.where(np.arange(2) == (np.arange(200) % 2)[:, None], 1.0, -1.0)
        logits[list(rows)] *= -1
        return {"logits": logits.astype(np.float32)}

    outputs = [outputs_with(range(50)), outputs_with(range(60)), outputs_with(wrong)]
    part = FoldOutputs(manifest, np.arange(200) % 5, outputs, last_is_mean=True)
    assert part.choose_candidate(task, np.ones(200, bool)) == chosen


@pytest.mark.parametrize(
    ("rows_of_unit", "count", "repeats", "held_out"),
    [(1, 300, 3, 300), (2, 2_000, 1, 2_000), (1, 20_000, 1, 4_000)],
)
def test_folds_keep_units_together_and_labels_apart(
    rows_of_unit: int, count: int, repeats: int, held_out: int
) -> None:
    labels = ["ab"[(row // rows_of_unit) % 2] for row in range(count)]
    table = build_table({"path": ["x"] * count, "target": labels}, pa.string())
    manifest = Manifest(table, Path(), "r", "text", "classify", {})
    units = [
        RowUnit(bytes([at % 251, at // 251]), tuple(range(at, at + rows_of_unit)), {labels[at]: 1})
        for at in range(0, count, rows_of_unit)
    ]
    assigned, note = assign_folds(manifest, units, 5)
    fits = list_fold_fits(assigned)
    assert len(fits) == repeats
    for parts in fits:
        seen = np.concatenate([part.held_out for part in parts])
        assert len(np.unique(seen)) == len(seen) == held_out
        for part in parts:
            assert not set(part.train) & set(part.held_out)
            assert not set(part.train // rows_of_unit) & set(part.held_out // rows_of_unit)
            share = np.mean([labels[row] == "a" for row in part.held_out])
            assert share == pytest.approx(0.5, abs=0.02)
    assert f"{count:,} rows" in note


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("textcnn", {"folds": 5}, "the model is trained in steps"),
        ("linear-svm", {"folds": 5, "val_share": 0.2}, "--val-share holds rows out instead"),
    ],
)
def test_folds_that_would_do_nothing_are_refused(
    tmp_path: Path, model: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        plan_of(tmp_path, model, **options)


@pytest.mark.parametrize("options", [{"folds": 0}, {"test_share": 0.2}])
def test_rows_can_be_held_out_instead(tmp_path: Path, options: dict[str, Any]) -> None:
    plan = plan_of(tmp_path, "linear-svm", **options)
    assert FOLDS not in plan.manifest.table.column_names
    assert len(plan.manifest.rows_with_role("val")) > 0
