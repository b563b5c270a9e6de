"""The report of a run: gathered when training ends, told again when shrink adds a receipt."""

from __future__ import annotations

import contextlib
import datetime
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from skipstone import storage
from skipstone.bundle.files import read_record
from skipstone.bundle.format import Bundle
from skipstone.data.manifest import ROLES, Manifest
from skipstone.errors import DamagedError, DataError
from skipstone.inputs.base import Input
from skipstone.models.profile import profile
from skipstone.prepare.split import labels_of
from skipstone.proof.parity import Verification
from skipstone.report.build import (
    TrainingStory,
    model_facts,
    storable,
    training_report,
)
from skipstone.report.render import render
from skipstone.runtime.programs import read_programs
from skipstone.tasks.base import ClassCounting, Task
from skipstone.train.learner import Given
from skipstone.verbs.baseline import Comparison
from skipstone.verbs.gallery import Drawing
from skipstone.verbs.plan import Plan
from skipstone.verbs.scores import Scores

STORY, PAGE = "report.json", "report.html"
FORMAT = 1
_ENDS = {
    "epochs": "as planned",
    "steps": "as planned",
    "budget": "ended by the time budget",
    "early stop": "ended early, as it got no better on select",
}
#: Rows of each role whose parts are counted; more would not tell more of their shares.
LOOKED_AT = 100


def write_report(path: Path, story: TrainingStory) -> Path:
    """Write the page `path` into a run folder, and its data beside it as report.json."""
    storage.write_json(path.parent / STORY, {"format": FORMAT, "story": story.to_json()})
    storage.write_text(path, render(training_report(story)))
    return path


def add_receipt(run_folder: Path, receipt: Mapping[str, Any]) -> Path | None:
    """Tell the run's report again with what shrink did; None where the run has no report.

    Args:
        receipt: as `shrink` writes it; it replaces an earlier one of the same plan.

    Raises:
        DamagedError: report.json is not what was written.
    """
    told = read_story(run_folder)
    if told is None:
        return None
    others = [old for old in told.receipts if old["plan"] != receipt["plan"]]
    told = replace(told, receipts=[*others, storable(receipt)])
    page = render(training_report(told))
    storage.write_json(run_folder / STORY, {"format": FORMAT, "story": told.to_json()})
    storage.write_text(run_folder / PAGE, page)
    return run_folder / PAGE


def read_story(run_folder: Path) -> TrainingStory | None:
    """The run's report as data; None where it has none.

    Raises:
        DamagedError: report.json is not what was written, so that it cannot be told again.
    """
    stored = run_folder / STORY
    if not stored.is_file():
        return None
    content = storage.read_json(stored)
    hint = "Move it away to go on without the run's report."
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DamagedError(
            f"{stored} is no story of a run that this skipstone can read.", hint=hint
        )
    try:
        told = TrainingStory.from_json(content["story"])
        render(training_report(told))
    except (DamagedError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(
            f"{stored} lacks a part of a run's story: {error}.", hint=hint
        ) from error
    return told


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a training, or an ensemble, came to.

    Args:
        folder: the bundle's.
        scores: on the part that is claimed.
        trained: names and values of what was trained, in order.
        history: a row an epoch; `best` is the one whose weights were kept.
        members: of an ensemble: `TrainingStory.members`.
    """

    given: Given
    bundle: Bundle
    folder: Path
    scores: Scores
    verification: Verification
    trained: list[list[Any]]
    history: list[dict[str, Any]] = field(default_factory=list)
    best: int | None = None
    baseline: Comparison | None = None
    members: dict[str, Any] | None = None


def gather(outcome: Outcome) -> TrainingStory:
    """The story of a run, complete: it can be told without the data."""
    bundle, scores = outcome.bundle, outcome.scores
    task, manifest = outcome.given.task, outcome.given.manifest
    classes = list(task.schema.get("classes", ()))
    when = datetime.datetime.now(datetime.UTC).strftime("%-d %B %Y, %H:%M UTC")
    kinds = f"{len(classes):,} classes, " if classes else ""
    drawing = Drawing(outcome.given, outcome.folder)
    return TrainingStory(
        title=f"{manifest.root.resolve().name}: {bundle.arch.name}",
        subtitle=f"{manifest.input}, {manifest.task}, {kinds}{len(manifest):,} rows; {when}",
        command=bundle.lineage["command"],
        headline=task.headline,
        metrics=[
            {
                "name": metric.name,
                "title": metric.title,
                "higher_is_better": metric.higher_is_better,
                **scores.metrics[metric.name].to_json(),
            }
            for metric in task.metrics()
            if metric.name in scores.metrics
        ],
        role=scores.role,
        split=scores.split,
        seed=scores.seed,
        trained=outcome.trained,
        roles={role: len(manifest.role(role)) for role in ROLES},
        classes=_classes(manifest, classes),
        parts=_parts(task, manifest),
        notes=[*manifest.notes, *_ignored(manifest), *_calibration(scores)],
        unscored=_unscored(scores),
        history=outcome.history,
        best=outcome.best,
        sections=drawing.blocks(task.sections(scores.records, bundle.post)),
        verification=outcome.verification.to_json(),
        programs=_programs(outcome.folder),
        baseline=None if outcome.baseline is None else outcome.baseline.to_json(),
        members=outcome.members,
        versions=dict(bundle.lineage.get("versions", {})),
    )


def training_facts(
    plan: Plan, bundle: Bundle, network: nn.Module, history: list[dict[str, Any]], seconds: float
) -> list[list[Any]]:
    """`Outcome.trained` of a training that took so many seconds."""
    start = "from scratch" if plan.weights == "none" else f"weights: {plan.weights}"
    how = bundle.lineage.get("how") or str(plan.recipe)
    facts = network_facts(f"{bundle.arch.name}, {start}", network, plan.input, how, seconds)
    facts.insert(1, ["Why this one", plan.reason])
    if plan.vectors is not None:
        facts.insert(4, ["Starts with", str(plan.vectors)])
    if history:
        stopped = str(bundle.lineage.get("stopped_by", ""))
        length = f"{history[-1]['step']:,} steps, {len(history):,} epochs"
        facts.append(["Length", f"{length}; {_ENDS.get(stopped, stopped)}"])
    together = bundle.lineage.get("together", plan.recipe.batch_size)
    if together < plan.recipe.batch_size:
        parts = f"batches of {plan.recipe.batch_size} went through in parts of {together}"
        facts.append(["Memory", f"was used up: {parts}"])
    return facts


def network_facts(
    name: str, network: nn.Module, input: Input, how: str, seconds: float
) -> list[list[Any]]:
    """What a report says of any network, and how it came about."""
    cost = profile(network, input.example(1))
    arrays = ", ".join(
        f"{array_name}: {' × '.join(map(str, array.shape[1:]))} {array.dtype}"
        for array_name, array in input.example(1).items()
    )
    facts = model_facts(name, cost.parameters, cost.macs, how, seconds)
    facts.insert(3, ["Input", arrays])
    return facts


def _classes(manifest: Manifest, classes: list[str]) -> list[dict[str, Any]]:
    counts: dict[str, Counter[Any]] = {role: Counter() for role in ROLES}
    for target, role in zip(manifest.column("target"), manifest.column("role"), strict=True):
        if role in counts:
            counts[role].update(labels_of(target))
    if not any(counts[role][name] for role in ROLES for name in classes):
        return []  # targets are no labels of whole rows
    return [{"name": name, **{role: counts[role][name] for role in ROLES}} for name in classes]


def _parts(task: Task, manifest: Manifest) -> dict[str, Any] | None:
    """Of what rows hold several of (pixels of masks), how many each class has in each role, over
    LOOKED_AT rows of it; None for labels of whole rows."""
    if not isinstance(task, ClassCounting):
        return None
    opened = task.opener(manifest)
    counts: dict[str, Counter[str]] = {role: Counter() for role in ROLES}
    for role in ROLES:
        targets = manifest.role(role).column("target")
        for place in np.unique(np.linspace(0, len(targets) - 1, LOOKED_AT).astype(int)):
            with contextlib.suppress(DataError):  # the loader has left it out, and said so
                counts[role].update(task.count_classes(opened(targets[place])))
    names = task.schema["classes"]
    rows = [{"name": name, **{role: counts[role][name] for role in ROLES}} for name in names]
    return {"unit": task.count_unit, "most": LOOKED_AT, "rows": rows}


def _calibration(scores: Scores) -> list[str]:
    gain = scores.calibration
    return [] if gain is None else [f"Temperature scaling: {gain.reason}"]


def _ignored(manifest: Manifest) -> list[str]:
    return [f"Passed over: {count:,} {reason}." for reason, count in manifest.ignored.items()]


def _unscored(scores: Scores) -> list[dict[str, Any]]:
    failed = [{"name": bad.name, "error": bad.error} for bad in scores.evaluation.failures]
    unknown = [
        {"name": label, "error": f"a label that the model does not know, on {rows:,} rows"}
        for label, rows in scores.evaluation.unknown.items()
    ]
    return failed + unknown


def _programs(bundle_folder: Path) -> list[dict[str, Any]]:
    files = read_record(bundle_folder)["files"]
    programs = read_programs(bundle_folder)
    return [
        {
            "name": row.name,
            "runtime": row.runtime,
            "precision": row.precision,
            "bytes": sum(files[name]["bytes"] for name in row.files.values()),
            "default": row.name == programs.default,
        }
        for row in programs.rows.values()
    ]
