"""Selective search, and its regions on their way to a network."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from skipstone.core.errors import MissingExtra, UsageError
from skipstone.core.registry import HEADS
from skipstone.data.samples import Sample, SampleMeta
from skipstone.image.augment import ImageAugmentation
from skipstone.image.input import ImageInput
from skipstone.image.options import ImageOptions
from skipstone.image.selective_search import Segment, group_segments, search_regions
from skipstone.inputs.base import DecodedSample, FeatureSpec
from skipstone.models.build import check_regions
from tests.box_data import make_scenes


def test_regions_enclose_objects() -> None:
    for scene in make_scenes(4, seed=2).values():
        found = torch.from_numpy(search_regions(scene.picture, 100))
        objects = torch.tensor([box for _, box in scene.objects], dtype=torch.float)
        assert box_iou(objects, found).amax(dim=1).min() > 0.8
        assert len(torch.unique(found, dim=0)) == len(found)
        assert torch.equal(found, torch.from_numpy(search_regions(scene.picture, 100)))


def test_the_most_similar_neighbours_are_joined_first() -> None:
    """Three strips: two of one colour, far apart from the third."""
    labels = np.repeat([0, 1, 2], 4)[None].repeat(3, axis=0)  # (3, 12)
    histograms = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    segments = {
        number: Segment(12, (4 * number, 0, 4 * number + 4, 3), histogram, histogram)
        for number, histogram in enumerate(histograms)
    }
    boxes = group_segments(labels, segments)
    assert boxes[3:] == [(0, 0, 8, 3), (0, 0, 12, 3)]


def test_the_input_pads_regions_and_finds_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    input = ImageInput(ImageOptions(size=64, channels=3, regions=200))
    (scene,) = make_scenes(1).values()
    raw = DecodedSample(scene.picture, (64, 64))
    regions = input.encode(raw)["regions"]
    count = len(search_regions(scene.picture, 200))
    assert regions.shape == input.make_example(1)["regions"].shape[1:] == (200, 4)
    assert (regions[:count, 2:] > regions[:count, :2]).all()
    assert not regions[count:].any()
    monkeypatch.setattr("skipstone.image.input.search_regions", None)
    assert np.array_equal(input.encode(raw)["regions"], regions)


def test_regions_move_with_the_image() -> None:
    (scene,) = make_scenes(1).values()
    image = torch.from_numpy(scene.picture)
    regions = torch.tensor([[4.0, 8.0, 20.0, 30.0], [0, 0, 0, 0]])
    augment = ImageAugmentation({"flip": 0.5})
    sample = Sample({"image": image, "regions": regions}, None, SampleMeta(0))
    for seed in range(8):
        moved = augment(sample, seed=seed, epoch=0).x
        is_mirrored = torch.equal(moved["image"], image.flip(1))
        expected = [44.0, 8.0, 60.0, 30.0] if is_mirrored else [4.0, 8.0, 20.0, 30.0]
        assert moved["regions"].tolist() == [expected, [0, 0, 0, 0]]


@pytest.mark.parametrize(("head", "regions"), [("fast-rcnn", 0), ("ssd", 50)])
def test_heads_and_inputs_agree_on_regions(head: str, regions: int) -> None:
    with pytest.raises(UsageError, match="regions") as caught:
        check_regions(HEADS[head], FeatureSpec("image", 3, regions=regions))
    assert "--" in (caught.value.hint or "")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("skimage"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtra, match="scikit-image"):
        search_regions(np.zeros((8, 8, 3), np.uint8), 5)
