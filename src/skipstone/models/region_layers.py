"""Layers of detectors that classify regions: a pyramid of maps, the pooling of a region from it,
the layers that classify a region, and non-maximum suppression inside a graph.

Every shape is fixed but the batch: a photo has R regions, and rows without a region hold zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import nms, roi_align

from skipstone.models.box_offsets import clip_boxes, decode_offsets

#: Sides of a pooled region, and samples of each of its bins along a side.
BINS, SAMPLES = 7, 2
#: A region is pooled from the deepest map of which its side spans this many pixels: 224 pixels of a
#: photo at stride 16 (Lin et al. 2017, equation 1).
_SPANNED_PIXELS = 14


class FeaturePyramid(nn.Module):
    """Maps of one width, each a sum of the backbone's map and the deeper map, enlarged (Lin et al.
    2017, "Feature Pyramid Networks", arXiv:1612.03144, section 3). Names are torchvision's.

    Args:
        channels: of the maps, shallow to deep.
        width: channels of each map of the pyramid.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, width, 1)) for count in channels
        )
        self.layer_blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1)) for _ in channels
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight, a=1)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        sums = [inner(value) for inner, value in zip(self.inner_blocks, maps, strict=True)]
        for level in range(len(sums) - 2, -1, -1):
            larger = F.interpolate(sums[level + 1], sums[level].shape[-2:], mode="nearest")
            sums[level] = sums[level] + larger
        return [layer(value) for layer, value in zip(self.layer_blocks, sums, strict=True)]


def pool_regions(maps: Sequence[Tensor], strides: Sequence[int], boxes: Tensor) -> Tensor:
    """RoIAlign (He et al. 2017, arXiv:1703.06870, section 3) of each region from the map that suits
    its size.

    The maps are laid under each other on one canvas, each with its last row and column repeated, so
    that one RoIAlign serves all of them: a region's samples then are those of its own map.

    Args:
        maps: (N, C, H, W) each, shallow to deep, and their strides.
        boxes: (N, R, 4) in pixels of the input.
    Returns:
        (N * R, C, BINS, BINS), float32.
    """
    width = maps[0].shape[-1]
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    scale, top = torch.full_like(area, 1 / strides[0]), torch.zeros_like(area)
    rows, start = [], 0
    for level, (value, stride) in enumerate(zip(maps, strides, strict=True)):
        if level:
            is_deeper = area >= (_SPANNED_PIXELS * stride) ** 2
            scale = torch.where(is_deeper, 1 / stride, scale)
            top = torch.where(is_deeper, float(start), top)
        padded = F.pad(value, (0, 2, 0, 2), mode="replicate")
        rows.append(F.pad(padded, (0, width - value.shape[-1])))
        start = start + value.shape[-2] + 2
    canvas = torch.cat(rows, dim=2)
    shift = torch.stack([torch.zeros_like(top), top] * 2, dim=-1)
    placed = boxes * scale[..., None] + shift  # (N, R, 4) in pixels of the canvas
    photo = torch.arange(boxes.shape[0], dtype=boxes.dtype, device=boxes.device)
    photos = photo[:, None, None].expand(-1, boxes.shape[1], 1)
    regions = torch.cat([photos, placed], dim=2).flatten(0, 1)
    pooled: Tensor = roi_align(canvas.float(), regions, BINS, sampling_ratio=SAMPLES)
    return pooled


class RegionClassifier(nn.Module):
    """Pooled regions to classes and boxes, by two hidden layers (Girshick 2015, "Fast R-CNN",
    arXiv:1504.08083, section 2). Names are torchvision's.

    Args:
        channels: of a pooled region.
        hidden: units of each hidden layer.
        classes: K; class 0 of the outputs is the background.
    """

    def __init__(self, channels: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.box_head = nn.ModuleDict(
            {
                "fc6": nn.Linear(channels * BINS * BINS, hidden),
                "fc7": nn.Linear(hidden, hidden),
            }
        )
        self.box_predictor = nn.ModuleDict(
            {
                "cls_score": nn.Linear(hidden, classes + 1),
                "bbox_pred": nn.Linear(hidden, 4 * (classes + 1)),
            }
        )

    def forward(self, pooled: Tensor, regions: int) -> tuple[Tensor, Tensor]:
        """(N * R, C, BINS, BINS) -> logits (N, R, K + 1) and offsets (N, R, K + 1, 4)."""
        x = pooled.flatten(1)
        for layer in self.box_head.values():
            x = F.relu(layer(x))
        logits = self.box_predictor["cls_score"](x).reshape(-1, regions, self.classes + 1)
        offsets = self.box_predictor["bbox_pred"](x).reshape(-1, regions, self.classes + 1, 4)
        return logits, offsets


def list_class_boxes(
    logits: Tensor, offsets: Tensor, regions: Tensor, size: Sequence[int]
) -> dict[str, Tensor]:
    """{"boxes": (N, R * K, 4), "scores": (N, R * K, K)}: a region has a box for each class, whose
    scores for the other classes are 0.

    Args:
        logits: (N, R, K + 1), the background first.
        offsets: (N, R, K + 1, 4).
        regions: (N, R, 4); those without an area are padding, whose scores are 0.
        size: (height, width) of the input.
    """
    boxes = clip_boxes(decode_offsets(offsets.float()[:, :, 1:], regions[:, :, None]), size)
    is_region = (regions[..., 2:] > regions[..., :2]).all(dim=-1, keepdim=True)
    scores = logits.float().softmax(dim=-1)[..., 1:] * is_region  # (N, R, K)
    own_class = torch.eye(scores.shape[-1], device=scores.device)
    by_class = scores[..., None] * own_class  # (N, R, K, K)
    return {"boxes": boxes.flatten(1, 2), "scores": by_class.flatten(1, 2)}


class Suppression(nn.Module):
    """Boxes (N, k, 4), the best first -> (N, k): 1.0 where no better box that stays overlaps it by
    more than `iou`, else 0.0. ONNX's NonMaxSuppression in exported graphs."""

    def __init__(self, iou: float) -> None:
        super().__init__()
        self.iou = iou

    def forward(self, boxes: Tensor) -> Tensor:
        mask: Tensor = suppress_boxes(boxes.float(), self.iou)
        return mask

    def onnx_operators(self) -> Mapping[Any, Callable[..., Any]]:
        """{torch operator: its translation to ONNX}."""
        return {torch.ops.skipstone.suppress_boxes.default: _to_onnx}


@torch.library.custom_op("skipstone::suppress_boxes", mutates_args=())
def suppress_boxes(boxes: Tensor, iou: float) -> Tensor:
    """See `Suppression`."""
    rank = torch.arange(boxes.shape[1], 0, -1, dtype=boxes.dtype, device=boxes.device)
    mask = torch.zeros_like(boxes[..., 0])
    for row, candidates in zip(mask, boxes, strict=True):
        row[nms(candidates, rank, iou)] = 1.0
    return mask


@suppress_boxes.register_fake
def _(boxes: Tensor, iou: float) -> Tensor:
    return boxes.new_empty(boxes.shape[:2])


def _to_onnx(boxes: Any, iou: float) -> Any:
    """Each box has a score by its place, so that every runtime takes them in the same order."""
    from onnxscript import opset20

    op: Any = opset20
    first, second = (op.Constant(value_ints=[number]) for number in (0, 1))
    zeros = op.Mul(op.ReduceMax(boxes, op.Constant(value_ints=[2]), keepdims=0), 0.0)  # (N, k)
    rank = op.CumSum(op.Add(zeros, 1.0), op.Constant(value_int=1))
    scores = op.Unsqueeze(op.Reciprocal(rank), second)  # (N, 1, k)
    count = op.Gather(op.Shape(boxes), second, axis=0)
    overlap = op.Constant(value_floats=[iou])
    chosen = op.NonMaxSuppression(boxes, scores, count, overlap)  # (n, 3): photo, 0, box
    places = op.Gather(chosen, op.Constant(value_ints=[0, 2]), axis=1)
    length = op.Gather(op.Shape(places), first, axis=0)
    ones = op.Expand(op.Constant(value_float=1.0), length)
    return op.ScatterND(zeros, places, ones)
