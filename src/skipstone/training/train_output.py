"""What both learners need: initial weights, metrics on the validation rows, and their result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from skipstone.bundle.architecture import Arch, EnsembleArch
from skipstone.core.formatting import relative_path
from skipstone.datasets.cache import CachedInput, RecordCache
from skipstone.evaluation.scores import require_readable
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.predictor import Predictor, Runtime
from skipstone.inputs.base import Input
from skipstone.models.checkpoint_loading import ReportWriter, WeightReport
from skipstone.models.network import Network
from skipstone.models.weights import load_weights
from skipstone.tasks.base import Task, compute_finite_metrics, headline_metric, task_record
from skipstone.training.cross_validation import CrossValidation
from skipstone.training.feature_cache import EvaluationArrays, FeatureCache, PrefixRuntime
from skipstone.training.fit import FitResult
from skipstone.training.plan import TrainPlan
from skipstone.training.run_directory import JOURNAL, RunFolder


@dataclass(frozen=True)
class TrainOutput:
    """What a learner gives.

    Args:
        network: on the CPU, with its weights.
        arch: of that network; the plan's, with the shape that a closed-form solution has, or an
            average of several.
        result: how training went.
        input: of that network.
        validation: the score by cross-validation, where the network was fitted on all rows.
    """

    network: nn.Module
    arch: Arch | EnsembleArch
    result: FitResult
    input: Input
    validation: CrossValidation | None = None


def load_initial_weights(network: Network, plan: TrainPlan, run: RunFolder) -> None:
    load_weights(
        network,
        name=plan.arch.backbone.name,
        weights=plan.weights,
        example={n: torch.from_numpy(a) for n, a in plan.input.make_example(2).items()},
        arch=plan.arch,
        task_record=task_record(plan.manifest.task, plan.task),
        write_report=journal_weights(run),
    )


def journal_weights(run: RunFolder) -> ReportWriter:
    """Journals, once per run, every name that does not match; returns where that is written."""

    def journal(report: WeightReport) -> str:
        if not run.entries("weights"):
            run.journal(
                "weights",
                matched=len(report.matched),
                unused=list(report.unmatched_in_file),
                missing=list(report.missing_in_model),
                of_another_shape=list(report.shape_mismatch),
            )
        return str(relative_path(run.path / JOURNAL))

    return journal


def make_evaluate(
    plan: TrainPlan,
    cache: RecordCache,
    run: RunFolder | None = None,
    features: FeatureCache | None = None,
) -> Callable[[Network], dict[str, float]]:
    """Metrics of a network on the validation rows.

    Args:
        run: decides the precision; float32 without it.
        features: computes the frozen stages of a network that is cut.
    """
    arrays = None if features is None else EvaluationArrays(features)
    val_rows = plan.manifest.rows_with_role("val")
    cached_input = cast(Input, CachedInput(plan.input, cache))

    def evaluate(candidate: Network) -> dict[str, float]:
        # Deciding when to stop may be as quick as training; test metrics are of float32.
        mode = None if run is None else run.find_decision("precision")
        precision = mode["precision"] if mode else "f32"
        runtime: Runtime = TorchRuntime(candidate, precision=precision)
        if arrays is not None and candidate.prefix is not None:
            runtime = PrefixRuntime(candidate, precision, arrays)
        predictor = Predictor(cached_input, runtime, plan.task, {})
        evaluation = predictor.evaluate(val_rows)
        require_readable(evaluation, len(val_rows), "val")
        return compute_finite_metrics(plan.task, evaluation.records)

    return evaluate


def headline_score(task: Task, metrics: Mapping[str, float]) -> float:
    """The headline metric, so that more is better."""
    metric = headline_metric(task)
    value = metrics.get(metric.name, 0.0)
    return value if metric.higher_is_better else -value
