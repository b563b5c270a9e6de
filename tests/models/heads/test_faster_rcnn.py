"""Faster R-CNN against torchvision's, with its weights."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign, clip_boxes_to_image
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from skipstone.models.heads.faster_rcnn import FasterRcnnHead
from skipstone.models.heads.options import FasterRcnnOptions
from skipstone.models.losses import Targets
from skipstone.models.region_layers import suppress_boxes
from skipstone.models.region_losses import (
    BACKGROUND,
    UNTRAINED,
    ProposalCriterion,
    match_regions,
    sample_regions,
)

CHANNELS, STRIDES, SIZE = (8, 12, 16, 20), (4, 8, 16, 32), (256, 320)
WIDTH, CLASSES, REGIONS = 16, 3, 60


class Maps(nn.Module):
    """A backbone for torchvision that gives stored maps to a pyramid."""

    out_channels = WIDTH

    def __init__(self, features: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.features = features
        self.fpn = FeaturePyramidNetwork(list(CHANNELS), WIDTH, LastLevelMaxPool())

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        maps = OrderedDict((str(level), value) for level, value in enumerate(self.features))
        pyramid: OrderedDict[str, Tensor] = self.fpn(maps)
        return pyramid


def make_pair(batch: int = 2) -> tuple[FasterRcnnHead, FasterRCNN, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    options = FasterRcnnOptions(
        pyramid_channels=WIDTH,
        region_hidden=32,
        max_regions=REGIONS,
        finest_stride=4,
        anchor_scale=8.0,
    )
    head = FasterRcnnHead(options, channels=CHANNELS, strides=STRIDES, classes=CLASSES).eval()
    with torch.no_grad():
        for layer in (head.rpn.cls_logits, head.rpn.bbox_pred):
            layer.weight.mul_(10)  # distinct scores, and boxes that move
    features = tuple(
        torch.randn(batch, width, SIZE[0] // stride, SIZE[1] // stride)
        for width, stride in zip(CHANNELS, STRIDES, strict=True)
    )
    everything = 100_000
    other = FasterRCNN(
        Maps(features),
        rpn_anchor_generator=AnchorGenerator(
            tuple((8 * 2**level,) for level in range(2, 7)), ((0.5, 1.0, 2.0),) * 5
        ),
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2),
        box_head=TwoMLPHead(WIDTH * 49, 32),
        box_predictor=FastRCNNPredictor(32, CLASSES + 1),
        rpn_post_nms_top_n_train=REGIONS,
        rpn_post_nms_top_n_test=REGIONS,
        rpn_pre_nms_top_n_train=1000,
        rpn_batch_size_per_image=everything,
        box_batch_size_per_image=everything,
    ).eval()
    own = head.state_dict()
    names = {
        name: name.removeprefix("backbone.").replace("rpn.head.", "rpn.")
        for name in other.state_dict()
    }
    assert set(names.values()) == set(own)
    other.load_state_dict({name: own[mine] for name, mine in names.items()})
    return head, other, features


@torch.no_grad()
def test_proposals_and_outputs_equal_torchvisions() -> None:
    head, other, features = make_pair()
    raw = head.training_outputs(features, SIZE)
    maps = other.backbone(torch.zeros(1))
    images = ImageList(torch.zeros(2, 3, *SIZE), [SIZE] * 2)
    anchors = other.rpn.anchor_generator(images, list(maps.values()))[0]
    torch.testing.assert_close(raw["anchors"], anchors)
    objectness, _ = other.rpn.head(list(maps.values()))
    flat = [value.permute(0, 2, 3, 1).flatten(1) for value in objectness]
    torch.testing.assert_close(raw["objectness"], torch.cat(flat, dim=1))
    proposals, _ = other.rpn(images, maps)
    pooled = other.roi_heads.box_roi_pool(maps, proposals, [SIZE] * 2)
    logits, offsets = other.roi_heads.box_predictor(other.roi_heads.box_head(pooled))
    decoded = other.roi_heads.box_coder.decode(offsets, proposals)[:, 1:]
    decoded = clip_boxes_to_image(decoded, SIZE).reshape(2, REGIONS, CLASSES, 4)
    probability = logits.softmax(dim=1)[:, 1:].reshape(2, REGIONS, CLASSES)

    outputs = head(features, SIZE)
    assert outputs["boxes"].shape == (2, REGIONS * CLASSES, 4)
    boxes = outputs["boxes"].reshape(2, REGIONS, CLASSES, 4)
    scores = outputs["scores"].reshape(2, REGIONS, CLASSES, CLASSES)
    for row in range(2):
        difference = (proposals[row][:, None] - raw["regions"][row]).abs().amax(dim=2)
        order = difference.argmin(dim=1)  # theirs are by score
        assert sorted(order.tolist()) == list(range(REGIONS))
        assert float(difference.amin(dim=1).max()) < 1e-4
        torch.testing.assert_close(boxes[row, order], decoded[row], atol=1e-3, rtol=1e-5)
        own = scores[row, order].diagonal(dim1=1, dim2=2)
        torch.testing.assert_close(own, probability[row], atol=1e-4, rtol=0)
        torch.testing.assert_close(scores[row].sum(), own.sum())


def test_losses_equal_torchvisions() -> None:
    """With every anchor and region trained, so that no sample is drawn."""
    head, other, features = make_pair(batch=1)
    boxes = torch.tensor([[5.0, 5.0, 90, 100], [150, 20, 290, 240], [30, 200, 50, 215]])
    labels = torch.tensor([0, 2, 1])
    y: Targets = {"boxes": [boxes], "labels": [labels], "ignored": [_none(3)]}
    criterion = ProposalCriterion(
        head.classify_regions, sample=(1000, 0.5), anchor_sample=(100_000, 0.5)
    )
    losses = criterion(head.training_outputs(features, SIZE), y)
    assert criterion.weight(y) == 1
    other.train()
    maps = other.backbone(torch.zeros(1))
    images = ImageList(torch.zeros(1, 3, *SIZE), [SIZE])
    targets = [{"boxes": boxes, "labels": labels + 1}]
    regions, first = other.rpn(images, maps, targets)
    _, second = other.roi_heads(maps, regions, [SIZE], targets)
    assert second["loss_box_reg"] > 0
    torch.testing.assert_close(losses["proposal_score"], first["loss_objectness"])
    torch.testing.assert_close(losses["proposal_box"], first["loss_rpn_box_reg"])
    torch.testing.assert_close(losses["score"], second["loss_classifier"])
    torch.testing.assert_close(losses["box"], second["loss_box_reg"])


def test_fewer_regions_than_rows_leave_rows_of_zeros() -> None:
    """All anchors of a place propose the same box, so that one of them remains."""
    head, _, features = make_pair()
    head.max_regions = 2000
    raw = head.training_outputs(features, SIZE)
    area = (raw["regions"][..., 2:] - raw["regions"][..., :2]).prod(dim=-1)
    count = (area > 0).sum(dim=1)
    assert 0 < int(count.max()) < raw["regions"].shape[1]
    outputs = head(features, SIZE)
    for row in range(2):
        assert (area[row, : count[row]] > 0).all()
        assert not raw["regions"][row, count[row] :].any()
        assert not outputs["scores"][row, CLASSES * count[row] :].any()


def test_suppression_stays_within_a_photo() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9]], [[0, 0, 10, 10], [5, 5, 15, 15]]])
    assert suppress_boxes(boxes, 0.7).tolist() == [[1, 0], [1, 1]]


def test_regions_answer_for_objects() -> None:
    objects = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60], [100, 100, 120, 120]])
    ignored = torch.tensor([False, False, True])
    regions = torch.tensor(
        [
            [0.0, 0, 10, 8],  # IoU 0.8
            [0, 0, 10, 5],  # 0.5
            [0, 0, 10, 4],  # 0.4
            [30, 30, 40, 40],  # nothing
            [50, 50, 60, 52],  # 0.2, the nearest to its object
            [110, 110, 130, 130],  # on an ignored object
            [0, 0, 0, 0],  # padding
        ]
    )
    none, left = BACKGROUND, UNTRAINED
    owner = match_regions(regions, objects, ignored, (0.7, 0.45), each_object=True)
    assert owner.tolist() == [0, left, none, none, 1, left, left]
    owner = match_regions(regions, objects, ignored, (0.5, 0.5), each_object=False)
    assert owner.tolist() == [0, 0, none, none, none, left, left]
    nothing = match_regions(regions, objects[:0], ignored[:0], (0.5, 0.5), each_object=True)
    assert nothing.tolist() == [none] * 6 + [left]


def test_a_sample_holds_a_share_of_objects() -> None:
    owner = torch.tensor([0] * 20 + [BACKGROUND] * 50 + [UNTRAINED] * 30)
    rows = sample_regions(owner, 16, 0.25)
    assert len(set(rows.tolist())) == 16
    assert (owner[rows] == 0).sum() == 4
    assert (owner[rows] == BACKGROUND).sum() == 12
    assert len(sample_regions(owner, 1000, 0.5)) == 70


def test_photos_without_objects_train_backgrounds() -> None:
    head, _, features = make_pair()
    y: Targets = {
        "boxes": [torch.zeros(0, 4)] * 2,
        "labels": [torch.zeros(0, dtype=torch.int64)] * 2,
        "ignored": [_none(0)] * 2,
    }
    losses = ProposalCriterion(head.classify_regions)(head.training_outputs(features, SIZE), y)
    assert losses["box"] == losses["proposal_box"] == 0
    assert losses["score"] > 0
    assert losses["proposal_score"] > 0


def _none(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.bool)
