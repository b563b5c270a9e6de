"""Recovery training of a network that a step has changed, from labels and from the original model.

It is the training loop of `train`, with the run's augmentation, on the training rows; the
validation rows choose the epoch.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from skipstone.bundle.architecture import Arch, require_single_network
from skipstone.bundle.format import Bundle
from skipstone.compression.shrink_plan import StepContext
from skipstone.core.disk import TEMPORARY_PREFIX
from skipstone.core.errors import Interrupted, Refusal
from skipstone.datasets.augmentation import augment_options_type, stored_augmentation
from skipstone.datasets.cache import CachedInput, RecordCache
from skipstone.datasets.loader import Loader
from skipstone.evaluation.scores import require_readable, select_postprocessing
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.export.onnx_export import export_onnx
from skipstone.inference.export.openvino_export import export_openvino
from skipstone.inference.golden_outputs import store_goldens
from skipstone.inference.predictor import Predictor
from skipstone.inference.restore import restore_input, restore_single_network, restore_task
from skipstone.inputs.base import Input, Resizable, inputs_are_equal, make_input_record
from skipstone.models.build import export_tensors
from skipstone.models.network import Network
from skipstone.tasks.base import compute_finite_metrics
from skipstone.training.fit import FitResult, fit
from skipstone.training.learner import training_batches
from skipstone.training.objective import Distillation, Objective, criterion_for
from skipstone.training.recipe import Recipe
from skipstone.training.run_directory import RunFolder

#: AdamW's learning rate at batch size 64, low enough to keep what the network has learnt.
LEARNING_RATE = 1e-3
_PURPOSE = "recovery training"  # named in the refusal of an ensemble


def recovery_recipe(bundle: Bundle, *, epochs: int, seed: int) -> Recipe:
    """The run's recipe for `epochs` of recovery: AdamW, and no frozen layers or norms.

    Raises:
        Refusal: the bundle has no training recipe.
    """
    try:
        before = Recipe.from_json(bundle.lineage["recipe"])
    except (KeyError, TypeError) as error:
        raise Refusal(
            f"cannot train this model again: its bundle has no training recipe ({error})."
        ) from None
    return dataclasses.replace(
        before,
        epochs=epochs,
        steps=None,
        budget=None,
        optimizer="adamw",
        momentum=0.9,
        lr=round(LEARNING_RATE * (before.batch_size * before.accumulate / 64) ** 0.5, 6),
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


def make_train_loader(
    bundle: Bundle, work: StepContext, recipe: Recipe, cache: RecordCache | None = None
) -> Loader:
    """The training rows, shuffled and augmented as in the run that made the bundle."""
    input, task = restore_input(bundle), restore_task(bundle)
    arch = require_single_network(bundle.arch, _PURPOSE)
    name = bundle.input["name"]
    values = stored_augmentation(
        name,
        bundle.lineage.get("augment", {}),
        work.augmentation,
        work.original or work.source,
        as_flag='--plan "STEP({name}={value})"',
    )
    augment = augment_options_type(name)(**values)
    batching = training_batches(recipe, augment, input, task, arch, seed=work.seed)
    return Loader(work.train_rows, input, task, batching, cache=cache)


def load_teacher(bundle: Bundle, work: StepContext) -> Network:
    """The original network of the plan, adapted to the bundle's input.

    Smaller images are enlarged to the size that it was trained with: they lose detail, but objects
    keep their size. With an EfficientNet-Lite0 for clothes at 192 pixels, 160 photos reduced to 144
    and to 112 and enlarged again keep 98 % of the predictions; without enlarging, 92.5 % and 79 %.
    If the input's arrays have another meaning (fewer words), it is the bundle's own network.
    """
    original = Bundle.load(work.original or work.source)
    network = restore_single_network(original, _PURPOSE)
    before, after = restore_input(original), restore_input(bundle)
    if inputs_are_equal(before, after):
        return network
    if (
        isinstance(before, Resizable)
        and isinstance(after, Resizable)
        and inputs_are_equal(before.with_resolution(after.get_resolution()), after)
    ):
        network.front = before.upsampling_module()
        return network
    return restore_single_network(bundle, _PURPOSE)


def train_recovery(
    network: Network,
    bundle: Bundle,
    work: StepContext,
    *,
    epochs: int,
    teacher: float,
    distillation: type[Distillation] | None = None,
) -> FitResult:
    """Train `network`, which was made from the bundle's, in place.

    Args:
        bundle: gives the input, task and recipe.
        teacher: weight of the distillation loss from `load_teacher`; 0 for labels only.
        distillation: its kind; None for `Distillation`, of logits.

    Raises:
        Interrupted: SIGTERM or Ctrl-C; no progress is kept.
    """
    recipe = recovery_recipe(bundle, epochs=epochs, seed=work.seed)
    cache = RecordCache()  # shared: two caches would both claim the free memory
    loader = make_train_loader(bundle, work, recipe, cache)
    records: Any = CachedInput(restore_input(bundle), cache)
    task = restore_task(bundle)

    def evaluate(candidate: Network) -> dict[str, float]:
        predictor = Predictor(records, TorchRuntime(candidate), task, {})
        evaluation = predictor.evaluate(work.val_rows)
        require_readable(evaluation, len(work.val_rows), "val")
        return compute_finite_metrics(task, evaluation.records)

    def objective(student: Network, recipe: Recipe) -> Objective:
        criterion = criterion_for(student, task)
        if not teacher:
            return Objective(student, criterion, l1=recipe.l1)
        return (distillation or Distillation)(
            student, criterion, load_teacher(bundle, work), share=teacher, l1=recipe.l1
        )

    with tempfile.TemporaryDirectory(dir=work.out.parent, prefix=TEMPORARY_PREFIX) as folder:
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
            except Interrupted as error:  # its hint names a checkpoint in the temporary folder
                raise Interrupted(
                    "Stopped during recovery training; the original model is unchanged.",
                    signal_number=error.exit_code - 128,
                    hint="The same command restarts this step.",
                ) from None


def describe_recovery(result: FitResult, epochs: int) -> dict[str, Any]:
    """What a receipt states of recovery training."""
    return {"epochs": epochs, "steps": result.steps, "chosen_epoch": result.chosen_epoch}


def replace_input(bundle: Bundle, input: Input) -> Bundle:
    """The bundle with another input of the same class."""
    _, arrays = input.get_state()
    record = make_input_record(bundle.input["name"], input)
    return dataclasses.replace(bundle, input=record, input_arrays=dict(arrays))


def save_step_output(
    bundle: Bundle,
    arch: Arch,
    input: Input,
    network: Network,
    work: StepContext,
    *,
    compact: bool = False,
) -> None:
    """Write `network` to `work.out`, calibrated on the validation rows, with goldens and exports.

    Optional post-processing is selected again, as after training: what helped the original network
    may not help this one.

    Args:
        bundle: gives everything else, and holds the state of `input`.
        arch: the architecture of `network`.
        compact: store the weights compactly, and no exports, which would be larger than they.
    """
    post = None if work.post is None else dict(work.post)
    if post is None:
        predictor = Predictor(input, TorchRuntime(network), restore_task(bundle), {})
        predictor.post = predictor.fit_postprocessing(work.val_rows)
        post = select_postprocessing(predictor, work.val_rows, seed=work.seed)
    dataclasses.replace(
        bundle,
        arch=arch,
        tensors=export_tensors(network),
        post=post,
        compact=compact or bundle.compact,
        metrics={},  # they belong to the network before; the receipt has the new ones
    ).save(work.out)
    for export in (store_goldens, *(() if compact else (export_onnx, export_openvino))):
        export(work.out)
