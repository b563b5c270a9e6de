"""What every new model goes through: calibrated on select, scored on claim once, a bundle written,
programs exported, and the whole proven from raw bytes."""

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
from skipstone.train.learner import Given
from skipstone.verbs.scores import Scores, calibration_of, score


def write_bundle(
    given: Given,
    network: nn.Module,
    arch: Arch | Ensemble,
    lineage: dict[str, Any],
    folder: Path,
) -> tuple[Scores, Bundle]:
    """Calibrate on select, score the claim once (select where there is none), write the bundle.

    Args:
        network: what `arch` builds, with its weights.
    """
    runtime = TorchRuntime(network)
    select = given.manifest.role("select")
    post = Predictor(given.input, runtime, given.task, {}).calibrate(select)
    post = refined(Predictor(given.input, runtime, given.task, post), select, seed=given.seed)
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
    """The role that is scored: "claim", or "select" where the data is too small for one."""
    return "claim" if len(manifest.role("claim")) else "select"


def export_and_verify(folder: Path) -> Verification:
    """Programs for shipping, each proven on the goldens, then verified in a fresh process.

    A network that cannot be exported is a model all the same, and has its report.
    """
    store_goldens(folder)
    steps: dict[str, Callable[[Path], object]] = {"ONNX": export_onnx, "OpenVINO": export_openvino}
    for name in events.track(list(steps), "exporting"):
        try:
            steps[name](folder)
        except Refusal as refusal:  # OpenVINO's is made of ONNX's
            events.warn(f"The model has no program in {name}, and answers without: {refusal}")
            break
    with events.stage("verifying from raw bytes"):
        return verify(folder)
