"""Learners: how a network's parameters are found, by gradient or in closed form.

A backbone's entry says which one it wants (the fact `learner`); what comes of both is a network
with its architecture, so nothing after this knows the difference.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch

from skipstone import events
from skipstone.bundle.arch import Arch, Part
from skipstone.data.manifest import Manifest
from skipstone.data.samples import Meta
from skipstone.errors import DataError, UsageError
from skipstone.inputs.base import Input, SparseFeatures
from skipstone.models.build import build_network, load_tensors
from skipstone.models.foreign import Listing, WeightReport
from skipstone.models.network import Network
from skipstone.models.solving import Problem
from skipstone.models.weights import load_weights
from skipstone.models.word_vectors import WordVectors
from skipstone.option_types import stored_options
from skipstone.prepare.augment_options import AugmentationOptions, AugmentOptions
from skipstone.prepare.augmentation import augmentation_of, mixing_of
from skipstone.prepare.cache import CachedInput, RecordCache
from skipstone.prepare.loader import Batching, Loader
from skipstone.prepare.options import LoadOptions
from skipstone.prepare.text_augment_options import TextAugmentOptions
from skipstone.registry import BACKBONES, Entry, resolve_target
from skipstone.runtime.predictor import Predictor
from skipstone.runtime.torch_runtime import TorchRuntime
from skipstone.tasks.base import Task, headline, task_record
from skipstone.tasks.records import figures_of
from skipstone.train.fit import FitResult, fit
from skipstone.train.options import TrainOptions
from skipstone.train.recipe import Recipe
from skipstone.train.runfolder import JOURNAL, RunFolder
from skipstone.words import shortest

#: Values of the feature matrix, times classes, up to which every value of a grid is tried.
GRID = 30_000_000


class Start(Protocol):
    """A model that training goes on from (`verbs.continued.Origin` is one)."""

    def to_json(self) -> dict[str, Any]: ...

    def start(self, network: Network, task: Task) -> None:
        """Fill `network`, which answers for `task`, with the model's weights."""


class Given(Protocol):
    """What a model is made for: the data in its roles, how it is read, and what is asked of it."""

    @property
    def manifest(self) -> Manifest: ...
    @property
    def input(self) -> Input: ...
    @property
    def task(self) -> Task: ...
    @property
    def seed(self) -> int: ...


class Assignment(Given, Protocol):
    """What is to be learnt (a `verbs.plan.Plan` is one)."""

    @property
    def arch(self) -> Arch: ...
    @property
    def weights(self) -> str: ...
    @property
    def augment(self) -> AugmentOptions | TextAugmentOptions: ...
    @property
    def recipe(self) -> Recipe: ...
    @property
    def loading(self) -> LoadOptions: ...
    @property
    def origin(self) -> Start | None: ...
    @property
    def vectors(self) -> WordVectors | None: ...


@dataclass(frozen=True)
class Learnt:
    """Args:
    network: on the CPU, with its weights.
    arch: of that network; the assignment's, with the shape that a solution has.
    result: how it went.
    """

    network: Network
    arch: Arch
    result: FitResult


Learner = Callable[[Assignment, RunFolder, RecordCache], Learnt]


def learner_of(entry: Entry) -> Learner:
    """The learner that a backbone wants."""
    return _LEARNERS[entry.facts.get("learner", "gradient")]


def unheard(entry: Entry) -> frozenset[str]:
    """Names of the options that the learner of a backbone does not ask for."""
    return frozenset() if learner_of(entry) is by_gradient else _OF_STEPS


def by_gradient(given: Assignment, run: RunFolder, cache: RecordCache) -> Learnt:
    """The one loop, from the assignment's weights, or from those of the model it goes on from."""
    torch.manual_seed(given.seed)
    network = build_network(given.arch, given.input)
    if given.origin is None:
        load_weights(
            network,
            name=given.arch.backbone.name,
            weights=given.weights,
            answers=task_record(given.manifest.task, given.task),
            listing=_journalled(run),
        )
    else:
        given.origin.start(network, given.task)
    if given.vectors is not None:
        module = BACKBONES[given.arch.backbone.name].facts["vectors"]
        given.vectors.fill(network, module, seed=given.seed)
    result = fit(
        network,
        task=given.task,
        loader=training_loader(given, cache),
        evaluate=_evaluation(given, cache, run),
        options=given.recipe,
        run=run,
    )
    return Learnt(network, given.arch, result)


def _journalled(run: RunFolder) -> Listing:
    """Writes down, once a run, every name that found no place."""

    def listing(report: WeightReport) -> str:
        if not run.entries("weights"):
            run.journal(
                "weights",
                matched=len(report.matched),
                unused=list(report.unmatched_in_file),
                missing=list(report.missing_in_model),
                of_another_shape=list(report.shape_mismatch),
            )
        return str(shortest(run.path / JOURNAL))

    return listing


def training_loader(given: Assignment, cache: RecordCache | None = None) -> Loader:
    """The fit role, shuffled and augmented as planned."""
    batching = training_batches(
        given.recipe, given.augment, given.input, given.task, given.arch, seed=given.seed
    )
    fit = given.manifest.role("fit")
    return Loader(fit, given.input, given.task, batching, loading=given.loading, cache=cache)


def training_batches(
    recipe: Recipe,
    augment: AugmentationOptions,
    input: Input,
    task: Task,
    arch: Arch,
    *,
    seed: int,
) -> Batching:
    """What rows are learnt from, in a run and wherever its network learns again."""
    return Batching(
        batch_size=recipe.batch_size,
        seed=seed,
        shuffle=True,
        augment=augmentation_of(augment, input, task),
        mix=mixing_of(augment, task, BACKBONES[arch.backbone.name]),
        drop_last=True,
        balanced=recipe.balanced,
    )


def in_closed_form(given: Assignment, run: RunFolder, cache: RecordCache) -> Learnt:
    """The backbone's solver on the features of the fit role; select decides between the values
    of its grid."""
    entry = BACKBONES[given.arch.backbone.name]
    evaluate = _evaluation(given, cache)  # as exactly as it is solved, in a resumed run too
    with events.stage("counting n-grams"):
        matrix, targets = features_of(
            given.input, given.task, given.manifest.role("fit"), given.arch.backbone.name
        )
    classes = len(given.task.schema["classes"])
    candidates = list(_candidates(entry, given.arch, tried=matrix.nnz * classes <= GRID))
    best: tuple[float, Learnt] | None = None
    for options in events.track(candidates, "solving"):
        asked = {"options": stored_options(options)}
        arch = dataclasses.replace(given.arch, backbone=Part(given.arch.backbone.name, asked))
        network, arch = solve(arch, given.input, matrix, targets, classes, given.seed)
        args = arch.backbone.args
        metrics = evaluate(network) if len(candidates) > 1 else {}
        run.journal("solved", options=args["options"], metrics=metrics)
        score = _score(given.task, metrics)
        if best is None or score > best[0]:
            result = FitResult(
                [], {"metrics": metrics}, 0, "solved", len(targets), _described(args, matrix)
            )
            best = score, Learnt(network, arch, result)
    assert best is not None, "there is at least one candidate"
    return best[1]


def solve(
    arch: Arch, input: Input, matrix: Any, targets: np.ndarray, classes: int, seed: int
) -> tuple[Network, Arch]:
    """The network that the backbone's solver finds, and its `arch`, which has the shape found.

    Args:
        matrix, targets: as `features_of` gives them.
    """
    entry = BACKBONES[arch.backbone.name]
    options = entry.make_options(arch.backbone.args["options"])
    find = resolve_target(entry.facts["solver"])
    kinds = input.kinds if isinstance(input, SparseFeatures) else Problem.kinds
    solution = find(options, Problem(matrix, targets, classes, seed, kinds))
    args = {"options": stored_options(options), "shape": solution.shape}
    arch = dataclasses.replace(arch, backbone=Part(arch.backbone.name, args))
    network = build_network(arch, input)
    names = {f"backbone.{name}": value for name, value in solution.tensors.items()}
    load_tensors(network, names, where="the solution")
    return network.eval(), arch


def _described(args: Mapping[str, Any], matrix: Any) -> str:
    options = ", ".join(f"{name} {value}" for name, value in args["options"].items())
    return (
        f"solved on {matrix.shape[1]:,} features of {matrix.shape[0]:,} samples"
        f"{f' ({options})' if options else ''}"
    )


def features_of(input: Input, task: Task, fit: Manifest, model: str) -> tuple[Any, np.ndarray]:
    """(sparse matrix (N, F), codes (N,) or 0 and 1 (N, K)) of the rows, all of which can be read.

    Args:
        model: what asks for them, for messages.
    """
    if not isinstance(input, SparseFeatures):
        raise UsageError(
            f"the model {model!r} is solved on features, which the input {fit.input!r} does not "
            "give.",
            hint="Choose another model. See: skipstone models",
        )
    matrix, rows = input.matrix(fit.sources())
    if len(rows) < len(fit):  # all were readable when the run began
        raise DataError(f"{len(fit) - len(rows):,} training rows can no longer be read.")
    values = fit.column("target")
    opened = task.opener(fit)
    targets = [task.target(opened(values[row]), Meta(row)) for row in rows]
    return matrix, np.stack([next(iter(target.values())).numpy() for target in targets])


def _candidates(entry: Entry, arch: Arch, *, tried: bool) -> Iterator[Any]:
    """Options to try: where the user left one open, each value that the entry's grid has."""
    stated = dict(arch.backbone.args["options"])
    grid = {
        name: values
        for name, values in entry.facts.get("grid", {}).items()
        if tried and stated.get(name) is None
    }
    for chosen in itertools.product(*grid.values()):
        yield entry.make_options({**stated, **dict(zip(grid, chosen, strict=True))})


def _evaluation(
    given: Assignment, cache: RecordCache, run: RunFolder | None = None
) -> Callable[[Network], dict[str, float]]:
    """Metrics of a network on the select role.

    Args:
        run: decides the precision; float32 without it.
    """
    select = given.manifest.role("select")
    records = cast(Input, CachedInput(given.input, cache))

    def evaluate(candidate: Network) -> dict[str, float]:
        # Deciding when to stop may be as quick as training; what is claimed is float32.
        mode = None if run is None else run.decided("precision")
        precision = mode["precision"] if mode else "f32"
        runtime = TorchRuntime(candidate, precision=precision)
        predictor = Predictor(records, runtime, given.task, {})
        evaluation = predictor.evaluate(select)
        if evaluation.failures:  # all were readable when the run began
            raise DataError(f"{evaluation.failures[0].error} It was readable at the start.")
        return figures_of(given.task, evaluation.records)

    return evaluate


def _score(task: Task, metrics: Mapping[str, float]) -> float:
    """The headline metric, so that more is better."""
    metric = headline(task)
    value = metrics.get(metric.name, 0.0)
    return value if metric.higher_is_better else -value


#: What only training in steps asks for. How many threads compute changes no model, so that stays;
#: the seed is everybody's.
_OF_STEPS = frozenset(
    {"workers", "worker_patience"}.union(
        *(
            {field.name for field in dataclasses.fields(kind)}
            for kind in (TrainOptions, AugmentOptions, TextAugmentOptions)
        )
    )
    - {"threads", "seed"}
)
_LEARNERS: Mapping[str, Learner] = {"gradient": by_gradient, "closed-form": in_closed_form}
