"""Save the network that a step has made as a bundle."""

from __future__ import annotations

import dataclasses

from skipstone.bundle.architecture import Arch
from skipstone.bundle.format import Bundle
from skipstone.compression.shrink_plan import StepContext
from skipstone.evaluation.postprocessing import select_postprocessing
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.export.onnx_export import export_onnx
from skipstone.inference.export.openvino_export import export_openvino
from skipstone.inference.golden_outputs import store_goldens
from skipstone.inference.predictor import Predictor
from skipstone.inference.restore import restore_task
from skipstone.inputs.base import Input, make_input_record
from skipstone.models.build import export_tensors
from skipstone.models.network import Network


def replace_input(bundle: Bundle, input: Input) -> Bundle:
    """The bundle with another input of the same class."""
    _, arrays = input.get_state()
    record = make_input_record(bundle.input["name"], input)
    return dataclasses.replace(bundle, input=record, input_arrays=dict(arrays))


def save_step_output(
    bundle: Bundle, arch: Arch, input: Input, network: Network, work: StepContext
) -> None:
    """Write `network` to `work.out`, calibrated on the validation rows, with goldens and exports.

    Optional post-processing is selected again, as after training: what helped the original network
    may not help this one.

    Args:
        bundle: gives everything else, and holds the state of `input`.
        arch: the architecture of `network`.
    """
    predictor = Predictor(input, TorchRuntime(network), restore_task(bundle), {})
    predictor.post = predictor.fit_postprocessing(work.val_rows)
    dataclasses.replace(
        bundle,
        arch=arch,
        tensors=export_tensors(network),
        post=select_postprocessing(predictor, work.val_rows, seed=work.seed),
        metrics={},  # they belong to the network before; the receipt has the new ones
    ).save(work.out)
    for export in (store_goldens, export_onnx, export_openvino):
        export(work.out)
