"""The baseline beside a model: what a simple one, found in seconds, makes of the same data.

The input's entry names it (the fact `baseline`). A model that is not better than it by more than
chance is said to be so.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skipstone import events
from skipstone.bundle.arch import Arch, Part
from skipstone.data.manifest import Manifest
from skipstone.option_types import stored_options
from skipstone.prepare.cache import RecordCache
from skipstone.proof.intervals import Estimate, interval, paired_difference
from skipstone.registry import BACKBONES, INPUTS, resolve_target
from skipstone.runtime.predictor import Predictor
from skipstone.runtime.torch_runtime import TorchRuntime
from skipstone.tasks.base import Metric, Record, headline
from skipstone.train.learner import learner_of
from skipstone.train.runfolder import RunFolder
from skipstone.verbs.plan import Plan, usual_head
from skipstone.verbs.scores import in_points


@dataclass(frozen=True)
class Baseline:
    """A baseline that was found.

    Args:
        model: its name.
        predictor: that answers with it.
        seconds: that finding it took.
    """

    model: str
    predictor: Predictor
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """A model beside its baseline, on the same samples.

    Args:
        model: the baseline's name.
        metric: the headline's name; `title` for a person.
        value: of the baseline.
        difference: the model's value minus the baseline's.
        verdict: a sentence.
    """

    model: str
    metric: str
    title: str
    value: Estimate
    difference: Estimate
    seconds: float
    verdict: str

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "metric": self.metric,
            "title": self.title,
            "value": self.value.to_json(),
            "difference": self.difference.to_json(),
            "seconds": round(self.seconds, 1),
            "verdict": self.verdict,
        }


def find_baseline(plan: Plan, run: RunFolder) -> Baseline | None:
    """The baseline of a plan; None where its input has none, or the model is it."""
    simple = baseline_plan(plan)
    if simple is None:
        return None
    began = time.monotonic()
    name = simple.arch.backbone.name
    with events.stage(f"the baseline, {name}"):
        learnt = learner_of(BACKBONES[name])(simple, run, RecordCache())
        runtime = TorchRuntime(learnt.network)
        select = plan.manifest.role("select")
        post = Predictor(simple.input, runtime, plan.task, {}).calibrate(select)
        predictor = Predictor(simple.input, runtime, plan.task, post)
        found = plan.task.compute(predictor.evaluate(select).records) if len(select) else {}
    seconds = time.monotonic() - began
    metric = headline(plan.task)
    if metric.name in found:
        events.note(
            f"Baseline: {name} has {metric.title} {found[metric.name]:.1%} on select, "
            f"after {seconds:.1f} s."
        )
    return Baseline(name, predictor, seconds)


def baseline_plan(plan: Plan) -> Plan | None:
    """The same data and task with the input's baseline as the model; None where it has none, or
    where all rows are labelled alike, as may be where another model's training goes on."""
    entry = INPUTS[plan.manifest.input]
    name, fit = entry.facts.get("baseline"), plan.manifest.role("fit")
    if name is None or name == plan.arch.backbone.name:
        return None
    if len(set(map(str, fit.column("target")))) < 2:
        return None
    choice = resolve_target(entry.facts["chooser"])(
        model=name,
        weights="auto",
        state=plan.input.state()[0],
        rows=len(fit),
        classes=len(plan.task.schema.get("classes", ())),
    )
    input = entry.load()(entry.make_options(choice.input)).fit(fit.sources())
    backbone = BACKBONES[name]
    options = stored_options(backbone.make_options(choice.options))
    arch = Arch(Part(name, {"options": options}), usual_head(plan.task, backbone))
    return dataclasses.replace(plan, input=input, arch=arch, weights="none")


def beside(
    baseline: Baseline | None, plan: Plan, records: Sequence[Record], part: Manifest
) -> Comparison | None:
    """The baseline scored on `part`, where the model has `records`; None where there is none."""
    if baseline is None or not records:
        return None
    evaluation = baseline.predictor.evaluate(part)
    metric, task = headline(plan.task), plan.task
    groups = evaluation.groups
    value = interval(metric, evaluation.records, task, groups, plan.seed)
    gap = paired_difference(metric, records, evaluation.records, task, groups, plan.seed)
    verdict = _verdict(plan.arch.backbone.name, baseline.model, metric, gap)
    return Comparison(
        baseline.model, metric.name, metric.title, value, gap, baseline.seconds, verdict
    )


def _verdict(model: str, baseline: str, metric: Metric, gap: Estimate) -> str:
    points, surely = in_points(metric, gap)
    if surely > 0:
        return f"{model} is better than the baseline {baseline}: {points}."
    if surely < 0:
        return f"{model} is WORSE than the baseline {baseline}: {points}. Take --model {baseline}."
    return (
        f"{model} is not better than the baseline {baseline} by more than chance: {points}. "
        f"--model {baseline} may be as good, found in seconds."
    )
