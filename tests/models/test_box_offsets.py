"""Anchors in an exported graph: of the size that is given, not of the example's."""

from __future__ import annotations

import io

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from skipstone.models.box_losses import make_anchors
from skipstone.models.heads.faster_rcnn import place_anchors
from skipstone.models.heads.ssd import make_default_boxes


class EveryAnchor(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = x[:, :, ::8, ::8], x[:, :, ::16, ::16]
        points, _ = make_anchors(maps, (8, 16))
        shapes = [[(0.1, 0.2), (0.3, 0.3)], [(0.5, 0.5), (0.4, 0.4)]]
        placed = place_anchors(maps[0], torch.tensor([[-4.0, -4.0, 4.0, 4.0]]), x.shape[-2:])
        return points, make_default_boxes(maps, shapes, x.shape[-2:]), placed


def test_anchors_follow_the_size_of_the_input() -> None:
    network, free = EveryAnchor().eval(), torch.export.Dim.DYNAMIC
    example = (torch.zeros(1, 3, 64, 96),)
    sides = ({2: free, 3: free},)
    program = torch.onnx.export(network, example, dynamic_shapes=sides, dynamo=True, verbose=False)
    assert program is not None
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue())
    [given] = session.get_inputs()
    for side in ((64, 96), (96, 64), (128, 128)):
        x = np.zeros((1, 3, *side), np.float32)
        expected = network(torch.from_numpy(x))
        for found, wanted in zip(session.run(None, {given.name: x}), expected, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)
    middles = network(torch.zeros(1, 3, 16, 24))[0]
    assert middles.tolist()[:6] == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]
