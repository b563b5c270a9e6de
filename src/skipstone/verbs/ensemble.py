"""ensemble: one model that averages the probabilities of several trained models.

    runs -> members -> rows that no member was trained on -> one bundle -> verification and report

The members are only read. The result is a run like any other: it can be used by predict, export,
verify, compare and shrink (INT8).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone import events
from skipstone.data.manifest_file import MANIFEST, save_manifest
from skipstone.proof.intervals import Estimate, interval, paired_difference
from skipstone.report.words import percent
from skipstone.runtime.parts import network_of
from skipstone.runtime.predictor import Predictor
from skipstone.runtime.torch_runtime import TorchRuntime
from skipstone.tasks.base import headline
from skipstone.train.plan import data_record
from skipstone.train.runfolder import open_or_resume
from skipstone.verbs.finish import export_and_verify, write_bundle
from skipstone.verbs.finished import Finished
from skipstone.verbs.lineage import versions
from skipstone.verbs.members import Joint, Part, join, open_parts, voting
from skipstone.verbs.places import known_data, output_folder
from skipstone.verbs.scores import Scores, in_points
from skipstone.verbs.story import PAGE, Outcome, gather, network_facts, write_report
from skipstone.words import command_line, shortest


@dataclass(frozen=True)
class Standing:
    """A member compared with the ensemble, on the same rows.

    Args:
        model: the path that the user passed; `name` is its network's.
        select: its headline metric on the validation rows.
        value: its headline metric on the scored rows.
        difference: the ensemble's value minus the member's, paired.
    """

    model: str
    name: str
    select: float
    value: Estimate
    difference: Estimate

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "name": self.name,
            "select": self.select,
            "value": self.value.to_json(),
            "difference": self.difference.to_json(),
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class EnsembleResult(Finished):
    """The result of `ensemble`.

    Args:
        members: in the order of the arguments.
        verdict: a sentence that says whether the ensemble is better than its best member.
        better: whether it is.
    """

    members: list[Standing]
    verdict: str
    better: bool

    def own_facts(self) -> dict[str, object]:
        alone = {
            f"{member.model} alone": f"{member.name}: {percent(member.value.value)}"
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
    parts = open_parts([str(model) for model in models], data_path)
    joint = join(parts, seed)
    network = voting(joint, parts)
    root = output_folder(out, default="runs", data=data_path or known_data(parts[0].folder))
    with open_or_resume(root, _identity(joint, parts)) as run:
        save_manifest(joint.manifest, run.path / MANIFEST, given=known_data(parts[0].folder))
        lineage = _lineage(joint, parts, command_line(command))
        scores, bundle = write_bundle(joint, network, joint.arch, lineage, run.bundle)
        scoring = _score_members(joint, parts, scores)
        members = list(events.track(scoring, "members", total=len(parts)))
        verdict, better = _verdict(joint, members)
        verification, seconds = export_and_verify(run.bundle), time.monotonic() - started
        outcome = Outcome(
            given=joint,
            bundle=bundle,
            folder=run.bundle,
            scores=scores,
            verification=verification,
            trained=network_facts(joint.arch.name, network, joint.input, lineage["how"], seconds),
            members={
                "title": headline(joint.task).title,
                "rows": [member.to_json() for member in members],
                "verdict": verdict,
            },
        )
        report = write_report(run.path / PAGE, gather(outcome))
        run.journal("scored", **scores.to_json(), verified=verification.ok)
        run.finish()
        return EnsembleResult.of(
            run, outcome, report, started, members=members, verdict=verdict, better=better
        )


def _identity(joint: Joint, parts: Sequence[Part]) -> dict[str, Any]:
    return {
        "ensemble": [part.sha256 for part in parts],
        "data": joint.manifest.fingerprint(),
        "seed": joint.seed,
    }


def _lineage(joint: Joint, parts: Sequence[Part], command: str) -> dict[str, Any]:
    return {
        "command": command,
        "seed": joint.seed,
        "data": data_record(joint.manifest),
        "members": [
            {
                "model": str(shortest(part.folder.absolute())),
                "weights": part.sha256,
                "command": part.bundle.lineage.get("command", ""),
            }
            for part in parts
        ],
        "how": f"mean of the probabilities of {', '.join(part.path for part in parts)}",
        "versions": versions(),
    }


# --- comparison with its members --------------------------------------------------------------


def _score_members(joint: Joint, parts: Sequence[Part], scores: Scores) -> Iterator[Standing]:
    """Each member on the validation rows and on the rows that the ensemble was scored on."""
    metric = headline(joint.task)
    part = joint.manifest.role(scores.role)
    for member in parts:
        runtime, post = TorchRuntime(network_of(member.bundle)), dict(member.bundle.post)
        predictor = Predictor(member.input, runtime, member.task, post)
        val = predictor.evaluate(joint.manifest.role("select"))
        evaluation = val if scores.role == "select" else predictor.evaluate(part)
        records, groups = evaluation.records, evaluation.groups
        yield Standing(
            model=member.path,
            name=member.arch.name,
            select=float(joint.task.compute(val.records)[metric.name]),
            value=interval(metric, records, joint.task, groups, joint.seed),
            difference=paired_difference(
                metric, scores.records, records, joint.task, groups, joint.seed
            ),
        )


def _verdict(joint: Joint, members: Sequence[Standing]) -> tuple[str, bool]:
    """A sentence on the ensemble and the member that is best on the validation rows, and whether
    the ensemble is better."""
    metric = headline(joint.task)
    sign = 1 if metric.higher_is_better else -1
    best = max(members, key=lambda member: sign * member.select)
    points, certain = in_points(metric, best.difference)
    name = f"{best.model} ({best.name}), its best member on the validation rows"
    if certain > 0:
        return f"The ensemble is better than {name}: {points}.", True
    if certain < 0:
        return f"The ensemble is WORSE than {name}: {points}. Use that member.", False
    return f"The ensemble is not better than {name}, by more than chance: {points}.", False
