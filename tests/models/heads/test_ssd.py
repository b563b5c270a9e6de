"""SSD against torchvision's, with its weights."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD

from skipstone.bundle.architecture import Arch
from skipstone.core.errors import UsageError
from skipstone.core.settings import Settings
from skipstone.models.box_offsets import decode_offsets, encode_offsets
from skipstone.models.build import build_network
from skipstone.models.heads.options import SsdOptions
from skipstone.models.heads.ssd import (
    LAST_SCALE,
    SCALES,
    SsdHead,
    cluster_sides,
    default_shapes,
    fit_default_shapes,
)
from skipstone.models.losses import Targets
from skipstone.training.plan import build_plan
from tests.box_data import make_scenes, write_voc

CHANNELS, STRIDES, SIZE = (8, 12, 16), (4, 8, 16), (96, 96)
RATIOS = (2.0, 3.0)


class Maps(nn.Module):
    """A backbone for torchvision that gives stored maps."""

    def __init__(self, maps: list[Tensor]) -> None:
        super().__init__()
        self.maps = maps
        self.out_channels = [value.shape[1] for value in maps]

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        return OrderedDict((str(level), value) for level, value in enumerate(self.maps))


def make_pair(classes: int = 3) -> tuple[SsdHead, SSD, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    head = SsdHead(
        SsdOptions(ssd_maps=4, ssd_ratios=RATIOS),
        channels=CHANNELS,
        strides=STRIDES,
        classes=classes,
    ).eval()
    features = tuple(
        torch.randn(2, width, SIZE[0] // stride, SIZE[1] // stride)
        for width, stride in zip(CHANNELS, STRIDES, strict=True)
    )
    maps = [features[index] for index in head.used]
    with torch.no_grad():
        for layer in head.extra:
            maps.append(layer(maps[-1]))
    low, high = SCALES
    scales = [low + (high - low) * level / (len(maps) - 1) for level in range(len(maps))]
    generator = DefaultBoxGenerator([list(RATIOS)] * len(maps), scales=[*scales, LAST_SCALE])
    other = SSD(Maps(maps), generator, SIZE, classes + 1).eval()
    own = head.state_dict()
    other.head.load_state_dict({name: own[name] for name in other.head.state_dict()})
    return head, other, features


def test_default_boxes_and_outputs_equal_torchvisions() -> None:
    head, other, features = make_pair()
    raw = head.training_outputs(features, SIZE)
    maps = list(other.backbone(torch.zeros(1)).values())
    images = ImageList(torch.zeros(2, 3, *SIZE), [SIZE] * 2)
    anchors = other.anchor_generator(images, maps)[0]
    torch.testing.assert_close(raw["anchors"], anchors)
    theirs = other.head(maps)
    torch.testing.assert_close(raw["logits"], theirs["cls_logits"])
    torch.testing.assert_close(raw["offsets"], theirs["bbox_regression"])
    outputs = head(features, SIZE)
    decoded = other.box_coder.decode_single(theirs["bbox_regression"][0], anchors)
    torch.testing.assert_close(outputs["boxes"][0], decoded.clamp(0, SIZE[0]))
    scores = theirs["cls_logits"].softmax(dim=-1)[..., 1:]
    torch.testing.assert_close(outputs["scores"], scores)


def test_losses_equal_torchvisions() -> None:
    head, other, features = make_pair()
    boxes = [
        torch.tensor([[5.0, 5.0, 40.0, 50.0], [50.0, 20.0, 90.0, 90.0]]),
        torch.tensor([[10.0, 60.0, 30.0, 70.0]]),
    ]
    labels = [torch.tensor([0, 2]), torch.tensor([1])]
    y: Targets = {
        "boxes": boxes,
        "labels": labels,
        "ignored": [torch.zeros(len(each), dtype=torch.bool) for each in labels],
    }
    raw = head.training_outputs(features, SIZE)
    losses = head.criterion()(raw, y)
    other.train()
    targets = [
        {"boxes": box, "labels": label + 1} for box, label in zip(boxes, labels, strict=True)
    ]
    pictures = [torch.zeros(3, *SIZE)] * 2
    theirs = other(pictures, targets)
    matched = [
        int((other.proposal_matcher(_overlap(box, raw["anchors"])) >= 0).sum()) for box in boxes
    ]
    total = sum(matched)
    torch.testing.assert_close(losses["box"] / total, theirs["bbox_regression"])
    torch.testing.assert_close(losses["score"] / total, theirs["classification"])


def test_offsets_are_inverse() -> None:
    anchors = torch.rand(50, 2) * 50
    anchors = torch.cat([anchors, anchors + 1 + torch.rand(50, 2) * 30], dim=1)
    boxes = anchors.flip(0)
    torch.testing.assert_close(decode_offsets(encode_offsets(boxes, anchors), anchors), boxes)


@pytest.mark.parametrize("ignored", [False, True])
def test_photos_without_objects_and_ignored_ones(ignored: bool) -> None:
    head, _, features = make_pair()
    one = torch.tensor([[5.0, 5.0, 40.0, 50.0]]) if ignored else torch.zeros(0, 4)
    y: Targets = {
        "boxes": [one, one],
        "labels": [torch.zeros(len(one), dtype=torch.int64)] * 2,
        "ignored": [torch.ones(len(one), dtype=torch.bool)] * 2,
    }
    criterion = head.criterion()
    losses = criterion(head.training_outputs(features, SIZE), y)
    assert losses["score"] == losses["box"] == 0
    assert criterion.weight(y) > 0


def test_default_boxes_are_clusters_of_the_training_boxes() -> None:
    """Six shapes and noise; a map without boxes keeps its shapes."""
    rng = np.random.default_rng(0)
    true = np.array([[0.05, 0.08], [0.12, 0.1], [0.1, 0.2], [0.2, 0.18], [0.16, 0.3], [0.3, 0.24]])
    sides = true[rng.integers(0, 6, 300)] * rng.uniform(0.98, 1.02, (300, 2))
    options = SsdOptions(ssd_maps=4, ssd_ratios=RATIOS)
    fitted = fit_default_shapes(options, sides)
    assert fitted == fit_default_shapes(options, sides)
    assert fitted == json.loads(json.dumps(fitted))
    usual = default_shapes(4, RATIOS)
    assert [len(level) for level in fitted["shapes"]] == [len(level) for level in usual]
    np.testing.assert_allclose(fitted["shapes"][3], usual[3])
    assert _mean_iou(sides, fitted["shapes"]) > 0.95 > _mean_iou(sides, usual)
    head = SsdHead(options, channels=CHANNELS, strides=STRIDES, classes=2, **fitted)
    raw = head.training_outputs(make_pair(2)[2], SIZE)
    first = raw["anchors"][0]
    assert ((first[2:] - first[:2]) / SIZE[0]).tolist() == pytest.approx(fitted["shapes"][0][0])


def test_a_plan_stores_the_clusters_and_a_network_is_built_with_them(tmp_path: Path) -> None:
    """Objects have sides of 1/4 to 1/2 of the picture."""
    write_voc(tmp_path, make_scenes(40))
    settings = Settings({"head": "ssd", "size": 32, "ssd_maps": 2, "dedup": "exact"})
    plan = build_plan(tmp_path, model="resnet20", weights="none", seed=0, settings=settings)
    arch = Arch.from_json(json.loads(json.dumps(plan.arch.to_json())))
    shapes = arch.head.args["shape"]["shapes"]
    assert shapes[0] != [list(shape) for shape in default_shapes(2, (2.0, 3.0))[0]]
    assert all(0.2 < side < 0.55 for shape in shapes[0] for side in shape)
    head: Any = build_network(arch, plan.input).head
    assert head.shapes == [[tuple(shape) for shape in level] for level in shapes]


def test_clusters_are_a_fixed_point_of_k_means() -> None:
    """Each centre is the mean of the boxes that overlap it most."""
    sides = np.random.default_rng(1).uniform(0.02, 0.6, (200, 2))
    centres = cluster_sides(sides, 5)
    overlaps = [[_iou(side, centre) for centre in centres.tolist()] for side in sides.tolist()]
    for k, centre in enumerate(centres):
        members = sides[np.argmax(overlaps, axis=1) == k]
        np.testing.assert_allclose(members.mean(axis=0), centre)


@pytest.mark.parametrize("shapes", [[], [[[0.1, 0.1]]] * 4, [[[2.0, 0.1]] * 6] * 4, "no", [[1.0]]])
def test_shapes_that_do_not_fit_are_refused(shapes: Any) -> None:
    options = SsdOptions(ssd_maps=4, ssd_ratios=RATIOS)
    with pytest.raises(UsageError, match=r"default boxes .* do not fit"):
        SsdHead(options, channels=CHANNELS, strides=STRIDES, classes=2, shapes=shapes)


def _iou(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    common = min(one[0], other[0]) * min(one[1], other[1])
    return common / (one[0] * one[1] + other[0] * other[1] - common)


def _mean_iou(sides: np.ndarray, shapes: Sequence[Sequence[Sequence[float]]]) -> float:
    every = [tuple(shape) for level in shapes for shape in level]
    return float(np.mean([max(_iou(side, shape) for shape in every) for side in sides.tolist()]))


def _overlap(boxes: Tensor, anchors: Tensor) -> Tensor:
    from torchvision.ops import box_iou

    overlap: Tensor = box_iou(boxes, anchors)
    return overlap
