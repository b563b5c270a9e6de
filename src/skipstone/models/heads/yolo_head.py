"""YOLO: one look, and every cell of a grid predicts a box (Redmon et al. 2016, arXiv:1506.02640).

From the grid of 2016 to the one of 2021 (YOLOX, Ge et al., arXiv:2107.08430), which is built here:

    2016  one grid of 7 x 7. The cell in which an object's centre lies predicts its box and class;
          squared errors
    2017  a cell has boxes relative to anchor boxes, clustered on training data (arXiv:1612.08242)
    2018  grids of three strides, joined top down; a logistic score per class (arXiv:1804.02767)
    2020  joined bottom up as well, by CSP blocks; the loss is the overlap itself (arXiv:2004.10934)
    2021  no anchor boxes, one box per cell; class and box have a branch each; an object is trained
          in the cells that predict it best, as many as its predictions are good (SimOTA)

    maps of stride 8, 16, 32  -> 1x1 convolutions              (N, C, H, W) each, C: pyramid channels
    top down, then bottom up  -> concatenate, CSP block        (N, C, H, W)
    class branch              -> class logits                  (N, K, H, W)
    box branch                -> objectness, box               (N, 1, H, W), (N, 4, H, W)

A score is the probability of an object times that of its class. ReLU stands in for SiLU, which has
no fast 8-bit form.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_iou, generalized_box_iou_loss

from skipstone.models.box_losses import MIN_SIDE, make_anchors
from skipstone.models.heads.base import Head
from skipstone.models.heads.dense import conv_norm_relu, deep_map_indices
from skipstone.models.heads.options import YoloOptions
from skipstone.models.losses import Criterion, Outputs, Targets

#: A predicted side is at most e^6 strides.
_MAX_LOG_SIDE = 6.0
#: Factor of the boxes' loss.
BOX_FACTOR = 5.0
#: SimOTA: factor of -log IoU in the cost, cells whose overlaps are summed, and the radius of the
#: centre region in strides.
IOU_COST, TOP_OVERLAPS, CENTRE_RADIUS = 3.0, 10, 2.5
#: Added to the cost of a cell that is not both inside the object and in its centre region.
_FAR_COST = 1e5


class YoloHead(Head):
    """{"boxes": (N, A, 4) in pixels of the input, "scores": (N, A, K) in 0..1}, float32.

    A is the number of cells of all grids.

    Args:
        options: channels, CSP blocks and convolutions per branch.
        channels: of the backbone's feature maps; the last three of stride 8 or more are used, of a
            shallower backbone the deepest.
        strides: of the backbone's feature maps.
        classes: K.
    """

    def __init__(
        self,
        options: YoloOptions,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
    ) -> None:
        super().__init__()
        self.used = deep_map_indices(strides, 3)
        self.strides = [strides[index] for index in self.used]
        width = options.pyramid_channels
        self.neck = PathAggregation(
            [channels[index] for index in self.used], width, options.csp_layers
        )
        self.grids = nn.ModuleList(
            GridPredictor(width, classes, options.branch_layers) for _ in self.used
        )

    def forward(self, features: tuple[Tensor, ...], size: Sequence[int]) -> dict[str, Tensor]:
        raw = self.training_outputs(features, size)
        objectness = raw["objectness"].float().sigmoid()
        return {
            "boxes": raw["boxes"],
            "scores": raw["logits"].float().sigmoid() * objectness[..., None],
        }

    def training_outputs(
        self, features: tuple[Tensor, ...], size: Sequence[int]
    ) -> dict[str, Tensor]:
        """{"logits": (N, A, K), "objectness": (N, A), "boxes": (N, A, 4), "points": (A, 2) the
        middles of the cells, "strides": (A, 1)}"""
        maps = self.neck([features[index] for index in self.used])
        grids = [grid(feature) for grid, feature in zip(self.grids, maps, strict=True)]
        logits, objectness, offsets = (
            torch.cat([value.flatten(2).transpose(1, 2) for value in values], dim=1)
            for values in zip(*grids, strict=True)
        )
        points, strides = make_anchors(maps, self.strides)
        return {
            "logits": logits,
            "objectness": objectness[..., 0],
            "boxes": decode_cells(offsets, points, strides),
            "points": points,
            "strides": strides,
        }

    def criterion(self) -> Criterion:
        return YoloCriterion()

    def class_parameter_names(self) -> tuple[str, ...]:
        levels = range(len(self.grids))
        return tuple(f"grids.{n}.logits.{part}" for n in levels for part in ("weight", "bias"))


class PathAggregation(nn.Module):
    """Maps of all strides in each other: top down (Lin et al. 2017, arXiv:1612.03144), then bottom
    up (PANet, Liu et al. 2018, arXiv:1803.01534).

    Maps (N, channels[i], H_i, W_i), shallow to deep -> (N, width, H_i, W_i).
    """

    def __init__(self, channels: Sequence[int], width: int, layers: int) -> None:
        super().__init__()
        count = len(channels) - 1
        self.laterals = nn.ModuleList(_conv(inputs, width, 1) for inputs in channels)
        self.down = nn.ModuleList(CspBlock(2 * width, width, layers) for _ in range(count))
        self.strided = nn.ModuleList(_conv(width, width, 3, stride=2) for _ in range(count))
        self.up = nn.ModuleList(CspBlock(2 * width, width, layers) for _ in range(count))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        maps = [lateral(x) for lateral, x in zip(self.laterals, features, strict=True)]
        for level in range(len(maps) - 2, -1, -1):
            larger = F.interpolate(maps[level + 1], maps[level].shape[-2:], mode="nearest")
            maps[level] = self.down[level](torch.cat([maps[level], larger], dim=1))
        for level in range(1, len(maps)):
            smaller = self.strided[level - 1](maps[level - 1])
            maps[level] = self.up[level - 1](torch.cat([smaller, maps[level]], dim=1))
        return maps


class CspBlock(nn.Module):
    """Half of the channels go through residual layers, the other half around them (CSPNet, Wang et
    al. 2019, arXiv:1911.11929)."""

    def __init__(self, inputs: int, outputs: int, layers: int) -> None:
        super().__init__()
        half = outputs // 2
        self.through, self.around = _conv(inputs, half, 1), _conv(inputs, half, 1)
        self.layers = nn.ModuleList(
            nn.Sequential(_conv(half, half, 1), _conv(half, half, 3)) for _ in range(layers)
        )
        self.join = _conv(2 * half, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        through = self.through(x)
        for layer in self.layers:
            through = through + layer(through)
        joined: Tensor = self.join(torch.cat([through, self.around(x)], dim=1))
        return joined


class GridPredictor(nn.Module):
    """The decoupled head of one grid (Ge et al. 2021, section 2.1, figure 2).

    (N, width, H, W) -> class logits (N, K, H, W), objectness (N, 1, H, W), box (N, 4, H, W).
    """

    def __init__(self, width: int, classes: int, layers: int) -> None:
        super().__init__()
        self.class_branch = nn.Sequential(*(_conv(width, width, 3) for _ in range(layers)))
        self.box_branch = nn.Sequential(*(_conv(width, width, 3) for _ in range(layers)))
        self.logits = nn.Conv2d(width, classes, 1)
        self.objectness = nn.Conv2d(width, 1, 1)
        self.box = nn.Conv2d(width, 4, 1)
        for layer in (self.logits, self.objectness):
            assert layer.bias is not None
            nn.init.constant_(layer.bias, -4.6)  # a probability of 1 % (arXiv:1708.02002, 4.1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        box = self.box_branch(x)
        return self.logits(self.class_branch(x)), self.objectness(box), self.box(box)


def _conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(*conv_norm_relu(inputs, outputs, kernel, stride=stride))


def decode_cells(offsets: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Boxes (N, A, 4) float32 from offsets (N, A, 4): how far the box's centre is from the middle of
    its cell, and the logarithms of its width and height, all in strides."""
    offsets = offsets.float()
    centre = points + offsets[..., :2] * strides
    half = offsets[..., 2:].clamp(max=_MAX_LOG_SIDE).exp() * strides / 2
    return torch.cat([centre - half, centre + half], dim=-1)


@torch.no_grad()
def assign_sim_ota(
    logits: Tensor,
    objectness: Tensor,
    boxes: Tensor,
    points: Tensor,
    strides: Tensor,
    objects: Tensor,
    labels: Tensor,
) -> tuple[Tensor, Tensor]:
    """SimOTA (Ge et al. 2021, section 2.1): which cells are trained on which object.

    A cell costs an object the cross-entropy of its score and -3 log IoU of its box. An object takes
    its cheapest cells, as many as the sum of its ten greatest IoUs, and at least one; a cell that
    several objects take goes to the one that it costs least.

    Args:
        logits: (A, K); objectness: (A,); boxes: (A, 4) as predicted.
        points: (A, 2); strides: (A, 1).
        objects: (m, 4), m >= 1; labels: (m,).

    Returns the object of each cell (A,), -1 for none, and the IoU of its box with it (A,).
    """
    sides = torch.cat(
        [points[:, None] - objects[None, :, :2], objects[None, :, 2:] - points[:, None]], dim=2
    )
    is_inside = sides.amin(dim=2) > 0  # (A, m)
    middle = (objects[:, :2] + objects[:, 2:]) / 2
    reach = (points[:, None] - middle[None]).abs().amax(dim=2)
    is_central = reach < CENTRE_RADIUS * strides
    is_candidate = is_inside | is_central
    overlap = box_iou(boxes, objects)
    score = (logits.float().sigmoid() * objectness.float().sigmoid()[:, None]).sqrt()  # (A, K)
    log_p, log_not = score.clamp_min(1e-8).log(), (1 - score).clamp_min(1e-8).log()
    entropy = log_not[:, labels] - log_p[:, labels] - log_not.sum(dim=1, keepdim=True)
    cost = entropy - IOU_COST * (overlap + 1e-8).log() + _FAR_COST * ~(is_inside & is_central)
    cost = torch.where(is_candidate, cost, torch.inf)
    top = torch.where(is_candidate, overlap, 0.0).topk(min(TOP_OVERLAPS, len(points)), dim=0)
    count = top.values.sum(dim=0).int().clamp_min(1)  # (m,)
    rank = cost.argsort(dim=0, stable=True).argsort(dim=0)
    taken = torch.where((rank < count) & is_candidate, cost, torch.inf)
    least = taken.min(dim=1)
    assigned = torch.where(least.values.isfinite(), least.indices, -1)
    return assigned, overlap.gather(1, least.indices[:, None])[:, 0]


class YoloCriterion(Criterion):
    """Cross-entropy of objectness and of classes, and GIoU of boxes (Rezatofighi et al. 2019).

    A cell's class is trained to the IoU of its box. Outputs as `YoloHead.training_outputs`, targets
    {"boxes", "labels", "ignored"}, lists with a tensor per photo. Cells inside ignored objects are
    not trained as background.
    """

    def forward(self, outputs: Outputs, y: Targets) -> dict[str, Tensor]:
        logits, objectness = outputs["logits"].float(), outputs["objectness"].float()
        boxes, points, strides = (outputs[name] for name in ("boxes", "points", "strides"))
        score, box, presence = logits.sum() * 0.0, boxes.sum() * 0.0, objectness.sum() * 0.0
        for row, (all_objects, labels, ignored) in enumerate(
            zip(y["boxes"], y["labels"], y["ignored"], strict=True)
        ):
            objects = all_objects.as_subclass(Tensor).float()
            usable = ((objects[:, 2:] - objects[:, :2]).amin(dim=1) >= MIN_SIDE) & ~ignored
            goal = torch.zeros_like(objectness[row])
            if bool(usable.any()):
                wanted, codes = objects[usable], labels[usable]
                assigned, overlap = assign_sim_ota(
                    *(logits[row], objectness[row], boxes[row]), points, strides, wanted, codes
                )
                cells = (assigned >= 0).nonzero()[:, 0]
                owner = assigned[cells]
                goal[cells] = 1.0
                classes = F.one_hot(codes[owner], logits.shape[-1]) * overlap[cells, None]
                score = score + _entropy(logits[row, cells], classes).sum()
                box = box + generalized_box_iou_loss(
                    boxes[row, cells], wanted[owner], reduction="sum"
                )
            is_counted = ~_is_within(points, objects[ignored]) | (goal > 0)
            presence = presence + (_entropy(objectness[row], goal) * is_counted).sum()
        return {"score": score, "box": BOX_FACTOR * box, "objectness": presence}

    def weight(self, y: Targets) -> Tensor:
        """Objects, and 1 for a photo without any; times the cells that are trained on one."""
        counts = [max(1, len(boxes)) for boxes in y["boxes"]]
        return torch.tensor(4.0 * sum(counts), device=y["boxes"][0].device)

    def distillation_loss(
        self, outputs: Outputs, teacher_outputs: Outputs, y: Targets
    ) -> dict[str, Tensor]:
        """The same losses against the teacher's probabilities and boxes, classes and boxes weighted
        by the teacher's objectness."""
        sure = teacher_outputs["objectness"].float().sigmoid()
        classes = teacher_outputs["logits"].float().sigmoid()
        entropy = _entropy(outputs["logits"].float(), classes).sum(dim=-1)
        box = generalized_box_iou_loss(outputs["boxes"], teacher_outputs["boxes"], reduction="none")
        return {
            "score": (sure * entropy).sum(),
            "box": BOX_FACTOR * (sure * box).sum(),
            "objectness": _entropy(outputs["objectness"].float(), sure).sum(),
        }


def _entropy(logits: Tensor, goal: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, goal, reduction="none")


def _is_within(points: Tensor, boxes: Tensor) -> Tensor:
    """(A,) whether a point lies inside any of the boxes (m, 4)."""
    after, before = points[:, None] > boxes[None, :, :2], points[:, None] < boxes[None, :, 2:]
    return (after & before).all(dim=2).any(dim=1)
