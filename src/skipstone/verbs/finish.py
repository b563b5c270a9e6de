"""The last steps for every new model: calibrate, score, write the bundle, export and verify."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from skipstone import events
from skipstone.bundle.arch import Arch, Ensemble
from skipstone.bundle.format import Bundle
from skipstone.data.manifest import Manifest
from skipstone.errors import Refusal
from skipstone.inputs.base import input_record
from skipstone.inputs.joined import inputs_of
from skipstone.models.build import network_tensors
from skipstone.proof.parity import Verification, verify
from skipstone.proof.refine import refined
from skipstone.runtime.export_onnx import export_onnx
from skipstone.runtime.export_openvino import export_openvino
from skipstone.runtime.goldens import store_goldens
from skipstone.runtime.parts import joined_arrays
from skipstone.runtime.predictor import Predictor
from skipstone.runtime.torch_runtime import TorchRuntime
from skipstone.tasks.base import task_record
from skipstone.train.plan import TrainContext
from skipstone.verbs.scores import Scores, calibration_of, score


def write_bundle(
    given: TrainContext,
    network: nn.Module,
    arch: Arch | Ensemble,
    lineage: dict[str, Any],
    folder: Path,
) -> tuple[Scores, Bundle]:
    """Calibrate on the validation rows, score the test rows once (or, if the data is too small for
    a test set, the validation rows), and write the bundle.

    Args:
        network: the network of `arch`, with its weights.
    """
    runtime = TorchRuntime(network)
    val_rows = given.manifest.role("select")
    post = Predictor(given.input, runtime, given.task, {}).calibrate(val_rows)
    post = refined(Predictor(given.input, runtime, given.task, post), val_rows, seed=given.seed)
    predictor = Predictor(given.input, runtime, given.task, post)
    role = claimed(given.manifest)
    part = given.manifest.role(role)
    evaluation = predictor.evaluate(part)
    scores = dataclasses.replace(
        score(given.task, evaluation, part, role=role, seed=given.seed),
        calibration=calibration_of(predictor, part, evaluation, role=role, seed=given.seed),
    )
    inputs = inputs_of(given.input)
    first, *others = [input_record(given.manifest.input, input) for input in inputs]
    bundle = Bundle(
        arch=arch,
        input={**first, "others": others} if others else first,
        task=task_record(given.manifest.task, given.task),
        post=post,
        lineage=lineage,
        metrics=scores.to_json(),
        tensors=network_tensors(network),
        input_arrays=joined_arrays(inputs),
    )
    bundle.save(folder)
    return scores, bundle


def claimed(manifest: Manifest) -> str:
    """The role that is scored: "claim", or "select" if the data is too small for a test set."""
    return "claim" if len(manifest.role("claim")) else "select"


def export_and_verify(folder: Path) -> Verification:
    """Export the programs, each compared with the network on the goldens, then verify the bundle
    in a new process. A network that cannot be exported remains a valid model, with a warning.
    """
    store_goldens(folder)
    steps: dict[str, Callable[[Path], object]] = {"ONNX": export_onnx, "OpenVINO": export_openvino}
    for name in events.track(list(steps), "exporting"):
        try:
            steps[name](folder)
        except Refusal as refusal:  # OpenVINO's program is converted from ONNX's
            events.warn(f"The model was not exported to {name}, and runs in torch: {refusal}")
            break
    with events.stage("verifying from raw bytes"):
        return verify(folder)
