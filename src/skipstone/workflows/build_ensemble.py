"""ensemble: one model that averages the probabilities of several trained models.

    runs -> members -> rows that no member was trained on -> one bundle -> verification and report

The members are only read. The result is a run like any other: it can be used by predict, export,
verify, compare and shrink (INT8).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skipstone.bundle.architecture import MAX_MEMBERS, Arch, EnsembleArch, MemberConfig
from skipstone.bundle.files import read_bundle_json
from skipstone.bundle.format import WEIGHTS_FILE, Bundle
from skipstone.bundle.locate import resolve_bundle
from skipstone.bundle.output_paths import choose_output_folder, find_training_data
from skipstone.core import events
from skipstone.core.errors import DamagedError, Refusal, UsageError
from skipstone.core.formatting import join_command_line, join_limited, relative_path
from skipstone.core.strict_json import JsonFields
from skipstone.core.versions import package_versions
from skipstone.data.fingerprint import CONTENT_DIGEST
from skipstone.data.manifest import MANIFEST_FILE, Manifest, save_manifest
from skipstone.datasets.folds import has_folds
from skipstone.datasets.leakage import save_ancestor_rows
from skipstone.datasets.options import LoadOptions
from skipstone.datasets.unreadable import UNREADABLE
from skipstone.evaluation.intervals import Estimate, interval, paired_difference
from skipstone.evaluation.scores import Scores, format_difference
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.predictor import Predictor
from skipstone.inference.restore import restore_input, restore_network, restore_task
from skipstone.inputs.base import Input, inputs_are_equal
from skipstone.inputs.multi_input import MultiInput
from skipstone.models.averaging import AveragingEnsemble, build_ensemble, merge_member_tensors
from skipstone.models.build import load_tensors
from skipstone.report.report_data import (
    REPORT_HTML,
    REPORT_JSON,
    RunOutcome,
    collect_report_data,
    describe_network,
    write_report,
)
from skipstone.report.text_format import format_percent
from skipstone.tasks.base import Task, headline_metric
from skipstone.training.finalize import export_and_verify, score_and_write_bundle
from skipstone.training.plan import data_record
from skipstone.training.run_directory import open_or_resume
from skipstone.workflows.finished_run import FinishedRun, load_finished_run, restore_estimate
from skipstone.workflows.run_result import RunResult
from skipstone.workflows.shrink_model import load_training_manifest

#: A row gets the first of these roles that any member has it in, so that no training row of one
#: member is used to score the ensemble.
_ROLES = ("train", UNREADABLE, "val", "test")


@dataclass(frozen=True)
class EnsembleMember:
    """A member of an ensemble, opened; `path` is the one that the user passed."""

    path: str
    folder: Path
    bundle: Bundle
    input: Input
    task: Task
    manifest: Manifest
    sha256: str

    @property
    def arch(self) -> Arch:
        if not isinstance(self.bundle.arch, Arch):
            raise Refusal(
                f"{self.path} is already an {self.bundle.arch.name}.",
                hint="Name the models that it was made of.",
            )
        return self.bundle.arch


@dataclass(frozen=True)
class EnsembleContext:
    """What the members share (a `train.plan.TrainContext`), and the ensemble's architecture."""

    manifest: Manifest
    input: Input
    task: Task
    seed: int
    arch: EnsembleArch
    loading: LoadOptions = field(default_factory=LoadOptions)


def open_members(models: list[str], data: Path | None) -> list[EnsembleMember]:
    """Open the models and check that task, input and classes are the same."""
    if not 2 <= len(models) <= MAX_MEMBERS:
        raise UsageError(
            f"an ensemble needs 2 to {MAX_MEMBERS} models; named: {len(models)}.",
            hint="For example: skipstone ensemble runs/001 runs/002",
        )
    parts = [_open(model, data) for model in models]
    first = parts[0]
    for number, other in enumerate(parts[1:], 1):
        twin = next((each for each in parts[:number] if each.sha256 == other.sha256), None)
        if twin is not None:
            raise UsageError(f"{twin.path} and {other.path} are the same model.")
        for kind in ("task", "input"):
            one, two = (getattr(part.bundle, kind)["name"] for part in (first, other))
            if one != two:
                raise UsageError(
                    f"{first.path} and {other.path} have different {kind}s: {one} and {two}."
                )
        if _classes(first) != _classes(other):
            raise UsageError(
                f"{first.path} and {other.path} differ in their classes or the order of them: "
                f"{join_limited(_classes(first), 4)} and {join_limited(_classes(other), 4)}.",
                hint="Train them on the same data.",
            )
    return parts


def _open(model: str, data: Path | None) -> EnsembleMember:
    folder = resolve_bundle(model)
    bundle = Bundle.load(folder)
    sha256 = str(read_bundle_json(folder)["files"][WEIGHTS_FILE]["sha256"])
    manifest = load_training_manifest(folder, data)
    return EnsembleMember(
        model, folder, bundle, restore_input(bundle), restore_task(bundle), manifest, sha256
    )


def _classes(part: EnsembleMember) -> list[str]:
    return list(map(str, part.task.schema.get("classes", ())))


def join_members(parts: Sequence[EnsembleMember], seed: int) -> EnsembleContext:
    """Inputs, rows and architecture of the ensemble, before its network is built."""
    inputs: list[Input] = []
    members: list[MemberConfig] = []
    for part in parts:
        number = next(
            (n for n, input in enumerate(inputs) if inputs_are_equal(input, part.input)), None
        )
        if number is None:
            number = len(inputs)
            inputs.append(part.input)
        temperature = float(part.bundle.post.get("temperature", 1.0))
        members.append(MemberConfig(part.arch, number, temperature))
    task = parts[0].task
    if task.activation is None:
        raise Refusal(f"predictions of the task {task.name!r} cannot be averaged.")
    if len(inputs) > 1 and task.spatial_targets:
        raise Refusal(
            "masks and boxes can be averaged only if all members use the same input, but these "
            "preprocess theirs differently.",
            hint="Train them with the same input options, such as --size.",
        )
    input = MultiInput(inputs) if len(inputs) > 1 else inputs[0]
    ensemble = EnsembleArch(tuple(members), task.activation)
    return EnsembleContext(_join_roles(parts), input, task, seed, ensemble)


def _join_roles(parts: Sequence[EnsembleMember]) -> Manifest:
    """The rows, each in the first of _ROLES that a member has it in."""
    first = parts[0].manifest
    for other in parts[1:]:
        columns_of = [set(part.table.column_names) for part in (first, other.manifest)]
        shared = {"path", "member", "target", CONTENT_DIGEST}.intersection(*columns_of)
        if any(not first.table[name].equals(other.manifest.table[name]) for name in shared):
            raise UsageError(
                f"{parts[0].path} and {other.path} were trained on different data, so it is "
                "unknown which rows are new to both.",
                hint="Train them on the same data, read with the same options.",
            )
    columns = [part.manifest.column_values("role") for part in parts]
    roles = [min(each, key=_rank) for each in zip(*columns, strict=True)]
    manifest = first.with_column("role", roles)
    for role, title in (("test", "test"), ("val", "validation")):
        most, count = max(column.count(role) for column in columns), roles.count(role)
        if count == most:
            continue
        events.emit_note(
            f"The members' data was split differently: {count:,} {title} rows remain, of up to "
            f"{most:,}. Members trained with the same --split-seed keep all of them."
        )
    if not roles.count("val"):
        if fitted_on_all := [part.path for part in parts if has_folds(part.manifest)]:
            raise UsageError(
                f"no row is new to {join_limited(fitted_on_all)}: after cross-validation "
                f"{'they were' if len(fitted_on_all) > 1 else 'it was'} fitted on all rows.",
                hint="Train members that are solved at once with held-out rows: skipstone train "
                "DATA --folds 0",
            )
        raise UsageError(
            "no validation row remains: each is a training or test row of some member.",
            hint="Train the members with the same --split-seed.",
        )
    return manifest


def _rank(role: str) -> int:
    return _ROLES.index(role) if role in _ROLES else len(_ROLES)


def build_ensemble_network(
    joint: EnsembleContext, parts: Sequence[EnsembleMember]
) -> AveragingEnsemble:
    """The network with its members' weights. Refusal if their outputs cannot be averaged."""
    network = build_ensemble(joint.arch, joint.input)
    tensors = merge_member_tensors(joint.arch, [part.bundle.tensors for part in parts])
    load_tensors(network, tensors, where="the ensemble")
    network.eval()
    TorchRuntime(network).run(joint.input.make_example(1))
    return network


@dataclass(frozen=True)
class MemberScore(JsonFields):
    """A member compared with the ensemble, on the same rows.

    Args:
        model: the path that the user passed; `name` is its network's.
        val: its headline metric on the validation rows.
        value: its headline metric on the scored rows.
        difference: the ensemble's value minus the member's, paired.
    """

    model: str
    name: str
    val: float
    value: Estimate
    difference: Estimate


@dataclass(frozen=True, kw_only=True, repr=False)
class EnsembleResult(RunResult):
    """The result of `ensemble`.

    Args:
        members: in the order of the arguments.
        verdict: a sentence that says whether the ensemble is better than its best member.
        better: whether it is.
    """

    members: list[MemberScore]
    verdict: str
    better: bool

    def extra_facts(self) -> dict[str, object]:
        alone = {
            f"{member.model} alone": f"{member.name}: {format_percent(member.value.value)}"
            for member in self.members
        }
        return {**alone, "verdict": self.verdict}

    def to_json(self) -> dict[str, Any]:
        members = [member.to_json() for member in self.members]
        return {**super().to_json(), "members": members, "verdict": self.verdict}


def ensemble(
    models: Sequence[str | Path],
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    command: Sequence[str] = (),
) -> EnsembleResult:
    """One model that averages the probabilities of several models trained on the same data.

    It is scored on the rows that are test rows of every member. A validation row of one member
    that no other was trained on is a validation row of the ensemble.

    Args:
        models: two or more runs or bundles; of a shrunk model its network is used.
        data: where the data is now; None for where it was.
        out: folder of runs.
        command: the command line, for the report.

    Raises:
        UsageError: their tasks or classes differ, they were trained on different data, or every
            row was used to train one of them.
        Refusal: their outputs cannot be averaged.
    """
    started = time.monotonic()
    data_path = None if data is None else Path(data)
    parts = open_members([str(model) for model in models], data_path)
    joint = join_members(parts, seed)
    network = build_ensemble_network(joint, parts)
    stored_path, identity = find_training_data(parts[0].folder), _identity(joint, parts)
    root = choose_output_folder(out, default="runs", data=data_path or stored_path)
    known_path = data_path or stored_path or joint.manifest.root
    done = load_finished_run(root, identity, known_path, joint.manifest)
    if done is not None:
        return _restore_result(done, joint, started)
    with open_or_resume(root, identity) as run:
        save_manifest(joint.manifest, run.path / MANIFEST_FILE, data_path=stored_path)
        save_ancestor_rows([part.folder for part in parts], run.path)
        lineage = _lineage(joint, parts, join_command_line(command))
        scores, bundle = score_and_write_bundle(joint, network, joint.arch, lineage, run.bundle)
        scoring = _score_members(joint, parts, scores)
        members = list(events.track_progress(scoring, "members", total=len(parts)))
        verdict, better = _verdict(joint, members)
        verification, seconds = export_and_verify(run.bundle), time.monotonic() - started
        trained = describe_network(joint.arch.name, network, joint.input, lineage["how"], seconds)
        outcome = RunOutcome(
            context=joint,
            bundle=bundle,
            folder=run.bundle,
            scores=scores,
            verification=verification,
            trained=trained,
            members=_members_table(joint, members, verdict),
        )
        report = write_report(run.path / REPORT_HTML, collect_report_data(outcome))
        run.journal("scored", **scores.to_json(), verified=verification.ok)
        run.finish()
        return EnsembleResult.from_run(
            run, outcome, report, started, members=members, verdict=verdict, better=better
        )


def _restore_result(done: FinishedRun, joint: EnsembleContext, started: float) -> EnsembleResult:
    stored = done.report.members
    if stored is None:
        raise DamagedError(f"{done.path / REPORT_JSON} does not list the members of the ensemble.")
    members = []
    for row in stored["rows"]:
        estimates = {name: restore_estimate(row[name]) for name in ("value", "difference")}
        members.append(MemberScore(**{**row, **estimates}))
    verdict, better = _verdict(joint, members)
    return EnsembleResult.from_finished(
        done, joint.task, started, members=members, verdict=verdict, better=better
    )


def _members_table(
    joint: EnsembleContext, members: Sequence[MemberScore], verdict: str
) -> dict[str, Any]:
    rows = [member.to_json() for member in members]
    return {"title": headline_metric(joint.task).title, "rows": rows, "verdict": verdict}


def _identity(joint: EnsembleContext, parts: Sequence[EnsembleMember]) -> dict[str, Any]:
    return {
        "ensemble": [part.sha256 for part in parts],
        "data": joint.manifest.compute_fingerprint(),
        "seed": joint.seed,
    }


def _lineage(
    joint: EnsembleContext, parts: Sequence[EnsembleMember], command: str
) -> dict[str, Any]:
    return {
        "command": command,
        "seed": joint.seed,
        "data": data_record(joint.manifest),
        "members": [
            {
                "model": str(relative_path(part.folder.absolute())),
                "weights": part.sha256,
                "command": part.bundle.lineage.get("command", ""),
            }
            for part in parts
        ],
        "how": f"mean of the probabilities of {', '.join(part.path for part in parts)}",
        "versions": package_versions(),
    }


# --- comparison with its members --------------------------------------------------------------


def _score_members(
    joint: EnsembleContext, parts: Sequence[EnsembleMember], scores: Scores
) -> Iterator[MemberScore]:
    """Each member on the validation rows and on the rows that the ensemble was scored on."""
    metric = headline_metric(joint.task)
    part = joint.manifest.rows_with_role(scores.role)
    for member in parts:
        runtime, post = TorchRuntime(restore_network(member.bundle)), dict(member.bundle.post)
        predictor = Predictor(member.input, runtime, member.task, post)
        val = predictor.evaluate(joint.manifest.rows_with_role("val"))
        evaluation = val if scores.role == "val" else predictor.evaluate(part)
        records, groups = evaluation.records, evaluation.groups
        yield MemberScore(
            model=member.path,
            name=member.arch.name,
            val=float(joint.task.compute_metrics(val.records)[metric.name]),
            value=interval(metric, records, joint.task, groups, joint.seed),
            difference=paired_difference(
                metric, scores.records, records, joint.task, groups, joint.seed
            ),
        )


def _verdict(joint: EnsembleContext, members: Sequence[MemberScore]) -> tuple[str, bool]:
    """A sentence on the ensemble and the member that is best on the validation rows, and whether
    the ensemble is better."""
    metric = headline_metric(joint.task)
    sign = 1 if metric.higher_is_better else -1
    best = max(members, key=lambda member: sign * member.val)
    points, certain = format_difference(metric, best.difference)
    name = f"{best.model} ({best.name}), its best member on the validation rows"
    if certain > 0:
        return f"The ensemble is better than {name}: {points}.", True
    if certain < 0:
        return f"The ensemble is WORSE than {name}: {points}. Use that member.", False
    return f"The ensemble is not better than {name}, by more than chance: {points}.", False
