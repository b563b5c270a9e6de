"""Export with the answer inside the graph: class numbers come out instead of logits."""

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

#: Parts of answers (pixels) that may differ: where two classes tie, rounding decides.
NEAR_TIES = 1e-3


class Answering(nn.Module):
    """A network and the layer that turns its outputs into answers."""

    def __init__(self, network: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.network, self.layer = network, layer

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        answers: dict[str, Tensor] = self.layer(self.network(x))
        return answers


def answering_onnx(folder: Path) -> bytes:
    """A bundle's network as an ONNX file whose outputs are answers, in float32 up to them.

    Proven on the goldens: they are answered as by the network's stored outputs.

    Raises:
        UsageError: this task's answers are not made inside a graph.
        Refusal: the network does not export, or answers otherwise.
    """
    bundle = Bundle.load(folder)
    task, input = task_of(bundle), input_of(bundle)
    if not isinstance(task, GraphDecoding):
        raise UsageError(
            f"--argmax puts the answers to each pixel into the graph; {task.name!r} has none.",
            hint="Leave it out: the outputs are logits, one a class.",
        )
    layer = task.decoding_layer()
    network = Answering(network_of(bundle), layer).eval()
    example = {name: torch.from_numpy(value) for name, value in input.example(2).items()}
    data = onnx_bytes(
        network, example, program_facts(folder, input), getattr(input, "free_axes", {})
    )
    _prove(folder, layer, data)
    return data


def _prove(folder: Path, layer: nn.Module, data: bytes) -> None:
    goldens, exact = Goldens.load(folder), exact_tolerance(read_record(folder))
    allowed = NEAR_TIES if exact.share is None else exact.share
    predictor = goldens.predictor(OnnxRuntime(data))
    found = answer(predictor, goldens.sources, batch_size=len(goldens.sources)).outputs
    stored = {name: torch.from_numpy(value) for name, value in goldens.outputs.items()}
    for name, wanted in layer(stored).items():
        share = float(np.mean(wanted.numpy() != found[name]))
        if share > allowed:
            raise Refusal(
                f"the exported program is not the same model: {share:.2%} of its answers in "
                f"{name!r} are others."
            )
