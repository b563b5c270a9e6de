"""Learners: how the parameters of a network are found, by gradient or in closed form.

A backbone's spec says which one it has (`is_closed_form`). Both give a network with its
architecture, so nothing after this knows the difference.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from skipstone.bundle.architecture import Arch
from skipstone.core.registry import BACKBONES
from skipstone.core.specs import BackboneSpec
from skipstone.datasets.augmentation import make_augmentation, make_mixing
from skipstone.datasets.cache import RecordCache
from skipstone.datasets.loader import Batching, Loader
from skipstone.inputs.augmentation_options import AugmentationOptions
from skipstone.inputs.base import Input
from skipstone.models.build import build_network
from skipstone.tasks.base import Task
from skipstone.training.closed_form import fit_closed_form
from skipstone.training.feature_cache import FeatureCache
from skipstone.training.fit import fit
from skipstone.training.plan import TrainPlan
from skipstone.training.recipe import Recipe
from skipstone.training.run_directory import RunFolder
from skipstone.training.train_output import TrainOutput, load_initial_weights, make_evaluate

Learner = Callable[[TrainPlan, RunFolder, RecordCache], TrainOutput]


def get_learner(entry: BackboneSpec) -> Learner:
    """The learner of a backbone."""
    return fit_closed_form if entry.is_closed_form else train_by_gradient


def train_by_gradient(plan: TrainPlan, run: RunFolder, cache: RecordCache) -> TrainOutput:
    """The one loop, from the plan's weights or from those of its parent."""
    torch.manual_seed(plan.seed)
    network = build_network(plan.arch, plan.input)
    if plan.parent is None:
        load_initial_weights(network, plan, run)
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
        evaluate=make_evaluate(plan, cache, run, features),
        options=plan.recipe,
        run=run,
        evaluation_rows=len(plan.manifest.rows_with_role("val")),
    )
    return TrainOutput(network, plan.arch, result, plan.input)


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
