"""Recovery: a network that a step has changed learns again, from labels and from what it was.

It is the training of `train`, with the run's own augmentation, on the fit rows; the select rows
choose the epoch. The one loop.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from skipstone.bundle.arch import one_network
from skipstone.bundle.format import Bundle
from skipstone.disk import LEFTOVER
from skipstone.errors import Interrupted, Refusal
from skipstone.inputs.base import Resizable, same_input
from skipstone.models.network import Network
from skipstone.prepare.augmentation import augment_options
from skipstone.prepare.cache import CachedInput, RecordCache
from skipstone.prepare.loader import Loader
from skipstone.runtime.parts import input_of, one_network_of, task_of
from skipstone.runtime.predictor import Predictor
from skipstone.runtime.torch_runtime import TorchRuntime
from skipstone.shrink.plan import Work
from skipstone.tasks.records import figures_of
from skipstone.train.distill import Distillation
from skipstone.train.fit import FitResult, fit
from skipstone.train.learner import training_batches
from skipstone.train.objective import Objective
from skipstone.train.recipe import Recipe
from skipstone.train.runfolder import RunFolder

#: AdamW's rate at a batch of 64: what was learnt is to be mended, not learnt anew.
RATE = 1e-3


def recipe_of(bundle: Bundle, *, epochs: int, seed: int) -> Recipe:
    """The run's recipe with everything learning, norm statistics too, for `epochs`.

    Raises:
        Refusal: the bundle does not say how it was trained.
    """
    try:
        before = Recipe.from_json(bundle.lineage["recipe"])
    except (KeyError, TypeError) as error:
        raise Refusal(
            f"this model does not say how it was trained ({error}), so it cannot be trained again."
        ) from None
    return dataclasses.replace(
        before,
        epochs=epochs,
        steps=None,
        budget=None,
        optimizer="adamw",
        momentum=0.9,
        lr=round(RATE * (before.batch_size * before.accumulate / 64) ** 0.5, 6),
        weight_decay=0.02,
        schedule="cosine",
        warmup=0.1,
        clip=1.0,
        early_stop=0,
        layer_decay=1.0,
        freeze=0.0,
        freeze_epochs=0,
        unfreeze="all",
        freeze_norm=False,
        seed=seed,
    )


def fit_loader(
    bundle: Bundle, work: Work, recipe: Recipe, cache: RecordCache | None = None
) -> Loader:
    """The fit rows, shuffled and augmented as in the run that made the bundle."""
    input, task = input_of(bundle), task_of(bundle)
    arch = one_network(bundle.arch, "learning again")
    augment = augment_options(bundle.input["name"])(**bundle.lineage.get("augment", {}))
    batching = training_batches(recipe, augment, input, task, arch, seed=work.seed)
    return Loader(work.fit, input, task, batching, cache=cache)


def teacher_of(bundle: Bundle, work: Work) -> Network:
    """The network that the plan began with, made to take what the bundle's input gives.

    Where pictures have become smaller it sees them enlarged to its own size: they have lost detail,
    but show things as large as it knows them. Of an EfficientNet-Lite0 for clothes in 192 pixels,
    160 photos made smaller to 144 and to 112 and enlarged again keep 98 % of the answers; shown as
    they are, 92.5 % and 79 %. Where arrays have come to mean something else (fewer words), it is
    the bundle's own.
    """
    first = Bundle.load(work.first or work.source)
    doing = "learning again"
    network, own, now = one_network_of(first, doing), input_of(first), input_of(bundle)
    if same_input(own, now):
        return network
    if (
        isinstance(own, Resizable)
        and isinstance(now, Resizable)
        and same_input(own.resized(now.resolution()), now)
    ):
        network.front = own.enlarging_front()
        return network
    return one_network_of(bundle, doing)


def recover(
    network: Network,
    bundle: Bundle,
    work: Work,
    *,
    epochs: int,
    teacher: float,
) -> FitResult:
    """Train `network`, which was made of `bundle`'s, in place.

    Args:
        bundle: its input, task and recipe are those to learn with.
        teacher: share of the loss that imitates `teacher_of` the bundle; 0 for labels alone.

    Raises:
        Interrupted: SIGTERM or Ctrl-C; nothing of it is kept.
    """
    recipe = recipe_of(bundle, epochs=epochs, seed=work.seed)
    cache = RecordCache()  # one of both: two would each count on the room that is free now
    loader = fit_loader(bundle, work, recipe, cache)
    records: Any = CachedInput(input_of(bundle), cache)
    task = task_of(bundle)

    def evaluate(candidate: Network) -> dict[str, float]:
        predictor = Predictor(records, TorchRuntime(candidate), task, {})
        return figures_of(task, predictor.evaluate(work.select).records)

    def objective(student: Network, recipe: Recipe) -> Objective:
        if not teacher:
            return Objective(student, l1=recipe.l1)
        return Distillation(student, teacher_of(bundle, work), share=teacher, l1=recipe.l1)

    with tempfile.TemporaryDirectory(dir=work.out.parent, prefix=LEFTOVER) as folder:
        identity = {"recovery": bundle.arch.to_json()}
        with RunFolder(Path(folder) / "recovery", identity) as run:
            try:
                return fit(
                    network,
                    task=task,
                    loader=loader,
                    evaluate=evaluate,
                    options=recipe,
                    run=run,
                    objective=objective,
                )
            except Interrupted as stopped:  # the checkpoint that it speaks of goes with the folder
                raise Interrupted(
                    "Stopped while learning again; the original model is as it was.",
                    signal_number=stopped.exit_code - 128,
                    hint="The same command begins this step anew.",
                ) from None
