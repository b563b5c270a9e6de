"""Learners: how the parameters of a network are found, by gradient or in closed form.

A backbone's spec says which one it has (`is_closed_form`). Both give a network with its
architecture, so nothing after this knows the difference.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from scipy.sparse import issparse

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.core import events
from skipstone.core.errors import DataError, UsageError
from skipstone.core.formatting import relative_path
from skipstone.core.options import options_to_json
from skipstone.core.registry import BACKBONES
from skipstone.core.specs import BackboneSpec, resolve_target
from skipstone.data.manifest import Manifest
from skipstone.data.samples import SampleMeta
from skipstone.datasets.augmentation import make_augmentation, make_mixing
from skipstone.datasets.cache import CachedInput, RecordCache
from skipstone.datasets.loader import Batching, Loader
from skipstone.evaluation.scores import require_readable
from skipstone.inference.backends.torch_backend import TorchRuntime, torch_threads
from skipstone.inference.predictor import Predictor, Runtime
from skipstone.inputs.augmentation_options import AugmentationOptions
from skipstone.inputs.base import Input, SparseFeatures
from skipstone.models.backbone import ClosedFormProblem, FeatureBackbone
from skipstone.models.build import build_network, load_tensors
from skipstone.models.checkpoint_loading import ReportWriter, WeightReport
from skipstone.models.network import Network
from skipstone.models.weights import load_weights
from skipstone.tasks.base import Task, compute_finite_metrics, headline_metric, task_record
from skipstone.training.feature_cache import EvaluationArrays, FeatureCache, PrefixRuntime
from skipstone.training.fit import FitResult, fit
from skipstone.training.plan import TrainPlan
from skipstone.training.recipe import Recipe
from skipstone.training.run_directory import JOURNAL, RunFolder

#: Every value of a grid is tried up to so many values of the feature matrix, times classes.
MAX_GRID_WORK = 30_000_000


@dataclass(frozen=True)
class TrainOutput:
    """What a learner gives.

    Args:
        network: on the CPU, with its weights.
        arch: of that network; the plan's, with the shape that a closed-form solution has.
        result: how training went.
    """

    network: Network
    arch: Arch
    result: FitResult


Learner = Callable[[TrainPlan, RunFolder, RecordCache], TrainOutput]


def get_learner(entry: BackboneSpec) -> Learner:
    """The learner of a backbone."""
    return fit_closed_form if entry.is_closed_form else train_by_gradient


def train_by_gradient(plan: TrainPlan, run: RunFolder, cache: RecordCache) -> TrainOutput:
    """The one loop, from the plan's weights or from those of its parent."""
    torch.manual_seed(plan.seed)
    network = build_network(plan.arch, plan.input)
    if plan.parent is None:
        _load_initial_weights(network, plan, run)
    else:
        plan.parent.load_weights(network, plan.task)
    if plan.vectors is not None:
        module = BACKBONES[plan.arch.backbone.name].embedding
        assert module is not None, "the plan checked that the model has word vectors"
        plan.vectors.fill_embedding(network, module, seed=plan.seed)
    loader = training_loader(plan, cache)
    features = FeatureCache(loader, run, plan.to_json()) if plan.recipe.feature_cache else None
    result = fit(
        network,
        task=plan.task,
        loader=features or loader,
        evaluate=_make_evaluate(plan, cache, run, features),
        options=plan.recipe,
        run=run,
        evaluation_rows=len(plan.manifest.rows_with_role("val")),
    )
    return TrainOutput(network, plan.arch, result)


def _load_initial_weights(network: Network, plan: TrainPlan, run: RunFolder) -> None:
    load_weights(
        network,
        name=plan.arch.backbone.name,
        weights=plan.weights,
        example={n: torch.from_numpy(a) for n, a in plan.input.make_example(2).items()},
        arch=plan.arch,
        task_record=task_record(plan.manifest.task, plan.task),
        write_report=_journal_weights(run),
    )


def _journal_weights(run: RunFolder) -> ReportWriter:
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


def training_loader(plan: TrainPlan, cache: RecordCache | None = None) -> Loader:
    """The training rows, shuffled and augmented as planned."""
    batching = training_batches(
        plan.recipe, plan.augment, plan.input, plan.task, plan.arch, seed=plan.seed
    )
    train_rows = plan.manifest.rows_with_role("train")
    return Loader(train_rows, plan.input, plan.task, batching, loading=plan.loading, cache=cache)


def training_batches(
    recipe: Recipe,
    augment: AugmentationOptions,
    input: Input,
    task: Task,
    arch: Arch,
    *,
    seed: int,
) -> Batching:
    """The batches that a network is trained on, in a run and in recovery after compression."""
    return Batching(
        batch_size=recipe.batch_size,
        seed=seed,
        shuffle=True,
        augment=make_augmentation(augment, input, task),
        mix=make_mixing(augment, task, BACKBONES[arch.backbone.name]),
        drop_last=True,
        balanced=recipe.balanced,
    )


def fit_closed_form(plan: TrainPlan, run: RunFolder, cache: RecordCache) -> TrainOutput:
    """The backbone's solver on the features of the training rows; the validation rows decide
    between the values of its grid."""
    name = plan.arch.backbone.name
    entry = BACKBONES[name]
    evaluate = _make_evaluate(plan, cache)  # in float32, in a resumed run too
    classes = len(plan.task.schema["classes"])
    matrix, targets, fixed = _prepare_problem(plan, cache, run, classes)
    try_grid = (matrix.nnz if issparse(matrix) else matrix.size) * classes <= MAX_GRID_WORK
    candidates = list(_candidate_options(entry, plan.arch, try_grid=try_grid))
    best: tuple[float, TrainOutput] | None = None
    for options in events.track_progress(candidates, "solving"):
        backbone = ComponentConfig(name, {"options": options_to_json(options)})
        arch = dataclasses.replace(plan.arch, backbone=backbone)
        network, arch = solve(arch, plan.input, matrix, targets, classes, plan.seed, fixed)
        args = arch.backbone.args
        metrics = evaluate(network) if len(candidates) > 1 else {}
        run.journal("solved", options=args["options"], metrics=metrics)
        score = _headline_score(plan.task, metrics)
        if best is None or score > best[0]:
            how = _describe_solution(args, matrix)
            result = FitResult([], {"metrics": metrics}, 0, "solved", len(targets), how)
            best = score, TrainOutput(network, arch, result)
    assert best is not None, "there is at least one candidate"
    return best[1]


def _prepare_problem(
    plan: TrainPlan, cache: RecordCache, run: RunFolder, classes: int
) -> tuple[Any, np.ndarray, Mapping[str, Any]]:
    """(features (N, F), targets, the backbone's tensors that stay as they are)."""
    name, train_rows = plan.arch.backbone.name, plan.manifest.rows_with_role("train")
    if isinstance(plan.input, SparseFeatures):
        with events.progress_stage("counting n-grams"):
            return *extract_features(plan.input, plan.task, train_rows, name), {}
    args = {**plan.arch.backbone.args, "shape": {"outputs": classes}}
    arch = dataclasses.replace(plan.arch, backbone=ComponentConfig(name, args))
    network = build_network(arch, plan.input).eval()
    if not isinstance(network.backbone, FeatureBackbone):
        raise _no_features_error(name, train_rows.input)
    _load_initial_weights(network, plan, run)
    features, targets = [], []
    batching = Batching(batch_size=64, seed=plan.seed, shuffle=False)
    loader = Loader(train_rows, plan.input, plan.task, batching, cache=cache)
    with torch.inference_mode(), torch_threads(plan.recipe.threads):
        batches = events.track_progress(
            loader.iterate_epoch(0), "computing features", total=len(loader)
        )
        for batch in batches:
            features.append(network.backbone.compute_features(network.front(batch.x)).numpy())
            targets.append(cast(torch.Tensor, next(iter(batch.y.values()))).numpy())
    tensors = network.backbone.state_dict()
    return np.concatenate(features), np.concatenate(targets), tensors


def solve(
    arch: Arch,
    input: Input,
    matrix: Any,
    targets: np.ndarray,
    classes: int,
    seed: int,
    fixed: Mapping[str, Any] | None = None,
) -> tuple[Network, Arch]:
    """The network that the backbone's solver finds, and its `arch` with the shape of the solution.

    Args:
        matrix, targets: of `extract_features`.
        fixed: tensors of the backbone; the solution replaces those that it has.
    """
    entry = BACKBONES[arch.backbone.name]
    options = entry.make_options(arch.backbone.args["options"])
    assert entry.solver is not None, f"{entry.name} is trained by gradient"
    kinds = input.feature_groups if isinstance(input, SparseFeatures) else ClosedFormProblem.kinds
    problem = ClosedFormProblem(matrix, targets, classes, seed, kinds)
    solution = resolve_target(entry.solver)(options, problem)
    args = {"options": options_to_json(options), "shape": solution.shape}
    arch = dataclasses.replace(arch, backbone=ComponentConfig(arch.backbone.name, args))
    network = build_network(arch, input)
    tensors = {
        f"backbone.{name}": value for name, value in {**(fixed or {}), **solution.tensors}.items()
    }
    load_tensors(network, tensors, where="the solution")
    return network.eval(), arch


def _describe_solution(args: Mapping[str, Any], matrix: Any) -> str:
    options = ", ".join(f"{name} {value}" for name, value in args["options"].items())
    return (
        f"solved on {matrix.shape[1]:,} features of {matrix.shape[0]:,} samples"
        f"{f' ({options})' if options else ''}"
    )


def extract_features(
    input: Input, task: Task, train_rows: Manifest, model: str
) -> tuple[Any, np.ndarray]:
    """(sparse matrix (N, F), codes (N,) or 0 and 1 (N, K)) of the rows.

    Args:
        model: its name, for messages.

    Raises:
        UsageError: the input gives no features.
        DataError: a row cannot be read.
    """
    if not isinstance(input, SparseFeatures):
        raise _no_features_error(model, train_rows.input)
    matrix, rows = input.make_feature_matrix(train_rows.list_sources())
    if len(rows) < len(train_rows):  # all were readable when the run began
        raise DataError(f"{len(train_rows) - len(rows):,} training rows can no longer be read.")
    values = train_rows.column_values("target")
    opened = task.target_loader(train_rows)
    targets = [task.encode_target(opened(values[row]), SampleMeta(row)) for row in rows]
    return matrix, np.stack([next(iter(target.values())).numpy() for target in targets])


def _no_features_error(model: str, input: str) -> UsageError:
    return UsageError(
        f"the model {model!r} is solved on features, which the input {input!r} does not give.",
        hint="Choose another model. See: skipstone models",
    )


def _candidate_options(entry: BackboneSpec, arch: Arch, *, try_grid: bool) -> Iterator[Any]:
    """Options to try: of those that the user left open, each value of the entry's grid."""
    chosen = dict(arch.backbone.args["options"])
    grid = {
        name: values for name, values in entry.grid.items() if try_grid and chosen.get(name) is None
    }
    for values in itertools.product(*grid.values()):
        yield entry.make_options({**chosen, **dict(zip(grid, values, strict=True))})


def _make_evaluate(
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


def _headline_score(task: Task, metrics: Mapping[str, float]) -> float:
    """The headline metric, so that more is better."""
    metric = headline_metric(task)
    value = metrics.get(metric.name, 0.0)
    return value if metric.higher_is_better else -value
