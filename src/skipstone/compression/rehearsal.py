"""A rehearsal: how much accuracy a plan costs a model that was fitted on all of its rows.

No row is new to such a model. So one fold is held out, a second model is fitted in the same way on
the other rows, the plan is applied to it, and its loss on the fold is measured: half of the fold
decides, the other half (or the user's test rows) gives the figure that is stated. The same plan is
then applied to the model itself.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from torch import nn

from skipstone.bundle.architecture import Arch, EnsembleArch
from skipstone.bundle.format import Bundle
from skipstone.core import events
from skipstone.core.registry import BACKBONES
from skipstone.data.manifest import Manifest
from skipstone.datasets.folds import has_folds, list_fold_fits
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.export.onnx_export import export_onnx
from skipstone.inference.export.openvino_export import export_openvino
from skipstone.inference.golden_outputs import store_goldens
from skipstone.inference.predictor import Predictor
from skipstone.inference.restore import (
    collect_input_arrays,
    restore_input,
    restore_network,
    restore_task,
)
from skipstone.inputs.base import Input, SparseFeatures, make_input_record
from skipstone.inputs.multi_input import MultiInput, list_inputs
from skipstone.models.build import export_tensors
from skipstone.models.network import Network
from skipstone.tasks.base import Task
from skipstone.training.closed_form import (
    Features,
    compute_dense_features,
    extract_features,
    join_networks,
    solve,
)


def needs_rehearsal(bundle: Path, manifest: Manifest) -> bool:
    """Whether no row is left to decide by, and the model can be fitted again on fewer."""
    if len(manifest.rows_with_role("val")) or not has_folds(manifest):
        return False
    return all(BACKBONES[arch.name].is_closed_form for arch in Bundle.load(bundle).arch.networks)


def fit_without_fold(original: Path, manifest: Manifest, folder: Path, seed: int) -> Manifest:
    """Write to `folder` a model like `original` that one fold is new to; returns the rows with the
    roles that they have for it.

    Args:
        manifest: rows with folds.
        folder: an empty folder.
    """
    bundle = Bundle.load(original)
    rows = manifest.rows_with_role("train")
    fit = list_fold_fits(rows)[0][0]
    ids = np.array(rows.column_values("id"))[fit.held_out]
    has_test = bool(len(manifest.rows_with_role("test")))
    held_out = {int(id): "val" if has_test or at % 2 else "test" for at, id in enumerate(ids)}
    roles = [
        held_out.get(id, role)
        for id, role in zip(
            manifest.column_values("id"), manifest.column_values("role"), strict=True
        )
    ]
    rehearsed = manifest.with_column("role", roles)
    with events.progress_stage("fitting a model without one fold"):
        _fit(bundle, rehearsed, seed).save(folder)
        for export in (store_goldens, export_onnx, export_openvino):
            export(folder)
    return rehearsed


def _fit(bundle: Bundle, manifest: Manifest, seed: int) -> Bundle:
    """The bundle's models, fitted in the same way on the training rows of `manifest`."""
    task, network = restore_task(bundle), restore_network(bundle)
    train_rows = manifest.rows_with_role("train")
    inputs = [
        each.fit(train_rows.list_sources()) if isinstance(each, SparseFeatures) else each
        for each in list_inputs(restore_input(bundle))
    ]
    classes = len(task.schema["classes"])
    if isinstance(bundle.arch, Arch):
        assert isinstance(network, Network)
        features = _prepare(network, bundle.arch, inputs[0], task, train_rows)
        smaller, arch = solve(
            *(bundle.arch, inputs[0], features.matrix, features.targets, classes, seed),
            features.fixed,
        )
        return _replace(bundle, arch, smaller, inputs[0], task, manifest)
    solved = []
    for member in bundle.arch.members:
        input = inputs[member.input]
        matrix, targets = extract_features(input, task, train_rows, member.arch.name)
        solved.append(solve(member.arch, input, matrix, targets, classes, seed))
    joint, ensemble, input = join_networks(
        task,
        solved,
        [inputs[member.input] for member in bundle.arch.members],
        [member.temperature for member in bundle.arch.members],
    )
    return _replace(bundle, ensemble, joint, input, task, manifest)


def _prepare(network: Network, arch: Arch, input: Input, task: Task, rows: Manifest) -> Features:
    if isinstance(input, SparseFeatures):
        return Features(*extract_features(input, task, rows, arch.name), {})
    return compute_dense_features(network, input, task, rows)


def _replace(
    bundle: Bundle,
    arch: Arch | EnsembleArch,
    network: nn.Module,
    input: Input,
    task: Task,
    manifest: Manifest,
) -> Bundle:
    """The bundle with another network and input, calibrated on the validation rows."""
    predictor = Predictor(input, TorchRuntime(network), task, {})
    inputs = list_inputs(input)
    first, *others = [make_input_record(bundle.input["name"], each) for each in inputs]
    return dataclasses.replace(
        bundle,
        arch=arch,
        input={**first, "others": others} if isinstance(input, MultiInput) else first,
        tensors=export_tensors(network),
        post=predictor.fit_postprocessing(manifest.rows_with_role("val")),
        input_arrays=collect_input_arrays(inputs),
    )
