"""Fast R-CNN against torchvision's second stage, with its weights."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import MultiScaleRoIAlign, clip_boxes_to_image

from skipstone.models.heads.fast_rcnn import FastRcnnHead
from skipstone.models.heads.options import FastRcnnOptions
from skipstone.models.losses import Targets
from skipstone.models.region_losses import RegionCriterion

CHANNELS, STRIDES, SIZE = (8, 12, 16), (8, 16, 32), (128, 160)
CLASSES, REGIONS = 3, 20


def make_pair() -> tuple[FastRcnnHead, RoIHeads, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    options = FastRcnnOptions(region_channels=10, region_hidden=24)
    head = FastRcnnHead(options, channels=CHANNELS, strides=STRIDES, classes=CLASSES).eval()
    maps = [
        torch.randn(1, width, SIZE[0] // stride, SIZE[1] // stride)
        for width, stride in zip(CHANNELS, STRIDES, strict=True)
    ]
    corner = torch.rand(1, REGIONS, 2) * 80
    regions = torch.cat([corner, corner + 8 + torch.rand(1, REGIONS, 2) * 70], dim=2)
    limits = torch.tensor([SIZE[1], SIZE[0]] * 2)
    other = RoIHeads(
        MultiScaleRoIAlign(["map"], 7, 2),
        TwoMLPHead(10 * 49, 24),
        FastRCNNPredictor(24, CLASSES + 1),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=100_000,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=0.0,
        nms_thresh=0.5,
        detections_per_img=100,
    ).eval()
    other.load_state_dict(head.roi_heads.state_dict())
    return head, other, (*maps, torch.minimum(regions, limits))


@torch.no_grad()
def test_outputs_equal_torchvisions() -> None:
    head, other, features = make_pair()
    regions = features[-1][0]
    outputs = head(features, SIZE)
    maps = OrderedDict(map=head.lateral(features[1]))  # of stride 16
    pooled = other.box_roi_pool(maps, [regions], [SIZE])
    logits, offsets = other.box_predictor(other.box_head(pooled))
    boxes = clip_boxes_to_image(other.box_coder.decode(offsets, [regions])[:, 1:], SIZE)
    torch.testing.assert_close(outputs["boxes"][0], boxes.flatten(0, 1), atol=1e-4, rtol=1e-5)
    scores = outputs["scores"].reshape(REGIONS, CLASSES, CLASSES).diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(scores, logits.softmax(dim=1)[:, 1:])


def test_losses_equal_torchvisions() -> None:
    head, other, features = make_pair()
    objects, labels = features[-1][0, :2] + 3, torch.tensor([2, 0])
    y: Targets = {
        "boxes": [objects],
        "labels": [labels],
        "ignored": [torch.zeros(2, dtype=torch.bool)],
    }
    criterion = RegionCriterion(head.classify_regions, sample=(100, 0.25))
    losses = criterion(head.training_outputs(features, SIZE), y)
    other.train()
    targets = [{"boxes": objects, "labels": labels + 1}]
    maps = OrderedDict(map=head.lateral(features[1]))
    _, theirs = other(maps, [features[-1][0]], [SIZE], targets)
    assert losses["box"] > 0
    torch.testing.assert_close(losses["score"], theirs["loss_classifier"])
    torch.testing.assert_close(losses["box"], theirs["loss_box_reg"])
