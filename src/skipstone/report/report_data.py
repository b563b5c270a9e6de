"""The report of a run: collect its data after training, and add the receipts of shrink."""

from __future__ import annotations

import contextlib
import datetime
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from skipstone.bundle.files import read_bundle_json
from skipstone.bundle.format import Bundle
from skipstone.bundle.output_paths import find_training_data
from skipstone.core import storage
from skipstone.core.errors import DamagedError, DataError
from skipstone.core.formatting import join_command_line, pluralize, relative_path
from skipstone.core.registry import INPUTS
from skipstone.data.manifest import ROLES, Manifest
from skipstone.datasets.splitting import get_labels
from skipstone.evaluation.parity import Verification
from skipstone.evaluation.scores import Scores
from skipstone.inference.programs import read_programs
from skipstone.inputs.base import Input
from skipstone.models.profile import profile_network
from skipstone.report.build_report import build_training_report, describe_model
from skipstone.report.gallery import GalleryDrawer
from skipstone.report.plots import draw_plots, format_history
from skipstone.report.render import render_report
from skipstone.report.report_schema import ReportData, to_json_safe
from skipstone.tasks.base import ClassCounting, Task
from skipstone.training.baseline import BaselineComparison
from skipstone.training.plan import TrainContext, TrainPlan

REPORT_JSON, REPORT_HTML = "report.json", "report.html"
PLOTS, RESULTS_CSV = "plots", "results.csv"
REPORT_FORMAT = 2
_ENDS = {
    "epochs": "as planned",
    "steps": "as planned",
    "budget": "stopped by the time budget",
    "early stop": "stopped early, as the validation score no longer improved",
}
#: Rows of each role whose masks are counted; more would hardly change the shares.
COUNTED_ROWS = 100


def write_report(path: Path, story: ReportData) -> Path:
    """Write the page to `path` in a run folder; next to it its data as report.json, its charts as PNG
    in plots/, and the epochs as results.csv."""
    storage.write_json(
        path.parent / REPORT_JSON, {"format": REPORT_FORMAT, "story": story.to_json()}
    )
    report = build_training_report(story)
    storage.write_text(path, render_report(report))
    with storage.write_folder(path.parent / PLOTS) as plots:
        for name, picture in draw_plots(report).items():
            storage.write_bytes(plots / name, picture)
    if story.history:
        storage.write_text(path.parent / RESULTS_CSV, format_history(story.history))
    return path


def add_receipt_to_report(run_folder: Path, receipt: Mapping[str, Any]) -> Path | None:
    """Write the run's report again with a receipt of shrink; None if the run has no report.

    Args:
        receipt: from `shrink`; it replaces an earlier one of the same plan.

    Raises:
        DamagedError: report.json was changed since it was written.
    """
    story = load_report_data(run_folder)
    if story is None:
        return None
    others = [old for old in story.receipts if old["plan"] != receipt["plan"]]
    story = replace(story, receipts=[*others, to_json_safe(receipt)])
    page = render_report(build_training_report(story))
    storage.write_json(
        run_folder / REPORT_JSON, {"format": REPORT_FORMAT, "story": story.to_json()}
    )
    storage.write_text(run_folder / REPORT_HTML, page)
    return run_folder / REPORT_HTML


def load_report_data(run_folder: Path) -> ReportData | None:
    """The data of the run's report; None if the run has no report.

    Raises:
        DamagedError: report.json was changed since it was written and cannot be rendered.
    """
    stored = run_folder / REPORT_JSON
    if not stored.is_file():
        return None
    content = storage.read_json(stored)
    hint = "Move the file away to continue without the run's report."
    if not isinstance(content, dict) or content.get("format") != REPORT_FORMAT:
        raise DamagedError(
            f"{stored} is not report data that this version of skipstone can read.", hint=hint
        )
    try:
        story = ReportData.from_json(content["story"])
        render_report(build_training_report(story))
    except (DamagedError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{stored} is not valid report data: {error}.", hint=hint) from error
    return story


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """The outcome of a training or an ensemble, from which the report is made.

    Args:
        folder: the bundle's.
        scores: on the test rows, or else on the validation rows.
        trained: `ReportData.trained`.
        history: one row per epoch; `best` is the epoch whose weights were kept.
        members: for an ensemble `ReportData.members`.
    """

    context: TrainContext
    bundle: Bundle
    folder: Path
    scores: Scores
    verification: Verification
    trained: list[list[Any]]
    history: list[dict[str, Any]] = field(default_factory=list)
    best: int | None = None
    baseline: BaselineComparison | None = None
    members: dict[str, Any] | None = None


def collect_report_data(outcome: RunOutcome) -> ReportData:
    """Collect the report's data; afterwards the training data is no longer needed."""
    bundle, scores = outcome.bundle, outcome.scores
    task, manifest = outcome.context.task, outcome.context.manifest
    classes = list(task.schema.get("classes", ()))
    when = datetime.datetime.now(datetime.UTC).strftime("%-d %B %Y, %H:%M UTC")
    kinds = f"{pluralize(len(classes), 'class', 'classes')}, " if classes else ""
    ignored = [f"Ignored: {count:,} {why}." for why, count in manifest.skipped_counts.items()]
    drawing = GalleryDrawer(outcome.context, outcome.folder)
    return ReportData(
        title=f"{manifest.root.resolve().name}: {bundle.arch.name}",
        subtitle=f"{manifest.input}, {manifest.task}, {kinds}{pluralize(len(manifest), 'row')}; {when}",
        command=bundle.lineage["command"],
        headline=task.headline,
        metrics=[
            {
                "name": metric.name,
                "title": metric.title,
                "higher_is_better": metric.higher_is_better,
                **scores.metrics[metric.name].to_json(),
            }
            for metric in task.list_metrics()
            if metric.name in scores.metrics
        ],
        role=scores.role,
        split=scores.split,
        seed=scores.seed,
        trained=outcome.trained,
        roles={role: len(manifest.rows_with_role(role)) for role in ROLES},
        classes=_classes(manifest, classes),
        class_counts_within_rows=_parts(task, manifest),
        commands=_commands(outcome),
        sample=INPUTS[manifest.input].noun,
        errors=None if scores.errors is None else asdict(scores.errors),
        stopped_by=str(bundle.lineage.get("stopped_by", "")),
        notes=[*manifest.notes, *ignored, *_calibration(scores)],
        unscored=_unscored(scores),
        history=outcome.history,
        best=outcome.best,
        sections=drawing.draw_galleries(task.report_sections(scores.records, bundle.post)),
        verification=outcome.verification.to_json(),
        programs=_programs(outcome.folder),
        baseline=None if outcome.baseline is None else outcome.baseline.to_json(),
        members=outcome.members,
        versions=dict(bundle.lineage.get("versions", {})),
    )


def describe_training(
    plan: TrainPlan,
    bundle: Bundle,
    network: nn.Module,
    history: list[dict[str, Any]],
    seconds: float,
) -> list[list[Any]]:
    """`RunOutcome.trained` of a training that took `seconds`."""
    start = "from scratch" if plan.weights == "none" else f"weights: {plan.weights}"
    how = bundle.lineage.get("how") or str(plan.recipe)
    facts = describe_network(f"{bundle.arch.name}, {start}", network, plan.input, how, seconds)
    facts.insert(1, ["Reason for this model", plan.reason])
    if plan.vectors is not None:
        facts.insert(4, ["Word vectors", str(plan.vectors)])
    if history:
        stopped = str(bundle.lineage.get("stopped_by", ""))
        steps, epochs = pluralize(history[-1]["step"], "step"), pluralize(len(history), "epoch")
        length = f"{steps}, {epochs}"
        facts.append(["Length", f"{length}; {_ENDS.get(stopped, stopped)}"])
    micro_batch = bundle.lineage.get("micro_batch", plan.recipe.batch_size)
    if micro_batch < plan.recipe.batch_size:
        split = f"batches of {plan.recipe.batch_size} were split into parts of {micro_batch}"
        facts.append(["Memory", f"too little: {split}"])
    return facts


def describe_network(
    name: str, network: nn.Module, input: Input, how: str, seconds: float
) -> list[list[Any]]:
    """Name, size, input and recipe of any network, for the report."""
    cost = profile_network(network, input.make_example(1))
    arrays = ", ".join(
        f"{array_name}: {' × '.join(map(str, array.shape[1:]))} {array.dtype}"
        for array_name, array in input.make_example(1).items()
    )
    facts = describe_model(name, cost.parameters, cost.macs, how, seconds)
    facts.insert(3, ["Input", arrays])
    return facts


def _commands(outcome: RunOutcome) -> dict[str, str]:
    """What to type next, by command name."""
    run = str(relative_path(outcome.folder.parent))
    data = str(find_training_data(outcome.folder) or "DATA")
    return {
        "audit": join_command_line(["skipstone", "audit", data, "--model", run]),
        "shrink": join_command_line(["skipstone", "shrink", run]),
        "export": join_command_line(["skipstone", "export", run]),
    }


def _classes(manifest: Manifest, classes: list[str]) -> list[dict[str, Any]]:
    counts: dict[str, Counter[Any]] = {role: Counter() for role in ROLES}
    for target, role in zip(
        manifest.column_values("target"), manifest.column_values("role"), strict=True
    ):
        if role in counts:
            counts[role].update(get_labels(target))
    if not any(counts[role][name] for role in ROLES for name in classes):
        return []  # targets are not labels of whole rows
    return [{"name": name, **{role: counts[role][name] for role in ROLES}} for name in classes]


def _parts(task: Task, manifest: Manifest) -> dict[str, Any] | None:
    """Pixels of masks (or other parts of rows) by class and role, counted in at most LOOKED_AT rows
    of each role; None for labels of whole rows."""
    if not isinstance(task, ClassCounting):
        return None
    load_target = task.target_loader(manifest)
    counts: dict[str, Counter[str]] = {role: Counter() for role in ROLES}
    for role in ROLES:
        targets = manifest.rows_with_role(role).column_values("target")
        for row in np.unique(np.linspace(0, len(targets) - 1, COUNTED_ROWS).astype(int)):
            with contextlib.suppress(DataError):  # training has skipped and reported it
                counts[role].update(task.count_classes(load_target(targets[row])))
    names = task.schema["classes"]
    rows = [{"name": name, **{role: counts[role][name] for role in ROLES}} for name in names]
    return {"unit": task.count_unit, "most": COUNTED_ROWS, "rows": rows}


def _calibration(scores: Scores) -> list[str]:
    gain = scores.calibration
    return [] if gain is None else [f"Temperature scaling: {gain.reason}"]


def _unscored(scores: Scores) -> list[dict[str, Any]]:
    failed = [{"name": bad.name, "error": bad.error} for bad in scores.evaluation.failures]
    unknown = [
        {
            "name": label,
            "error": f"a label that the model does not know, on {pluralize(rows, 'row')}",
        }
        for label, rows in scores.evaluation.unknown_labels.items()
    ]
    return failed + unknown


def _programs(bundle_folder: Path) -> list[dict[str, Any]]:
    files = read_bundle_json(bundle_folder)["files"]
    programs = read_programs(bundle_folder)
    return [
        {
            "name": row.name,
            "runtime": row.runtime,
            "precision": row.precision,
            "bytes": sum(files[name]["bytes"] for name in row.files.values()),
            "default": row.name == programs.default,
        }
        for row in programs.by_name.values()
    ]
