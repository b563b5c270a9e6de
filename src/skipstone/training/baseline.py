"""The baseline: a simple model, trained in seconds on the same data, to compare a model with.

The input names it (`baseline` of its spec). The verdict says if the model is not
better by more than chance.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.core import events
from skipstone.core.options import options_to_json
from skipstone.core.registry import BACKBONES, INPUTS
from skipstone.core.specs import resolve_target
from skipstone.core.strict_json import JsonFields
from skipstone.datasets.cache import RecordCache
from skipstone.evaluation.intervals import Estimate, interval, paired_difference
from skipstone.evaluation.scores import Scores, format_difference
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.predictor import Predictor
from skipstone.tasks.base import Metric, headline_metric
from skipstone.training.cross_validation import FOLDS_ROLE, CrossValidation
from skipstone.training.learner import get_learner
from skipstone.training.network_choice import default_head
from skipstone.training.plan import TrainPlan
from skipstone.training.run_directory import RunFolder


@dataclass(frozen=True)
class Baseline:
    """A trained baseline.

    Args:
        model: its name.
        seconds: time that its training took.
        validation: its score by cross-validation, where the rows have folds.
    """

    model: str
    predictor: Predictor
    seconds: float
    validation: CrossValidation | None = None


@dataclass(frozen=True)
class BaselineComparison(JsonFields):
    """A model compared with its baseline, on the same samples.

    Args:
        model: the baseline's name.
        metric: name of the headline metric; `title` is for people.
        value: the baseline's.
        difference: the model's value minus the baseline's.
        verdict: which one is better, as a sentence.
    """

    model: str
    metric: str
    title: str
    value: Estimate
    difference: Estimate
    seconds: float
    verdict: str

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "seconds": round(self.seconds, 1)}


def train_baseline(plan: TrainPlan, run: RunFolder) -> Baseline | None:
    """Train the baseline of a plan; None if its input has none, or if the model is the baseline."""
    simple_plan = make_baseline_plan(plan)
    if simple_plan is None:
        return None
    started = time.monotonic()
    name = simple_plan.arch.backbone.name
    with events.progress_stage(f"the baseline, {name}"):
        output = get_learner(BACKBONES[name])(simple_plan, run, RecordCache())
        validation, task = output.validation, plan.task
        runtime = TorchRuntime(output.network)
        val_rows = plan.manifest.rows_with_role("val")
        if validation is not None:
            where, post = "in cross-validation", validation.fit_postprocessing(task)
            records = validation.evaluate(task).records
        else:
            where = "on the validation rows"
            post = Predictor(simple_plan.input, runtime, task, {}).fit_postprocessing(val_rows)
            records = Predictor(simple_plan.input, runtime, task, post).evaluate(val_rows).records
        values = task.compute_metrics(records) if records else {}
    seconds = time.monotonic() - started
    metric = headline_metric(task)
    if metric.name in values:
        events.emit_note(
            f"Baseline {name}: {metric.title} {values[metric.name]:.1%} {where}, trained in "
            f"{seconds:.1f} s."
        )
    predictor = Predictor(simple_plan.input, runtime, task, post)
    return Baseline(name, predictor, seconds, validation)


def make_baseline_plan(plan: TrainPlan) -> TrainPlan | None:
    """The same data and task with the input's baseline as the model; None if the input has none, or
    if all training rows have one label, which is possible when an existing model is fine-tuned."""
    entry = INPUTS[plan.manifest.input]
    name, train_rows = entry.baseline, plan.manifest.rows_with_role("train")
    if name is None or name == plan.arch.backbone.name:
        return None
    if len(set(map(str, train_rows.column_values("target")))) < 2:
        return None
    assert entry.choose_model is not None, "an input with a baseline chooses models"
    choice = resolve_target(entry.choose_model)(
        model=name,
        weights="auto",
        state=plan.input.get_state()[0],
        rows=len(train_rows),
        classes=len(plan.task.schema.get("classes", ())),
    )
    input = entry.load()(entry.make_options(choice.input)).fit(train_rows.list_sources())
    backbone = BACKBONES[name]
    options = options_to_json(backbone.make_options(choice.options))
    arch = Arch(ComponentConfig(name, {"options": options}), default_head(plan.task, backbone))
    return dataclasses.replace(plan.with_model(arch, input), weights="none", tries_grid=False)


def compare_with_baseline(
    baseline: Baseline | None, plan: TrainPlan, scores: Scores, model: str
) -> BaselineComparison | None:
    """Score the baseline on the rows where `model` has `scores`; None without a baseline."""
    records = scores.records
    if baseline is None or not records:
        return None
    if baseline.validation is not None and scores.role == FOLDS_ROLE:
        evaluation = baseline.validation.evaluate(plan.task)
    else:
        evaluation = baseline.predictor.evaluate(plan.manifest.rows_with_role(scores.role))
    metric, task = headline_metric(plan.task), plan.task
    groups = evaluation.groups
    value = interval(metric, evaluation.records, task, groups, plan.seed)
    gap = paired_difference(metric, records, evaluation.records, task, groups, plan.seed)
    verdict = _verdict(model, baseline.model, metric, gap)
    return BaselineComparison(
        baseline.model, metric.name, metric.title, value, gap, baseline.seconds, verdict
    )


def _verdict(model: str, baseline: str, metric: Metric, gap: Estimate) -> str:
    points, certain = format_difference(metric, gap)
    if certain > 0:
        return f"{model} is better than the baseline {baseline}: {points}."
    if certain < 0:
        return f"{model} is WORSE than the baseline {baseline}: {points}. Take --model {baseline}."
    return (
        f"{model} is not better than the baseline {baseline} by more than chance: {points}. "
        f"--model {baseline} may be as good, and trains in seconds."
    )
