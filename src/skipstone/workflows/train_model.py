"""train: labelled data in; a run folder with a proven bundle and a report out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skipstone.bundle.output_paths import choose_output_folder
from skipstone.core.formatting import join_command_line
from skipstone.core.registry import BACKBONES
from skipstone.core.settings import Settings
from skipstone.data.fingerprint import add_content_digests
from skipstone.data.manifest import MANIFEST_FILE, load_manifest, save_manifest
from skipstone.datasets.cache import RecordCache
from skipstone.datasets.leakage import is_model_path, save_ancestor_rows
from skipstone.datasets.unreadable import UNREADABLE
from skipstone.evaluation.scores import CalibrationGain
from skipstone.report.report_data import (
    REPORT_HTML,
    RunOutcome,
    collect_report_data,
    describe_training,
    write_report,
)
from skipstone.training.baseline import BaselineComparison, compare_with_baseline, train_baseline
from skipstone.training.finalize import export_and_verify, score_and_write_bundle
from skipstone.training.finetune import load_parent
from skipstone.training.learner import get_learner
from skipstone.training.lineage import make_lineage
from skipstone.training.plan import (
    TrainPlan,
    build_plan,
    check_input_hashes,
    exclude_unreadable_rows,
)
from skipstone.training.run_directory import RunFolder, open_or_resume
from skipstone.workflows.finished_run import FinishedRun, load_finished_run, restore_estimate
from skipstone.workflows.run_result import RunResult


@dataclass(frozen=True, kw_only=True, repr=False)
class TrainResult(RunResult):
    """What a training run left.

    Args:
        unreadable: files that were left out, listed in the run folder.
        calibration: what the temperature did to the calibration error; None where there is none.
        baseline: a simple model beside it, where the input has one.
    """

    unreadable: int
    calibration: CalibrationGain | None
    baseline: BaselineComparison | None = None

    def extra_facts(self) -> dict[str, object]:
        beside = None if self.baseline is None else self.baseline.verdict
        return {"baseline": beside, "left out": self.unreadable or None}

    def to_json(self) -> dict[str, Any]:
        return {
            **super().to_json(),
            "unreadable": self.unreadable,
            "calibration": None if self.calibration is None else self.calibration.to_json(),
            "baseline": None if self.baseline is None else self.baseline.to_json(),
        }


def train(
    data: Path,
    *,
    out: str | Path | None = None,
    model: str = "auto",
    weights: str = "auto",
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    origin: str | Path | None = None,
    command: Sequence[str] = (),
) -> TrainResult:
    """Train on `data` and leave a run folder, go on with an unfinished run of the same plan, or return
    the finished one.

    `origin` is a model to go on from, for `model` and `weights`; `command` is what one would type.
    """
    started = time.monotonic()
    root = choose_output_folder(out, default="runs", data=data)
    given = Settings({**(settings or {}), "seed": seed})
    cache = RecordCache()
    plan = build_plan(
        data,
        model=model,
        weights=weights,
        seed=seed,
        settings=given,
        parent=None if origin is None else load_parent(origin),
        cache=cache,
    )
    options = (weights, *given.values.values())
    done = load_finished_run(root, plan.to_json(), data, plan.manifest, *options)
    if done is not None:
        return _restore_result(done, plan, started)
    with open_or_resume(root, plan.to_json()) as run:
        return _train_in_folder(run, plan, data, cache, join_command_line(command), started)


def _train_in_folder(
    run: RunFolder, plan: TrainPlan, data: Path, cache: RecordCache, command: str, started: float
) -> TrainResult:
    """Train, score, export and report."""
    all_rows, plan = plan, exclude_unreadable_rows(plan, run, cache)
    check_input_hashes(plan, run)
    _save_rows(plan, run, data)
    baseline_run = train_baseline(plan, run)
    output = get_learner(BACKBONES[plan.arch.backbone.name])(plan, run, cache)
    result, unreadable = output.result, len(plan.manifest.rows_with_role(UNREADABLE))
    lineage = make_lineage(all_rows, command, output, unreadable=unreadable)
    network, arch, plan = output.network, output.arch, replace(plan, input=output.input)
    scores, bundle = score_and_write_bundle(
        *(plan, network, arch, lineage, run.bundle, cache), output.validation
    )
    baseline = compare_with_baseline(baseline_run, plan, scores, arch.name)
    verification = export_and_verify(run.bundle)
    seconds = time.monotonic() - started
    outcome = RunOutcome(
        context=plan,
        bundle=bundle,
        folder=run.bundle,
        scores=scores,
        verification=verification,
        trained=describe_training(plan, bundle, network, result.history, seconds),
        history=result.history,
        best=result.chosen_epoch.get("epoch"),
        baseline=baseline,
    )
    report = write_report(run.path / REPORT_HTML, collect_report_data(outcome))
    ok, compared = verification.ok, baseline and baseline.to_json()
    run.journal("scored", **scores.to_json(), verified=ok, baseline=compared)
    run.finish(keep_checkpoint=plan.loading.keep_checkpoint)
    more = {"unreadable": unreadable, "calibration": scores.calibration, "baseline": baseline}
    return TrainResult.from_run(run, outcome, report, started, **more)


def _restore_result(done: FinishedRun, plan: TrainPlan, started: float) -> TrainResult:
    scored, rows = done.scored, load_manifest(done.path / MANIFEST_FILE)
    baseline = scored["baseline"]
    if baseline is not None:
        estimates = {name: restore_estimate(baseline[name]) for name in ("value", "difference")}
        baseline = BaselineComparison(**{**baseline, **estimates})
    return TrainResult.from_finished(
        done,
        plan.task,
        started,
        unreadable=len(rows.rows_with_role(UNREADABLE)),
        calibration=done.restore_scores(plan.task).calibration,
        baseline=baseline,
    )


def _save_rows(plan: TrainPlan, run: RunFolder, data: Path) -> None:
    """The rows with their roles, and those of the model that the run goes on from."""
    save_manifest(add_content_digests(plan.manifest), run.path / MANIFEST_FILE, data_path=data)
    if is_model_path(plan.weights):
        save_ancestor_rows([Path(plan.weights)], run.path)
