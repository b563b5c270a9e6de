"""MixUp and CutMix against torchvision's transforms.v2, and their sums."""

from __future__ import annotations

import random

import pytest
import torch
from torchvision.transforms import v2

from skipstone.core.errors import UsageError
from skipstone.core.registry import BACKBONES
from skipstone.data.samples import Batch, collate_samples
from skipstone.datasets.augmentation import make_mixing
from skipstone.datasets.mixing import (
    ImageMixing,
    cutmix_images,
    mixup_images,
)
from skipstone.image.augment_factory import make_image_mixing
from skipstone.image.augment_options import ImageAugmentOptions
from skipstone.models.heads.base import LinearHead
from skipstone.models.heads.options import LinearOptions
from skipstone.models.losses import CrossEntropy, LogitsCriterion
from skipstone.models.network import MIXED, MIXED_WORDS, Network
from skipstone.models.text_backbone_options import TextCnnOptions
from skipstone.models.text_cnn import TextCnn
from skipstone.text.augment import make_text_mixing
from skipstone.text.input import TextPreprocessing
from skipstone.text.text_augment_options import TextAugmentOptions
from skipstone.training.objective import Objective
from tests.auditing.picture_rows import FakeTask, UnmixableTask, make_sample


def _objective(network: Network) -> Objective:
    return Objective(network, LogitsCriterion(CrossEntropy(), "label"))


def batch_of(count: int, side: int = 20) -> Batch:
    return collate_samples([make_sample(side, number=number) for number in range(count)])


def test_mixup_equals_v2() -> None:
    batch = batch_of(5)
    reference = v2.MixUp(num_classes=3)
    params = {"lam": 0.3, "labels": batch.y["label"], "batch_size": 5}
    images = batch.x["image"].permute(0, 3, 1, 2).float()
    theirs = reference.transform(images, params).permute(0, 2, 3, 1)
    torch.testing.assert_close(mixup_images(batch.x["image"], 0.3), theirs)


def test_cutmix_equals_v2_with_the_same_box() -> None:
    batch = batch_of(5)
    rng = random.Random(4)
    mixed, share = cutmix_images(batch.x["image"], 0.6, rng)
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
    mix = make_image_mixing(ImageAugmentOptions(augment="none", **{name: 1.0}), task)  # type: ignore[arg-type]
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
    mix = ImageMixing(FakeTask(), mixup=0.2, cutmix=1.0)  # type: ignore[arg-type]
    batch = batch_of(4)
    first = mix(batch, seed=1, epoch=2, step=3)
    state = torch.get_rng_state()
    again = mix(batch, seed=1, epoch=2, step=3)
    assert torch.equal(first.x["image"], again.x["image"])
    assert torch.equal(torch.get_rng_state(), state)
    kinds = {mix(batch, seed=1, epoch=2, step=step).x["image"].dtype for step in range(20)}
    assert kinds == {torch.float32, torch.uint8}  # both take turns


def test_targets_that_cannot_be_mixed_are_refused() -> None:
    mix = ImageMixing(UnmixableTask(), mixup=0.2, cutmix=0)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'fake'"):
        mix(batch_of(2), seed=0, epoch=0, step=0)


def test_no_mixing_unless_asked() -> None:
    task = FakeTask()
    assert make_image_mixing(ImageAugmentOptions(), task) is None  # type: ignore[arg-type]
    assert make_image_mixing(ImageAugmentOptions(augment="strong"), task) is not None  # type: ignore[arg-type]
    strong = ImageAugmentOptions(augment="strong", mixup=0, cutmix=0)
    assert make_image_mixing(strong, task) is None  # type: ignore[arg-type]


def test_texts_are_mixed_by_their_features_and_targets() -> None:
    """The loss is that of features and targets blended by hand (senMixup, Guo 2019)."""
    torch.manual_seed(0)
    options = TextAugmentOptions(augment="mixup", mixup=0.7)
    mix = make_text_mixing(options, FakeTask())  # type: ignore[arg-type]
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
    head = LinearHead(LinearOptions(), channels=backbone.channels, strides=(1,), classes=3)
    network = Network(front=TextPreprocessing("tokens"), backbone=backbone, head=head).eval()
    found = _objective(network)(mixed.x, mixed.y, weight=torch.tensor(4.0))["loss"]

    (features,) = backbone(tokens)
    partner = [3, 0, 1, 2]
    logits = network.head((share * features + (1 - share) * features[partner],), ())["logits"]
    hot = torch.nn.functional.one_hot(batch.y["label"], 3).float()
    expected = torch.nn.functional.cross_entropy(logits, share * hot + (1 - share) * hot[partner])
    torch.testing.assert_close(found, expected)
    plain = _objective(network)(batch.x, batch.y, weight=torch.tensor(4.0))["loss"]
    assert abs(float((plain - found).detach())) > 1e-4


ROWS = (5, 2), (3, 4, 6, 9, 8), (7,), (2, 2, 9)
IN_ORDER = [e for e in BACKBONES if e.embedding is not None and "token embeddings" in e.provides]


@pytest.mark.parametrize("entry", IN_ORDER, ids=lambda entry: entry.name)
def test_texts_are_mixed_by_the_vectors_of_their_words(entry) -> None:
    """wordMixup (Guo 2019) by hand: each pair by itself, zeros behind the shorter text and nothing
    behind the longer, read as one text whose words are all there."""
    torch.manual_seed(0)
    mix = make_text_mixing(TextAugmentOptions(augment="word-mixup"), FakeTask())  # type: ignore[arg-type]
    assert mix is not None
    known = entry.options_type().__dataclass_fields__
    small = {k: v for k, v in {"embedding": 4, "hidden": 3, "maps": 3}.items() if k in known}
    backbone = entry.load()(entry.name, entry.make_options(small), in_channels=10)
    torch.nn.init.normal_(backbone.embedding.weight)
    with torch.no_grad():
        backbone.embedding.weight[0] = 0
    head = LinearHead(LinearOptions(), channels=backbone.channels, strides=(1,), classes=3)
    network = Network(front=TextPreprocessing("tokens"), backbone=backbone, head=head).eval()
    tokens = torch.zeros(len(ROWS), 7, dtype=torch.int32)  # two places more than the longest
    for row, words in zip(tokens, ROWS, strict=True):
        row[: len(words)] = torch.tensor(words)
    batch = Batch({"tokens": tokens}, {"label": torch.tensor([0, 2, 1, 2])}, [])
    mixed = mix(batch, seed=1, epoch=2, step=3)
    assert MIXED not in mixed.x
    share = float(mixed.x[MIXED_WORDS][0])
    assert 0 < share < 1

    by_hand = []
    for row, words in enumerate(ROWS):
        pair = words, ROWS[row - 1]
        vectors = [backbone.embedding.weight[list(one)] for one in pair]
        own, other = torch.nn.utils.rnn.pad_sequence(vectors, batch_first=True)
        blended = (share * own + (1 - share) * other)[None]
        by_hand.append(
            backbone.encode_vectors(blended, torch.ones(blended.shape[:2], dtype=torch.bool))[0]
        )
    features = torch.cat(by_hand)
    torch.testing.assert_close(network.features(mixed.x)[0], features, rtol=1e-5, atol=1e-6)
    hot = torch.nn.functional.one_hot(batch.y["label"], 3).float()
    expected = torch.nn.functional.cross_entropy(
        network.head((features,), ())["logits"], share * hot + (1 - share) * hot.roll(1, 0)
    )
    found = _objective(network)(mixed.x, mixed.y, weight=torch.tensor(4.0))["loss"]
    torch.testing.assert_close(found, expected)


def test_texts_are_mixed_in_one_way_or_the_other() -> None:
    both = TextAugmentOptions(augment="mixup,word-mixup")
    mix = make_text_mixing(both, FakeTask())  # type: ignore[arg-type]
    assert mix is not None
    batch = Batch(
        {"tokens": torch.ones(2, 3, dtype=torch.int32)}, {"label": torch.zeros(2).long()}, []
    )
    drawn = [mix(batch, seed=1, epoch=0, step=step) for step in range(40)]
    ways = [[name for name in (MIXED, MIXED_WORDS) if name in found.x] for found in drawn]
    assert {tuple(way) for way in ways} == {(MIXED,), (MIXED_WORDS,)}
    again = mix(batch, seed=1, epoch=0, step=7).x
    assert all(torch.equal(value, drawn[7].x[name]) for name, value in again.items())


def test_words_are_mixed_only_where_they_are_read_in_order() -> None:
    options = TextAugmentOptions(word_mixup=0.3)
    for name in ("fasttext", "logistic"):
        with pytest.raises(
            UsageError, match=f"--word-mixup needs token embeddings, .*{name}"
        ) as no:
            make_mixing(options, FakeTask(), BACKBONES[name])  # type: ignore[arg-type]
        assert "textcnn or rnn or lstm or gru" in str(no.value.hint)
    for name in ("gru", "hf/bert"):
        assert make_mixing(options, FakeTask(), BACKBONES[name]) is not None  # type: ignore[arg-type]
    plain = TextAugmentOptions(mixup=0.3)
    assert make_mixing(plain, FakeTask(), BACKBONES["fasttext"]) is not None  # type: ignore[arg-type]


def test_texts_whose_targets_cannot_be_mixed() -> None:
    options = TextAugmentOptions(augment="mixup")
    mix = make_text_mixing(options, UnmixableTask())  # type: ignore[arg-type]
    assert mix is not None
    batch = Batch({"tokens": torch.ones(2, 3, dtype=torch.int32)}, {"label": torch.zeros(2)}, [])
    with pytest.raises(UsageError, match="mix targets"):
        mix(batch, seed=0, epoch=0, step=0)
    assert make_text_mixing(TextAugmentOptions(augment="light"), FakeTask()) is None  # type: ignore[arg-type]
