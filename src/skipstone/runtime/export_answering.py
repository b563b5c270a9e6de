"""Export with the argmax inside the graph: the outputs are class indices instead of logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from skipstone.bundle.files import read_record
from skipstone.bundle.format import Bundle
from skipstone.errors import Refusal, UsageError
from skipstone.runtime.export_onnx import onnx_bytes, program_facts
from skipstone.runtime.goldens import Goldens, answer
from skipstone.runtime.onnx_runtime import OnnxRuntime
from skipstone.runtime.parts import input_of, network_of, task_of
from skipstone.runtime.programs import exact_tolerance
from skipstone.tasks.base import GraphDecoding

#: Share of pixels that may differ: where two classes tie, rounding decides.
NEAR_TIES = 1e-3


class Answering(nn.Module):
    """A network followed by the layer that turns logits into class indices."""

    def __init__(self, network: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.network, self.layer = network, layer

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        indices: dict[str, Tensor] = self.layer(self.network(x))
        return indices


def answering_onnx(folder: Path) -> bytes:
    """A bundle's network as a float32 ONNX file whose outputs are class indices.

    Verified on the goldens: it gives the same classes as the network's stored outputs.

    Raises:
        UsageError: this task cannot compute its predictions inside a graph.
        Refusal: the network does not export, or the program predicts other classes.
    """
    bundle = Bundle.load(folder)
    task, input = task_of(bundle), input_of(bundle)
    if not isinstance(task, GraphDecoding):
        raise UsageError(
            f"--argmax exports a class index for each pixel; the task {task.name!r} has none.",
            hint="Leave it out: the outputs are logits, one per class.",
        )
    layer = task.decoding_layer()
    network = Answering(network_of(bundle), layer).eval()
    example = {name: torch.from_numpy(value) for name, value in input.example(2).items()}
    data = onnx_bytes(network, example, program_facts(folder, input), input.free_axes)
    _check_on_goldens(folder, layer, data)
    return data


def _check_on_goldens(folder: Path, layer: nn.Module, data: bytes) -> None:
    goldens, exact = Goldens.load(folder), exact_tolerance(read_record(folder))
    allowed = NEAR_TIES if exact.share is None else exact.share
    predictor = goldens.predictor(OnnxRuntime(data))
    outputs = answer(predictor, goldens.sources, batch_size=len(goldens.sources)).outputs
    stored = {name: torch.from_numpy(value) for name, value in goldens.outputs.items()}
    for name, expected in layer(stored).items():
        share = float(np.mean(expected.numpy() != outputs[name]))
        if share > allowed:
            raise Refusal(
                f"the exported program differs from the model in {share:.2%} of {name!r}."
            )
