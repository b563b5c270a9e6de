"""Models that are solved in closed form: on features, at once, by the solver that the spec names.

    with folds      cross-validation decides and scores -> solved again on all rows
    without         solved on the training rows; the validation rows decide between candidates

Candidates are the values of the spec's grid, and the models that an automatic choice compares. With
folds, the mean of several models is one more candidate.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from scipy.sparse import issparse
from threadpoolctl import threadpool_limits
from torch import nn

from skipstone.bundle.architecture import Arch, ComponentConfig, EnsembleArch, MemberConfig
from skipstone.core import events
from skipstone.core.errors import DataError, UsageError
from skipstone.core.options import options_to_json
from skipstone.core.registry import BACKBONES
from skipstone.core.specs import BackboneSpec, resolve_target
from skipstone.data.manifest import Manifest
from skipstone.data.samples import SampleMeta
from skipstone.datasets.cache import RecordCache
from skipstone.datasets.folds import FoldFit, has_folds, list_fold_fits
from skipstone.datasets.loader import Batching, Loader
from skipstone.inference.backends.torch_backend import torch_threads
from skipstone.inputs.base import FitPart, FoldFeatures, Input, SparseFeatures, inputs_are_equal
from skipstone.inputs.multi_input import MultiInput
from skipstone.models.averaging import average_logits, build_ensemble, merge_member_tensors
from skipstone.models.backbone import ClosedFormProblem, FeatureBackbone
from skipstone.models.build import build_network, load_tensors
from skipstone.models.network import Network
from skipstone.tasks.base import Task, headline_metric
from skipstone.training.cross_validation import CrossValidation, FoldOutputs
from skipstone.training.fit import FitResult
from skipstone.training.plan import TrainPlan
from skipstone.training.run_directory import RunFolder
from skipstone.training.train_output import (
    TrainOutput,
    headline_score,
    load_initial_weights,
    make_evaluate,
)

#: Every value of a grid is tried up to so many values of the feature matrix, times classes.
MAX_GRID_WORK = 30_000_000
#: Values in memory at a time while features are classified.
_CHUNK_VALUES = 1 << 24


@dataclass(frozen=True)
class Features:
    """Features of rows and their targets, and tensors of the backbone that stay as they are."""

    matrix: Any
    targets: np.ndarray
    fixed: Mapping[str, Any]

    def take_rows(self, rows: np.ndarray) -> Features:
        return Features(self.matrix[rows], self.targets[rows], self.fixed)


@dataclass(frozen=True)
class ClosedFormCandidate:
    """A model to solve: its architecture with options, its input, and the features of all training
    rows by this input."""

    arch: Arch
    input: Input
    features: Features


def fit_closed_form(plan: TrainPlan, run: RunFolder, cache: RecordCache) -> TrainOutput:
    """Decide between the candidates, by folds or by the validation rows, and solve the best."""
    if has_folds(plan.manifest):
        return _fit_with_folds(plan, run, cache)
    evaluate = make_evaluate(plan, cache)  # in float32, in a resumed run too
    candidates = _list_candidates(plan, run, cache)
    best: tuple[float, TrainOutput] | None = None
    for candidate in events.track_progress(candidates, "solving"):
        network, arch = _solve_candidate(plan, candidate)
        metrics = evaluate(network) if len(candidates) > 1 else {}
        run.journal("solved", options=arch.backbone.args["options"], metrics=metrics)
        score = headline_score(plan.task, metrics)
        if best is None or score > best[0]:
            how, rows = (
                _describe_solution(arch, candidate.features),
                len(candidate.features.targets),
            )
            result = FitResult([], {"metrics": metrics}, 0, "solved", rows, how)
            best = score, TrainOutput(network, arch, result, plan.input)
    assert best is not None, "there is at least one candidate"
    return best[1]


def _solve_candidate(plan: TrainPlan, candidate: ClosedFormCandidate) -> tuple[Network, Arch]:
    features, classes = candidate.features, len(plan.task.schema["classes"])
    return solve(
        *(candidate.arch, candidate.input, features.matrix, features.targets, classes, plan.seed),
        features.fixed,
    )


# --- with folds ---------------------------------------------------------------------------------


def _fit_with_folds(plan: TrainPlan, run: RunFolder, cache: RecordCache) -> TrainOutput:
    """Cross-validate the candidates and the mean of the models, and solve the best on all rows."""
    rows = plan.manifest.rows_with_role("train")
    candidates = _list_candidates(plan, run, cache)
    first, *repeats = list_fold_fits(rows)
    outputs = _predict_held_out(plan, run, cache, candidates, first)
    choices: list[tuple[int, ...]] = [(at,) for at in range(len(candidates))]
    if plan.others and plan.task.activation is not None:
        choices.append(tuple(range(len(candidates))))
        outputs = dataclasses.replace(
            outputs, outputs=[*outputs.outputs, _average(plan, outputs)], last_is_mean=True
        )
    every_row = np.ones(len(outputs.folds), bool)
    values = outputs.rank_candidates(plan.task, every_row)
    best = outputs.choose_candidate(plan.task, every_row)
    for choice, value in zip(choices, values, strict=True):
        run.journal(
            "cross-validated", models=[_describe(candidates[at]) for at in choice], value=value
        )
    members = [candidates[at] for at in choices[best]]
    if len(choices) > 1:
        names = [_name(candidates, choice) for choice in choices]
        compared = ", ".join(f"{n} {v:.1%}" for n, v in zip(names, values, strict=True))
        title = headline_metric(plan.task).title
        events.emit_note(f"Cross-validation chose {names[best]}. {title.capitalize()}: {compared}.")
    validation = CrossValidation([outputs], best)
    for fits in repeats:
        more = _predict_held_out(plan, run, cache, members, fits)
        if len(members) > 1:
            more = dataclasses.replace(more, outputs=[_average(plan, more)])
        validation = dataclasses.replace(validation, repeats=[*validation.repeats, more])
    solved = [_solve_candidate(plan, member) for member in members]
    how = " and ".join(
        _describe_solution(arch, member.features)
        for (_, arch), member in zip(solved, members, strict=True)
    )
    result = FitResult([], {"metrics": {}}, 0, "solved", len(rows), how)
    if len(members) == 1:
        return TrainOutput(*solved[0], result, members[0].input, validation)
    temperatures = _fit_temperatures(plan.task, outputs, len(candidates))
    network, arch, input = join_networks(
        plan.task, solved, [m.input for m in members], temperatures
    )
    return TrainOutput(network, arch, result, input, validation)


def _predict_held_out(
    plan: TrainPlan,
    run: RunFolder,
    cache: RecordCache,
    candidates: Sequence[ClosedFormCandidate],
    fits: Sequence[FoldFit],
) -> FoldOutputs:
    """Outputs of each candidate for each row that a fit holds out.

    Inputs with a vocabulary are fitted on the rows of each fit alone; others, whose state is label-
    free statistics of the signal, stay as they are.
    """
    rows = plan.manifest.rows_with_role("train")
    parts: list[list[Mapping[str, np.ndarray]]] = [[] for _ in candidates]
    inputs = {id(candidate.input): candidate.input for candidate in candidates}
    sources, shared = rows.list_sources(), dict[str, Any]()
    fit_parts = {
        key: input.prepare_folds(sources, shared) if isinstance(input, FoldFeatures) else None
        for key, input in inputs.items()
    }
    with events.progress_stage("cross-validating", total=len(fits) * len(candidates)) as advance:
        for fit in fits:
            fitted: dict[int, ClosedFormCandidate] = {}
            for candidate, part in zip(candidates, parts, strict=True):
                advance(0, candidate.arch.name)
                key = id(candidate.input)
                if key not in fitted:
                    fitted[key] = _prepare_fold(plan, run, cache, candidate, fit, fit_parts[key])
                inside = dataclasses.replace(
                    fitted[key],
                    arch=candidate.arch,
                    features=fitted[key].features.take_rows(fit.train),
                )
                network, _ = _solve_candidate(plan, inside)
                part.append(predict_features(network, fitted[key].features.matrix[fit.held_out]))
                advance()
    held_out = rows.take_rows(np.concatenate([fit.held_out for fit in fits]))
    joined = [
        {name: np.concatenate([each[name] for each in part]) for name in part[0]} for part in parts
    ]
    return FoldOutputs(held_out, np.concatenate([fit.folds for fit in fits]), joined)


def _prepare_fold(
    plan: TrainPlan,
    run: RunFolder,
    cache: RecordCache,
    candidate: ClosedFormCandidate,
    fit: FoldFit,
    fit_part: FitPart | None,
) -> ClosedFormCandidate:
    """The candidate with its input fitted on the rows of `fit`, and the features of all rows."""
    if not isinstance(candidate.input, SparseFeatures) or plan.parent is not None:
        return candidate
    if fit_part is not None:
        input, matrix = fit_part(fit.train)
        return ClosedFormCandidate(
            candidate.arch, input, Features(matrix, candidate.features.targets, {})
        )
    rows = plan.manifest.rows_with_role("train").take_rows(fit.train)
    input = candidate.input.fit(rows.list_sources())
    fold_plan = dataclasses.replace(plan, input=input, arch=candidate.arch)
    return ClosedFormCandidate(candidate.arch, input, _prepare_features(fold_plan, cache, run))


def predict_features(network: Network, matrix: Any) -> dict[str, np.ndarray]:
    """Outputs (N, ...) of a closed-form network for rows of its feature matrix (N, F)."""
    parts = []
    with torch.inference_mode():
        if isinstance(network.backbone, FeatureBackbone):
            logits = network.backbone.classify_features(torch.from_numpy(np.asarray(matrix)))
            outputs = network.head((logits,), ())
            return {name: value.numpy() for name, value in outputs.items()}
        matrix = matrix.tocsr()
        longest = 1 + int(np.diff(matrix.indptr).max(initial=0))
        step = max(1, _CHUNK_VALUES // (longest * network.backbone.channels[-1]))
        for begin in range(0, matrix.shape[0], step):
            parts.append(network.predict_arrays(_pad_rows(matrix[begin : begin + step])))
    return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}


def _pad_rows(matrix: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of a sparse matrix as the arrays of a bag: features (N, F) from 1, values (N, F)."""
    counts = np.diff(matrix.indptr)
    row = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], counts)
    features = np.zeros((len(counts), 1 + int(counts.max(initial=0))), np.int32)
    values = np.zeros(features.shape, np.float32)
    features[row, place], values[row, place] = matrix.indices + 1, matrix.data
    return torch.from_numpy(features), torch.from_numpy(values)


# --- the mean of several models -----------------------------------------------------------------


def _fit_temperatures(task: Task, outputs: FoldOutputs, members: int) -> list[float]:
    """Of each member, on all held-out rows."""
    everything = np.ones(len(outputs.folds), bool)
    posts = [outputs.fit_postprocessing(task, at, everything) for at in range(members)]
    return [float(post.get("temperature", 1.0)) for post in posts]


def _average(plan: TrainPlan, outputs: FoldOutputs) -> dict[str, np.ndarray]:
    """Logits of the mean of the members' calibrated probabilities."""
    temperatures = _fit_temperatures(plan.task, outputs, len(outputs.outputs))
    scaled = [
        torch.from_numpy(each["logits"]) / temperature
        for each, temperature in zip(outputs.outputs, temperatures, strict=True)
    ]
    return {"logits": average_logits(scaled, str(plan.task.activation)).numpy()}


def join_networks(
    task: Task,
    solved: Sequence[tuple[Network, Arch]],
    inputs: Sequence[Input],
    temperatures: Sequence[float],
) -> tuple[nn.Module, EnsembleArch, Input]:
    """One network that averages the probabilities of several, its architecture and input."""
    distinct: list[Input] = []
    members = []
    for (_, arch), input, temperature in zip(solved, inputs, temperatures, strict=True):
        at = next((n for n, each in enumerate(distinct) if inputs_are_equal(each, input)), None)
        if at is None:
            at = len(distinct)
            distinct.append(input)
        members.append(MemberConfig(arch, at, temperature))
    joint = EnsembleArch(tuple(members), str(task.activation))
    input = MultiInput(distinct) if len(distinct) > 1 else distinct[0]
    network = build_ensemble(joint, input)
    tensors = merge_member_tensors(joint, [network.state_dict() for network, _ in solved])
    load_tensors(network, tensors, where="the solution")
    return network.eval(), joint, input


# --- candidates and features --------------------------------------------------------------------


def _list_candidates(
    plan: TrainPlan, run: RunFolder, cache: RecordCache
) -> list[ClosedFormCandidate]:
    """The models of an automatic choice; else the values of the grid that the user left open."""
    if plan.others:
        return [
            ClosedFormCandidate(each.arch, each.input, _prepare_features(each, cache, run))
            for each in (plan, *(plan.with_model(*other) for other in plan.others))
        ]
    entry, features = BACKBONES[plan.arch.backbone.name], _prepare_features(plan, cache, run)
    matrix, classes = features.matrix, len(plan.task.schema["classes"])
    work = (matrix.nnz if issparse(matrix) else matrix.size) * classes
    try_grid = plan.tries_grid and work <= MAX_GRID_WORK
    candidates = []
    for options in _candidate_options(entry, plan.arch, try_grid=try_grid):
        args = {**plan.arch.backbone.args, "options": options_to_json(options)}
        arch = dataclasses.replace(plan.arch, backbone=ComponentConfig(entry.name, args))
        candidates.append(ClosedFormCandidate(arch, plan.input, features))
    return candidates


def _name(candidates: Sequence[ClosedFormCandidate], choice: Sequence[int]) -> str:
    """ "linear-svm", "the mean of linear-svm and nbsvm"; options where one model is searched."""
    names = [candidates[at].arch.name for at in choice]
    if len(names) > 1:
        return f"the mean of {' and '.join(names)}"
    options = candidates[choice[0]].arch.backbone.args["options"]
    is_grid = len({candidate.arch.name for candidate in candidates}) == 1
    values = ", ".join(f"{name} {value}" for name, value in options.items())
    return f"{names[0]} ({values})" if is_grid else names[0]


def _describe(candidate: ClosedFormCandidate) -> dict[str, Any]:
    return {"model": candidate.arch.name, "options": candidate.arch.backbone.args["options"]}


def _prepare_features(plan: TrainPlan, cache: RecordCache, run: RunFolder) -> Features:
    """The features of the training rows."""
    classes = len(plan.task.schema["classes"])
    name, train_rows = plan.arch.backbone.name, plan.manifest.rows_with_role("train")
    if isinstance(plan.input, SparseFeatures):
        with events.progress_stage("counting n-grams"):
            return Features(*extract_features(plan.input, plan.task, train_rows, name), {})
    args = {**plan.arch.backbone.args, "shape": {"outputs": classes}}
    arch = dataclasses.replace(plan.arch, backbone=ComponentConfig(name, args))
    network = build_network(arch, plan.input).eval()
    if not isinstance(network.backbone, FeatureBackbone):
        raise _no_features_error(name, train_rows.input)
    load_initial_weights(network, plan, run)
    with torch_threads(plan.recipe.threads):
        return compute_dense_features(network, plan.input, plan.task, train_rows, cache)


def compute_dense_features(
    network: Network, input: Input, task: Task, rows: Manifest, cache: RecordCache | None = None
) -> Features:
    """What the `FeatureBackbone` of `network` computes from the rows."""
    assert isinstance(network.backbone, FeatureBackbone)
    features, targets = [], []
    loader = Loader(rows, input, task, Batching(batch_size=64, seed=0, shuffle=False), cache=cache)
    with torch.inference_mode():
        batches = events.track_progress(
            loader.iterate_epoch(0), "computing features", total=len(loader)
        )
        for batch in batches:
            features.append(network.backbone.compute_features(network.front(batch.x)).numpy())
            targets.append(cast(torch.Tensor, next(iter(batch.y.values()))).numpy())
    tensors = network.backbone.state_dict()
    return Features(np.concatenate(features), np.concatenate(targets), tensors)


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
    with threadpool_limits(1, user_api="blas"):  # on sparse data more threads wait for each other
        solution = resolve_target(entry.solver)(options, problem)
    args = {"options": options_to_json(options), "shape": solution.shape}
    arch = dataclasses.replace(arch, backbone=ComponentConfig(arch.backbone.name, args))
    network = build_network(arch, input)
    tensors = {
        f"backbone.{name}": value for name, value in {**(fixed or {}), **solution.tensors}.items()
    }
    load_tensors(network, tensors, where="the solution")
    return network.eval(), arch


def _describe_solution(arch: Arch, features: Features) -> str:
    options = ", ".join(f"{name} {value}" for name, value in arch.backbone.args["options"].items())
    return (
        f"solved on {features.matrix.shape[1]:,} features of {features.matrix.shape[0]:,} samples"
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
