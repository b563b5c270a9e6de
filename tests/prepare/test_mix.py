"""MixUp and CutMix against torchvision's transforms.v2, and their sums."""

from __future__ import annotations

import random

import pytest
import torch
from torchvision.transforms import v2

from skipstone.data.samples import Batch, collate
from skipstone.errors import UsageError
from skipstone.inputs.text import TextFront
from skipstone.models.heads.linear import LinearHead
from skipstone.models.heads.options import LinearOptions
from skipstone.models.network import MIXED, Network
from skipstone.models.text_cnn import TextCnn
from skipstone.models.text_options import TextCnnOptions
from skipstone.prepare.augment_options import AugmentOptions
from skipstone.prepare.mix import Mix, cut_mix, make_feature_mix, make_mix, mix_up
from skipstone.prepare.text_augment_options import TextAugmentOptions
from skipstone.train.objective import Objective
from tests.prepare.picture_rows import FakeTask, UnmixableTask, make_sample


def batch_of(count: int, side: int = 20) -> Batch:
    return collate([make_sample(side, number=number) for number in range(count)])


def test_mixup_equals_v2() -> None:
    batch = batch_of(5)
    reference = v2.MixUp(num_classes=3)
    params = {"lam": 0.3, "labels": batch.y["label"], "batch_size": 5}
    images = batch.x["image"].permute(0, 3, 1, 2).float()
    theirs = reference.transform(images, params).permute(0, 2, 3, 1)
    torch.testing.assert_close(mix_up(batch.x["image"], 0.3), theirs)


def test_cutmix_equals_v2_with_the_same_box() -> None:
    batch = batch_of(5)
    rng = random.Random(4)
    mixed, share = cut_mix(batch.x["image"], 0.6, rng)
    changed = torch.where((mixed != batch.x["image"]).any(-1).any(0))
    box = (
        int(changed[1].min()),
        int(changed[0].min()),
        int(changed[1].max()) + 1,
        int(changed[0].max()) + 1,
    )
    params = {"box": box, "lam_adjusted": share, "labels": batch.y["label"], "batch_size": 5}
    images = batch.x["image"].permute(0, 3, 1, 2)
    theirs = v2.CutMix(num_classes=3).transform(images, params).permute(0, 2, 3, 1)
    assert torch.equal(mixed, theirs)
    assert mixed.dtype == torch.uint8
    area = (box[2] - box[0]) * (box[3] - box[1])
    assert share == pytest.approx(1 - area / 400)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_targets_are_the_shares_of_the_pictures(name: str) -> None:
    """Pictures of one flat colour each: what is left of it is the target's share."""
    task = FakeTask()
    batch = batch_of(3)
    for number in range(3):
        batch.x["image"][number] = 0
        batch.x["image"][number, ..., number] = 200
    mix = make_mix(AugmentOptions(augment="none", **{name: 1.0}), task)  # type: ignore[arg-type]
    assert mix is not None
    spread = set()
    for step in range(20):
        mixed = mix(batch, seed=0, epoch=0, step=step)
        target = mixed.y["label"]
        assert isinstance(target, torch.Tensor)
        assert target.dtype == torch.float32
        torch.testing.assert_close(target.sum(1), torch.ones(3))
        shares = mixed.x["image"].float().mean((1, 2)) / 200
        torch.testing.assert_close(shares, target, atol=1e-5, rtol=1e-5)
        spread.add(round(float(target[0, 0]), 3))
    assert len(spread) > 10
    assert batch.y["label"].tolist() == [0, 1, 2]  # type: ignore[union-attr]


def test_the_key_decides() -> None:
    mix = Mix(FakeTask(), mixup=0.2, cutmix=1.0)  # type: ignore[arg-type]
    batch = batch_of(4)
    first = mix(batch, seed=1, epoch=2, step=3)
    state = torch.get_rng_state()
    again = mix(batch, seed=1, epoch=2, step=3)
    assert torch.equal(first.x["image"], again.x["image"])
    assert torch.equal(torch.get_rng_state(), state)
    kinds = {mix(batch, seed=1, epoch=2, step=step).x["image"].dtype for step in range(20)}
    assert kinds == {torch.float32, torch.uint8}  # both take turns


def test_targets_that_cannot_be_mixed_are_refused() -> None:
    mix = Mix(UnmixableTask(), mixup=0.2, cutmix=0)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'fake'"):
        mix(batch_of(2), seed=0, epoch=0, step=0)


def test_no_mixing_unless_asked() -> None:
    task = FakeTask()
    assert make_mix(AugmentOptions(), task) is None  # type: ignore[arg-type]
    assert make_mix(AugmentOptions(augment="strong"), task) is not None  # type: ignore[arg-type]
    strong = AugmentOptions(augment="strong", mixup=0, cutmix=0)
    assert make_mix(strong, task) is None  # type: ignore[arg-type]


def test_texts_are_mixed_by_their_features_and_targets() -> None:
    """The loss is that of features and targets blended by hand (senMixup, Guo 2019)."""
    torch.manual_seed(0)
    options = TextAugmentOptions(augment="mixup", mixup=0.7)
    mix = make_feature_mix(options, FakeTask())  # type: ignore[arg-type]
    assert mix is not None
    tokens = torch.tensor([[5, 2, 0], [3, 4, 6], [7, 0, 0], [2, 2, 9]], dtype=torch.int32)
    batch = Batch({"tokens": tokens}, {"label": torch.tensor([0, 2, 1, 2])}, [])
    mixed = mix(batch, seed=1, epoch=2, step=3)
    again = mix(batch, seed=1, epoch=2, step=3)
    assert torch.equal(mixed.x[MIXED], again.x[MIXED])
    assert not torch.equal(mixed.x[MIXED], mix(batch, seed=1, epoch=2, step=4).x[MIXED])
    assert torch.equal(mixed.x["tokens"], tokens)
    share = float(mixed.x[MIXED][0])
    assert 0 < share < 1

    backbone = TextCnn(vocabulary=10, options=TextCnnOptions(embedding=4, maps=3))
    loss = {"name": "cross_entropy", "target": "label", "args": {}}
    head = LinearHead(
        LinearOptions(), channels=backbone.channels, strides=(1,), classes=3, loss=loss
    )
    network = Network(front=TextFront("tokens"), backbone=backbone, head=head).eval()
    found = Objective(network)(mixed.x, mixed.y, weight=torch.tensor(4.0))["loss"]

    (features,) = backbone(tokens)
    partner = [3, 0, 1, 2]
    logits = network.head((share * features + (1 - share) * features[partner],))["logits"]
    hot = torch.nn.functional.one_hot(batch.y["label"], 3).float()
    expected = torch.nn.functional.cross_entropy(logits, share * hot + (1 - share) * hot[partner])
    torch.testing.assert_close(found, expected)
    plain = Objective(network)(batch.x, batch.y, weight=torch.tensor(4.0))["loss"]
    assert abs(float((plain - found).detach())) > 1e-4


def test_texts_whose_targets_cannot_be_mixed() -> None:
    options = TextAugmentOptions(augment="mixup")
    mix = make_feature_mix(options, UnmixableTask())  # type: ignore[arg-type]
    assert mix is not None
    batch = Batch({"tokens": torch.ones(2, 3, dtype=torch.int32)}, {"label": torch.zeros(2)}, [])
    with pytest.raises(UsageError, match="mix targets"):
        mix(batch, seed=0, epoch=0, step=0)
    assert make_feature_mix(TextAugmentOptions(augment="light"), FakeTask()) is None  # type: ignore[arg-type]
