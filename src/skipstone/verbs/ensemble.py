"""ensemble: several trained models answer together, as one model.

    runs -> members -> rows that none of them has learnt from -> one bundle -> proof and report

Each member is only read. What comes of it is a run like any other: it predicts, exports, verifies
and compares, and INT8 makes it smaller.
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
from skipstone.train.runfolder import open_or_resume
from skipstone.verbs.finish import export_and_verify, write_bundle
from skipstone.verbs.finished import Finished
from skipstone.verbs.lineage import data_record, versions
from skipstone.verbs.members import Joint, Part, join, open_parts, voting
from skipstone.verbs.places import known_data, output_folder
from skipstone.verbs.scores import Scores, in_points
from skipstone.verbs.story import PAGE, Outcome, gather, network_facts, write_report
from skipstone.words import command_line, shortest


@dataclass(frozen=True)
class Standing:
    """A member beside the ensemble, on the same rows.

    Args:
        model: how the user named it; `name` is its network's.
        select: its headline metric where members are told apart.
        value: the same on the rows that are scored.
        difference: the ensemble's value minus its own, paired.
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
    """What `ensemble` left.

    Args:
        members: as they were named.
        verdict: a sentence: whether it is better than the best of them, as `better` has it.
    """

    members: list[Standing]
    verdict: str
    better: bool

    def own_facts(self) -> dict[str, object]:
        alone = {
            f"{member.model} alone": f"{member.name}: {percent(member.value.value)}"
            for member in self.members
        }
        return {**alone, "beside them": self.verdict}

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
    """One model of several that were trained on the same rows: their probabilities are averaged.

    It is judged on rows that none of them has learnt from: claimed are those that all claim, and
    what one has decided by decides again.

    Args:
        models: runs or bundles, two or more; of a shrunk one its network takes part.
        data: where the data lies now; None for where it was.
        out: folder of runs.
        command: what one would type.

    Raises:
        UsageError: they answer different questions, or were trained on other rows, or no row is
            new to all of them.
        Refusal: what they answer cannot be averaged.
    """
    started = time.monotonic()
    given = None if data is None else Path(data)
    parts = open_parts([str(model) for model in models], given)
    joint = join(parts, seed)
    network = voting(joint, parts)
    root = output_folder(out, default="runs", data=given or known_data(parts[0].folder))
    with open_or_resume(root, _identity(joint, parts)) as run:
        save_manifest(joint.manifest, run.path / MANIFEST, given=known_data(parts[0].folder))
        lineage = _lineage(joint, parts, command_line(command))
        scores, bundle = write_bundle(joint, network, joint.arch, lineage, run.bundle)
        standing = list(events.track(_standings(joint, parts, scores), "members", total=len(parts)))
        verdict, better = _verdict(joint, standing)
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
                "rows": [member.to_json() for member in standing],
                "verdict": verdict,
            },
        )
        report = write_report(run.path / PAGE, gather(outcome))
        run.journal("scored", **scores.to_json(), verified=verification.ok)
        run.finish()
        return EnsembleResult.of(
            run, outcome, report, started, members=standing, verdict=verdict, better=better
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
        "how": f"the mean of the probabilities of {', '.join(part.path for part in parts)}",
        "versions": versions(),
    }


# --- beside its members -----------------------------------------------------------------------


def _standings(joint: Joint, parts: Sequence[Part], scores: Scores) -> Iterator[Standing]:
    """Each member on select, and on the rows that the ensemble was scored on."""
    metric = headline(joint.task)
    part = joint.manifest.role(scores.role)
    for member in parts:
        runtime, post = TorchRuntime(network_of(member.bundle)), dict(member.bundle.post)
        predictor = Predictor(member.input, runtime, member.task, post)
        select = predictor.evaluate(joint.manifest.role("select"))
        own = select if scores.role == "select" else predictor.evaluate(part)
        yield Standing(
            model=member.path,
            name=member.arch.name,
            select=float(joint.task.compute(select.records)[metric.name]),
            value=interval(metric, own.records, joint.task, own.groups, joint.seed),
            difference=paired_difference(
                metric, scores.records, own.records, joint.task, own.groups, joint.seed
            ),
        )


def _verdict(joint: Joint, standing: Sequence[Standing]) -> tuple[str, bool]:
    """Whether the ensemble is better than the member that is best on select, in a sentence."""
    metric = headline(joint.task)
    sign = 1 if metric.higher_is_better else -1
    best = max(standing, key=lambda member: sign * member.select)
    points, surely = in_points(metric, best.difference)
    name = f"{best.model} ({best.name}), the best of them on select"
    if surely > 0:
        return f"Together they are better than {name}: {points}.", True
    if surely < 0:
        return f"Together they are WORSE than {name}: {points}. Take that one.", False
    return f"Together they are not better than {name}, by more than chance: {points}.", False
