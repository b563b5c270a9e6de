"""The last steps for every new model: calibrate, score, write the bundle, export and verify."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from torch import nn

from skipstone.bundle.architecture import Arch, EnsembleArch
from skipstone.bundle.format import Bundle
from skipstone.core import events
from skipstone.core.errors import Refusal
from skipstone.data.manifest import Manifest
from skipstone.datasets.cache import CachedInput, RecordCache
from skipstone.datasets.folds import has_folds
from skipstone.evaluation.parity import Verification, VerifyingProcess
from skipstone.evaluation.scores import (
    Scores,
    compute_scores,
    measure_calibration_gain,
    require_readable,
    select_postprocessing,
)
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.export.onnx_export import export_onnx
from skipstone.inference.export.openvino_export import export_openvino
from skipstone.inference.golden_outputs import store_goldens
from skipstone.inference.memoized import MemoizedRuntime
from skipstone.inference.predictor import Predictor
from skipstone.inference.restore import collect_input_arrays
from skipstone.inputs.base import Input, make_input_record
from skipstone.inputs.multi_input import list_inputs
from skipstone.models.build import export_tensors
from skipstone.tasks.base import task_record
from skipstone.training.cross_validation import FOLDS_ROLE, CrossValidation
from skipstone.training.plan import TrainContext


def score_and_write_bundle(
    context: TrainContext,
    network: nn.Module,
    arch: Arch | EnsembleArch,
    lineage: dict[str, Any],
    folder: Path,
    cache: RecordCache | None = None,
    validation: CrossValidation | None = None,
) -> tuple[Scores, Bundle]:
    """Calibrate on the validation rows, score the test rows once (or, if the data is too small for
    a test set, the validation rows), and write the bundle.

    Args:
        network: the network of `arch`, with its weights.
        cache: has decoded records of the rows, so that files are not decoded again.
        validation: takes the place of the validation rows, and of test rows where there are none.

    Raises:
        DataError: more rows than `--max-bad` allows can no longer be read.
    """
    runtime = MemoizedRuntime(TorchRuntime(network))
    input = context.input if cache is None else cast(Input, CachedInput(context.input, cache))
    if validation is not None:
        post = validation.fit_postprocessing(context.task)
    else:
        val_rows = context.manifest.rows_with_role("val")
        post = Predictor(input, runtime, context.task, {}).fit_postprocessing(val_rows)
        post = select_postprocessing(
            Predictor(input, runtime, context.task, post), val_rows, seed=context.seed
        )
    if validation is not None and scored_role(context.manifest) == FOLDS_ROLE:
        scores = validation.compute_scores(context.task, context.seed)
    else:
        scores = _score_rows(context, Predictor(input, runtime, context.task, post))
    inputs = list_inputs(context.input)
    first, *others = [make_input_record(context.manifest.input, each) for each in inputs]
    bundle = Bundle(
        arch=arch,
        input={**first, "others": others} if others else first,
        task=task_record(context.manifest.task, context.task),
        post=post,
        lineage=lineage,
        metrics=scores.to_json(),
        tensors=export_tensors(network),
        input_arrays=collect_input_arrays(inputs),
    )
    bundle.save(folder)
    return scores, bundle


def _score_rows(context: TrainContext, predictor: Predictor) -> Scores:
    """The scores of the test rows, or else of the validation rows."""
    role = scored_role(context.manifest)
    part = context.manifest.rows_with_role(role)
    evaluation = predictor.evaluate(part)
    allowed = context.loading.max_unreadable(len(part))
    require_readable(evaluation, len(part), role, allowed)
    gain = measure_calibration_gain(predictor, part, evaluation, role=role, seed=context.seed)
    scores = compute_scores(context.task, evaluation, part, role=role, seed=context.seed)
    return dataclasses.replace(scores, calibration=gain)


def scored_role(manifest: Manifest) -> str:
    """The role that is scored: "test"; else "folds" where the rows have some, or "val" if the data
    is too small for a test set."""
    if len(manifest.rows_with_role("test")):
        return "test"
    return FOLDS_ROLE if has_folds(manifest) else "val"


def export_and_verify(folder: Path) -> Verification:
    """Export the programs, each compared with the network on the goldens, then verify the bundle
    in a new process. A network that cannot be exported remains a valid model, with a warning.
    """
    steps: dict[str, Callable[[Path], object]] = {
        "golden samples": store_goldens,
        "ONNX": export_onnx,
        "OpenVINO": export_openvino,
    }
    with VerifyingProcess() as process:  # it starts while this one exports
        with events.progress_stage("exporting", total=len(steps), unit="steps") as advance:
            for name, step in steps.items():
                advance(0, name)
                try:
                    step(folder)
                except Refusal as refusal:  # OpenVINO's program is converted from ONNX's
                    events.emit_warning(
                        f"The model was not exported to {name}, and runs in torch: {refusal}"
                    )
                    break
                advance()
        return process.verify(folder)
