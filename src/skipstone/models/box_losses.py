"""Losses of boxes: which anchor answers for which object, and what it is then trained to.

Anchors are points (x, y) with the stride of their map. Each predicts distances to the four sides of
a box, in strides, as a distribution over whole numbers (Li et al. 2020, "Generalized Focal Loss",
arXiv:2006.04388), and a score per class that stands for the overlap of its box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou, generalized_box_iou_loss

from skipstone.models.box_offsets import pair_positions
from skipstone.models.losses import Criterion, Outputs, Targets

#: Factors of the losses of scores, boxes and distances (PP-YOLOE, arXiv:2203.16250).
SCORE_FACTOR, BOX_FACTOR, DISTANCE_FACTOR = 1.0, 2.5, 0.5
#: Anchors that answer for an object at most, and the exponents of score and IoU that choose them.
CANDIDATES, ALPHA, BETA = 10, 0.5, 6.0
#: Shorter boxes, in pixels of the record, teach nothing.
MIN_SIDE = 1.0


def make_anchors(maps: Sequence[Tensor], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Points (A, 2) in pixels of the input and their strides (A, 1), float32, of maps (N, C, H, W)."""
    points, scales = [], []
    for feature, stride in zip(maps, strides, strict=True):
        height, width = feature.shape[-2:]
        y = (torch.arange(height, dtype=torch.float32, device=feature.device) + 0.5) * stride
        x = (torch.arange(width, dtype=torch.float32, device=feature.device) + 0.5) * stride
        points.append(pair_positions(x, y))
        scales.append(torch.full_like(points[-1][:, :1], float(stride)))
    return torch.cat(points), torch.cat(scales)


def decode_distances(distances: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Boxes (N, A, 4) float32 from logits of distances (N, A, 4, bins)."""
    share = distances.float().softmax(dim=-1)
    bins = torch.arange(distances.shape[-1], dtype=torch.float32, device=distances.device)
    reach = (share * bins).sum(dim=-1) * strides  # (N, A, 4) left, top, right, bottom
    return torch.cat([points - reach[..., :2], points + reach[..., 2:]], dim=-1)


@dataclass(frozen=True)
class Assignment:
    """What each anchor of one photo is trained to.

    Args:
        object: (A,) the object that it answers for, -1 for none.
        quality: (A,) the score that it should give.
        counted: (A,) whether its scores are trained; not on ignored objects.
    """

    object: Tensor
    quality: Tensor
    counted: Tensor


@torch.no_grad()
def assign_task_aligned(
    scores: Tensor,
    boxes: Tensor,
    points: Tensor,
    strides: Tensor,
    objects: Tensor,
    labels: Tensor,
) -> tuple[Tensor, Tensor]:
    """Task-aligned assignment (Feng et al. 2021, TOOD, arXiv:2108.07755, section 3.2).

    An object takes, of the anchors inside it, the CANDIDATES whose score^ALPHA * IoU^BETA is greatest. The
    target score of the best of them is its IoU, and less for the others.

    Args:
        scores: (A, K) probabilities; boxes: (A, 4) as predicted.
        objects: (m, 4); labels: (m,).

    Returns the object of each anchor (A,), -1 for none, and its target score (A,).
    """
    inside = _is_inside(points, strides, objects)  # (A, m)
    overlap = box_iou(boxes, objects).clamp_min(0)
    fitness = scores[:, labels].pow(ALPHA) * overlap.pow(BETA) * inside  # (A, m)
    count = min(CANDIDATES, len(points))
    chosen = torch.zeros_like(inside)
    # a tiny share of the closeness decides among anchors that fit equally badly
    near = -torch.cdist(points, (objects[:, :2] + objects[:, 2:]) / 2)
    order = torch.where(inside, fitness + 1e-9 * (1 + near / 1e4), -1.0)
    chosen.scatter_(0, order.topk(count, dim=0).indices, True)
    chosen &= inside
    best = torch.where(chosen, overlap + 1e-9, -1.0).max(dim=1)  # of several objects the closest
    assigned = torch.where(best.values >= 0, best.indices, -1)
    owner = torch.zeros_like(chosen)
    rows = assigned >= 0
    owner[rows, assigned[rows]] = True
    fitness = fitness * owner
    top = fitness.amax(dim=0).clamp_min(1e-9)
    top_overlap = (overlap * owner).amax(dim=0)
    quality = (fitness / top * top_overlap).sum(dim=1)
    return assigned, quality.clamp(0, 1)


def _is_inside(points: Tensor, strides: Tensor, objects: Tensor) -> Tensor:
    """(A, m): anchors inside an object, or within a stride of the middle of a small one."""
    sides = torch.cat(
        [points[:, None] - objects[None, :, :2], objects[None, :, 2:] - points[:, None]], dim=2
    )
    middle = (objects[:, :2] + objects[:, 2:]) / 2
    near = (points[:, None] - middle[None]).abs().amax(dim=2) <= strides
    smallest = strides.min()
    is_small = (objects[:, 2:] - objects[:, :2]).amin(dim=1) < 2 * smallest
    return (sides.amin(dim=2) > 0) | (near & (strides == smallest) & is_small[None])


class DistributionCriterion(Criterion):
    """Quality focal loss of scores, GIoU of boxes and distribution focal loss of distances.

    Outputs {"logits": (N, A, K), "distances": (N, A, 4, bins), "points": (A, 2), "strides": (A, 1)}
    and targets {"boxes", "labels", "ignored"}, lists with a tensor per photo.
    """

    def forward(self, outputs: Outputs, y: Targets) -> dict[str, Tensor]:
        logits, distances = outputs["logits"].float(), outputs["distances"].float()
        points, strides = outputs["points"], outputs["strides"]
        boxes = decode_distances(distances, points, strides)
        sums = [logits.sum() * 0.0 for _ in range(3)]
        for row, (objects, labels, ignored) in enumerate(
            zip(y["boxes"], y["labels"], y["ignored"], strict=True)
        ):
            objects = objects.as_subclass(Tensor).float()
            target = torch.zeros_like(logits[row])
            counted, assigned_anchors = self._assign(
                logits[row], boxes[row], points, strides, objects, labels, ignored
            )
            if assigned_anchors is not None:
                anchors, goal, quality, code = assigned_anchors
                target[anchors, code] = quality
                sums[1] = sums[1] + (quality * _box_loss(boxes[row, anchors], goal)).sum()
                reach = _reaches(goal, points[anchors], strides[anchors])
                sums[2] = (
                    sums[2]
                    + (quality[:, None] * _distribution_loss(distances[row, anchors], reach)).sum()
                )
            sums[0] = sums[0] + (_quality_focal_loss(logits[row], target) * counted[:, None]).sum()
        return {
            "score": SCORE_FACTOR * sums[0],
            "box": BOX_FACTOR * sums[1],
            "distance": DISTANCE_FACTOR * sums[2] / 4,
        }

    def weight(self, y: Targets) -> Tensor:
        """Objects, and 1 for a photo without any; times the anchors that answer for one."""
        counts = [max(1, len(boxes)) for boxes in y["boxes"]]
        return torch.tensor(4.0 * sum(counts), device=y["boxes"][0].device)

    def distillation_loss(
        self, outputs: Outputs, teacher_outputs: Outputs, y: Targets
    ) -> dict[str, Tensor]:
        """Quality focal loss against the teacher's scores, and the divergence of distances where
        the teacher is sure."""
        goal = teacher_outputs["logits"].float().sigmoid()
        score = _quality_focal_loss(outputs["logits"].float(), goal).sum()
        sure = goal.amax(dim=-1)[..., None, None]
        log_p = outputs["distances"].float().log_softmax(dim=-1)
        log_q = teacher_outputs["distances"].float().log_softmax(dim=-1)
        divergence = (sure * log_q.exp() * (log_q - log_p)).sum()
        return {"score": SCORE_FACTOR * score, "distance": DISTANCE_FACTOR * divergence}

    def _assign(
        self,
        logits: Tensor,
        boxes: Tensor,
        points: Tensor,
        strides: Tensor,
        objects: Tensor,
        labels: Tensor,
        ignored: Tensor,
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor] | None]:
        """Whether scores of each anchor are trained (A,); and of those that answer for an object
        their indices, boxes, target scores and classes."""
        sides = (objects[:, 2:] - objects[:, :2]).amin(dim=1)
        usable = sides >= MIN_SIDE
        counted = torch.ones(len(points), device=points.device)
        if bool(ignored.any()):
            over = _is_inside(points, strides, objects[ignored]).any(dim=1)
            counted = torch.where(over, 0.0, counted)
        objects, labels = objects[usable & ~ignored], labels[usable & ~ignored]
        if not len(objects):
            return counted, None
        assigned, quality = assign_task_aligned(
            logits.detach().sigmoid(), boxes.detach(), points, strides, objects, labels
        )
        anchors = (assigned >= 0).nonzero()[:, 0]
        counted[anchors] = 1.0
        owner = assigned[anchors]
        return counted, (anchors, objects[owner], quality[anchors], labels[owner])


def _quality_focal_loss(logits: Tensor, quality: Tensor) -> Tensor:
    """|quality - p|^2 * cross-entropy (Li et al. 2020, equation 2)."""
    entropy = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return (quality - logits.sigmoid()).square() * entropy


def _box_loss(boxes: Tensor, goal: Tensor) -> Tensor:
    loss: Tensor = generalized_box_iou_loss(boxes, goal, reduction="none")
    return loss


def _reaches(goal: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Distances (n, 4) from points to the sides of boxes, in strides."""
    return torch.cat([points - goal[:, :2], goal[:, 2:] - points], dim=1) / strides


def _distribution_loss(distances: Tensor, reach: Tensor) -> Tensor:
    """(n, 4): cross-entropy with the two whole numbers around each distance, by their closeness."""
    last = distances.shape[-1] - 1
    reach = reach.clamp(0, last - 0.01)
    low = reach.floor().long()
    share = reach - low
    flat = distances.flatten(0, 1)
    below = F.cross_entropy(flat, low.flatten(), reduction="none").view_as(reach)
    above = F.cross_entropy(flat, low.flatten() + 1, reduction="none").view_as(reach)
    return below * (1 - share) + above * share
