"""Export with the argmax inside the graph: the outputs are class indices instead of logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from skipstone.bundle.files import read_bundle_json
from skipstone.bundle.format import Bundle
from skipstone.core.errors import Refusal, UsageError
from skipstone.inference.backends.onnx_backend import OnnxRuntime
from skipstone.inference.export.onnx_export import onnx_bytes, program_metadata
from skipstone.inference.golden_outputs import Goldens, predict_goldens
from skipstone.inference.programs import float32_tolerance
from skipstone.inference.restore import restore_input, restore_network, restore_task
from skipstone.tasks.base import GraphDecoding

#: Share of pixels that may differ: where two classes tie, rounding decides.
MAX_NEAR_TIES = 1e-3


class ArgmaxWrapper(nn.Module):
    """A network followed by the layer that turns logits into class indices."""

    def __init__(self, network: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.network, self.layer = network, layer

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        indices: dict[str, Tensor] = self.layer(self.network(x))
        return indices


def export_argmax(folder: Path) -> bytes:
    """A bundle's network as a float32 ONNX file whose outputs are class indices.

    Verified on the goldens: it gives the same classes as the network's stored outputs.

    Raises:
        UsageError: this task cannot compute its predictions inside a graph.
        Refusal: the network does not export, or the program predicts other classes.
    """
    bundle = Bundle.load(folder)
    task, input = restore_task(bundle), restore_input(bundle)
    if not isinstance(task, GraphDecoding):
        raise UsageError(
            f"--argmax exports a class index for each pixel; the task {task.name!r} has none.",
            hint="Leave it out: the outputs are logits, one per class.",
        )
    layer = task.decoding_layer()
    network = ArgmaxWrapper(restore_network(bundle), layer).eval()
    example = {name: torch.from_numpy(value) for name, value in input.make_example(2).items()}
    data = onnx_bytes(network, example, program_metadata(folder, input), input.dynamic_axes)
    _check_on_goldens(folder, layer, data)
    return data


def _check_on_goldens(folder: Path, layer: nn.Module, data: bytes) -> None:
    goldens, exact = Goldens.load(folder), float32_tolerance(read_bundle_json(folder))
    allowed = MAX_NEAR_TIES if exact.share is None else exact.share
    predictor = goldens.make_predictor(OnnxRuntime(data))
    outputs = predict_goldens(predictor, goldens.sources, batch_size=len(goldens.sources)).outputs
    stored = {name: torch.from_numpy(value) for name, value in goldens.outputs.items()}
    for name, expected in layer(stored).items():
        share = float(np.mean(expected.numpy() != outputs[name]))
        if share > allowed:
            raise Refusal(
                f"the exported program differs from the model in {share:.2%} of {name!r}."
            )
