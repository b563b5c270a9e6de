"""Losses of detectors that classify regions: which region answers for which object, which of them
are trained, and to what (Girshick 2015, arXiv:1504.08083, section 2.3; Ren et al. 2015,
arXiv:1506.01497, section 3.1.2)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from skipstone.models.box_offsets import encode_offsets
from skipstone.models.losses import Criterion, Outputs, Targets

#: Factors of the offsets from anchors to proposals.
PROPOSAL_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
#: Overlap from which an anchor, or a region, answers for an object, and below which for none.
ANCHOR_IOUS, REGION_IOUS = (0.7, 0.3), (0.5, 0.5)
#: Of one photo, the anchors and the regions that are trained, and the greatest share of objects.
ANCHOR_SAMPLE, REGION_SAMPLE = (256, 0.5), (64, 0.25)
#: Where smooth L1 turns from a square into a line.
_BETA = 1 / 9
#: Instead of the number of an object: answers for none; is not trained.
BACKGROUND, UNTRAINED = -1, -2

ClassifyRegions = Callable[[Outputs, Tensor], tuple[Tensor, Tensor]]


@torch.no_grad()
def match_regions(
    regions: Tensor,
    objects: Tensor,
    ignored: Tensor,
    ious: tuple[float, float],
    *,
    each_object: bool,
) -> Tensor:
    """The object (A,) that each region answers for, BACKGROUND, or UNTRAINED: between the two
    overlaps, without an area, or a background on an ignored object.

    Args:
        regions: (A, 4).
        objects: (m, 4); ignored: (m,).
        ious: overlap from which it answers for an object, and below which for none.
        each_object: whether the regions of greatest overlap with an object answer for it, however
            little that is.
    """
    high, low = ious
    numbers = (~ignored & ((objects[:, 2:] - objects[:, :2]).amin(dim=1) > 0)).nonzero()[:, 0]
    owner = torch.full_like(regions[:, 0], BACKGROUND, dtype=torch.int64)
    if len(numbers):
        overlap = box_iou(objects[numbers], regions)  # (m, A)
        best, match = overlap.max(dim=0)
        owner = torch.where(best >= low, UNTRAINED, owner)
        owner = torch.where(best >= high, numbers[match], owner)
        if each_object:
            nearest = (overlap == overlap.amax(dim=1, keepdim=True)).any(dim=0)
            owner = torch.where(nearest, numbers[match], owner)
    is_untrained = ~(regions[:, 2:] > regions[:, :2]).all(dim=1)
    if bool(ignored.any()):
        covered = (box_iou(objects[ignored], regions) > 0).any(dim=0)
        is_untrained |= covered & (owner == BACKGROUND)
    return torch.where(is_untrained, UNTRAINED, owner)


def sample_regions(owner: Tensor, count: int, share: float) -> Tensor:
    """Indices of up to `count` random regions: those that answer for an object, up to a share of
    them, then backgrounds. Draws from torch's global generator."""
    positive = (owner >= 0).nonzero()[:, 0]
    negative = (owner == BACKGROUND).nonzero()[:, 0]
    positive = positive[torch.randperm(len(positive), device=owner.device)[: int(count * share)]]
    order = torch.randperm(len(negative), device=owner.device)
    return torch.cat([positive, negative[order[: count - len(positive)]]])


class RegionCriterion(Criterion):
    """Softmax over classes and background, and smooth L1 of the own class's offsets, of a random
    sample of each photo's regions and objects. A photo's loss is the mean over its sample.

    Args:
        classify: outputs and regions (N, S, 4) -> logits (N, S, K + 1), offsets (N, S, K + 1, 4).
        sample: regions of one photo, and the greatest share of objects.
    """

    def __init__(
        self, classify: ClassifyRegions, *, sample: tuple[int, float] = REGION_SAMPLE
    ) -> None:
        super().__init__()
        self.classify = classify
        self.sample = sample

    def forward(self, outputs: Outputs, y: Targets) -> dict[str, Tensor]:
        chosen, codes, goals = [], [], []
        for regions, objects, labels, ignored in zip(
            outputs["regions"], *_as_lists(y), strict=True
        ):
            candidates = torch.cat([regions, objects])
            owner = match_regions(candidates, objects, ignored, REGION_IOUS, each_object=False)
            rows = sample_regions(owner, *self.sample)
            owner, boxes = owner[rows], candidates[rows]
            is_object = owner >= 0
            code = torch.where(owner == BACKGROUND, 0, owner)
            code[is_object] = labels[owner[is_object]] + 1
            goals.append(encode_offsets(objects[owner[is_object]], boxes[is_object]))
            padding = self.sample[0] - len(rows)
            chosen.append(F.pad(boxes, (0, 0, 0, padding)))
            codes.append(F.pad(code, (0, padding), value=UNTRAINED))
        logits, offsets = self.classify(outputs, torch.stack(chosen))
        logits, offsets = logits.float(), offsets.float()
        score, box = logits.sum() * 0.0, offsets.sum() * 0.0
        for row, (code, goal) in enumerate(zip(codes, goals, strict=True)):
            count = max(1, int((code != UNTRAINED).sum()))
            entropy = F.cross_entropy(logits[row], code, reduction="sum", ignore_index=UNTRAINED)
            score = score + entropy / count
            positive = (code > 0).nonzero()[:, 0]
            box = box + _sum_smooth_l1(offsets[row, positive, code[positive]], goal) / count
        return {"score": score, "box": box}

    def weight(self, y: Targets) -> Tensor:
        """Photos."""
        return torch.tensor(float(len(y["boxes"])), device=y["boxes"][0].device)


class ProposalCriterion(RegionCriterion):
    """The losses of regions, and those of the anchors that they come from: binary cross-entropy of
    objectness, and smooth L1 of offsets.

    Args:
        anchor_sample: anchors of one photo, and the greatest share of objects.
    """

    def __init__(
        self,
        classify: ClassifyRegions,
        *,
        sample: tuple[int, float] = REGION_SAMPLE,
        anchor_sample: tuple[int, float] = ANCHOR_SAMPLE,
    ) -> None:
        super().__init__(classify, sample=sample)
        self.anchor_sample = anchor_sample

    def forward(self, outputs: Outputs, y: Targets) -> dict[str, Tensor]:
        objectness, offsets = outputs["objectness"].float(), outputs["offsets"].float()
        anchors = outputs["anchors"]
        score, box = objectness.sum() * 0.0, offsets.sum() * 0.0
        for row, (objects, _, ignored) in enumerate(zip(*_as_lists(y), strict=True)):
            owner = match_regions(anchors, objects, ignored, ANCHOR_IOUS, each_object=True)
            rows = sample_regions(owner, *self.anchor_sample)
            goal = (owner[rows] >= 0).float()
            positive = rows[owner[rows] >= 0]
            score = score + F.binary_cross_entropy_with_logits(
                objectness[row, rows], goal, reduction="sum"
            ) / max(len(rows), 1)
            moves = encode_offsets(objects[owner[positive]], anchors[positive], PROPOSAL_WEIGHTS)
            box = box + _sum_smooth_l1(offsets[row, positive], moves) / max(len(rows), 1)
        return super().forward(outputs, y) | {"proposal_score": score, "proposal_box": box}


def _sum_smooth_l1(values: Tensor, goal: Tensor) -> Tensor:
    return F.smooth_l1_loss(values, goal, beta=_BETA, reduction="sum")


def _as_lists(y: Targets) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Objects (m, 4), classes (m,) and whether they are ignored (m,), of each photo."""
    boxes = [value.as_subclass(Tensor).float() for value in y["boxes"]]
    return boxes, list(y["labels"]), list(y["ignored"])
