"""Decoders equal torchvision's and segmentation_models_pytorch's with the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import vgg16_bn
from torchvision.models.segmentation import deeplabv3_resnet50, fcn_resnet50
from torchvision.models.segmentation.lraspp import LRASPPHead

from skipstone.core.registry import BACKBONES, HEADS
from skipstone.models.backbone import Backbone
from skipstone.models.heads.base import Head
from skipstone.models.heads.segnet import max_unpool
from skipstone.models.network import Network

CLASSES = 7


def make_backbone(name: str, **options: Any) -> Backbone:
    entry = BACKBONES[name]
    made: Backbone = entry.load()(name, entry.make_options(options), in_channels=3)
    return made


def make_head(name: str, backbone: Any, **options: Any) -> Head:
    entry = HEADS[name]
    made: Head = entry.load()(
        entry.make_options(options),
        channels=backbone.channels,
        strides=backbone.strides,
        classes=CLASSES,
    )
    return made


class Plain(nn.Module):
    """A front that leaves pictures as they are."""

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return x["image"]


def fresh(module: nn.Module) -> Mapping[str, Tensor]:
    """The state with running statistics and scales that a test would notice."""
    generator = torch.Generator().manual_seed(3)
    for name, tensor in module.state_dict().items():
        if name.endswith(("running_mean", "running_var")) or tensor.ndim == 1:
            tensor.add_(0.3 * torch.rand(tensor.shape, generator=generator))
    return module.state_dict()


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("name", "make"), [("fcn", fcn_resnet50), ("deeplabv3", deeplabv3_resnet50)]
)
def test_torchvisions_network(name: str, make: Any) -> None:
    theirs = make(weights=None, weights_backbone=None, aux_loss=False, num_classes=CLASSES).eval()
    state = {
        key if key.startswith("backbone.") else f"head.{key}": value
        for key, value in fresh(theirs).items()
    }
    backbone = make_backbone("resnet50", output_stride=8)
    ours = Network(front=Plain(), backbone=backbone, head=make_head(name, backbone)).eval()
    ours.load_state_dict(state, strict=True)
    assert parameters(ours) == parameters(theirs)
    x = torch.randn(1, 3, 65, 90)
    with torch.no_grad():
        expected = theirs(x)["out"]
        torch.testing.assert_close(ours({"image": x})["logits"], expected, rtol=1e-5, atol=1e-5)


def test_torchvisions_lraspp() -> None:
    class Two:
        channels, strides = (40, 96), (8, 16)

    theirs = LRASPPHead(40, 96, CLASSES, 128).eval()
    ours = make_head("lraspp", Two).eval()
    ours.load_state_dict(fresh(theirs), strict=True)
    low, high = torch.randn(1, 40, 9, 13), torch.randn(1, 96, 5, 7)
    with torch.no_grad():
        expected = theirs({"low": low, "high": high})
        torch.testing.assert_close(ours.decode((low, high)), expected)


@pytest.mark.parametrize(
    ("name", "make", "backbone", "options"),
    [
        ("unet", smp.Unet, {}, {}),
        (
            "deeplabv3plus",
            smp.DeepLabV3Plus,
            {"output_stride": 16},
            {"atrous_rates": (12, 24, 36)},  # theirs at any stride
        ),
    ],
)
def test_segmentation_models_pytorchs_network(
    name: str, make: Any, backbone: dict[str, Any], options: dict[str, Any]
) -> None:
    theirs = make("tu-resnet18", encoder_weights=None, classes=CLASSES).eval()
    state = fresh(theirs)
    ours_below = make_backbone("timm/resnet18", **backbone)
    head = make_head(name, ours_below, **options)
    ours = Network(front=Plain(), backbone=ours_below, head=head).eval()
    encoder = "encoder.model."
    ours_below.published_module().load_state_dict(
        {key.removeprefix(encoder): value for key, value in state.items() if encoder in key},
        strict=True,
    )
    decoder = [value for key, value in state.items() if encoder not in key]  # in the same order
    head.load_state_dict(dict(zip(head.state_dict(), decoder, strict=True)), strict=True)
    assert parameters(ours) == parameters(theirs)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = theirs(x)
        torch.testing.assert_close(ours({"image": x})["logits"], expected, rtol=1e-5, atol=1e-5)


def test_segnets_encoder_is_torchvisions_vgg() -> None:
    theirs, ours = vgg16_bn(weights=None).eval(), make_backbone("vgg16_bn", last_map="stage").eval()
    ours.load_state_dict({f"features.{k}": v for k, v in fresh(theirs.features).items()})
    x = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x)[-1], theirs.features(x))


@pytest.mark.parametrize("size", [(8, 12), (7, 5), (1, 1)])
def test_unpooling_equals_torchs_with_its_indices(size: tuple[int, int]) -> None:
    before = torch.randn(2, 3, *size).relu()  # many windows tie at zero
    before[0, 0] = before[0, 0].round()
    pooled, indices = F.max_pool2d(before, 2, ceil_mode=True, return_indices=True)
    x = torch.randn_like(pooled).requires_grad_()
    expected = F.max_unpool2d(x, indices, 2, output_size=size)
    ours = max_unpool(x, before)
    assert torch.equal(ours, expected)
    weight = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad((ours * weight).sum(), x)
    (theirs,) = torch.autograd.grad((expected * weight).sum(), x)
    assert torch.equal(gradient, theirs)


def test_segnet_puts_values_where_its_encoders_pooling_found_them() -> None:
    """The whole net equals one whose poolings hand their indices to torch's unpooling."""
    backbone = make_backbone("vgg16_bn", width=0.25, last_map="stage").eval()
    head = make_head("segnet", backbone).eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        ours = head.decode(backbone(x))
        kept = []
        for layer in backbone.get_submodule("features").children():
            if isinstance(layer, nn.MaxPool2d):
                size = x.shape[-2:]
                x, indices = F.max_pool2d(x, 2, return_indices=True)
                kept.append((indices, size))
            else:
                x = layer(x)
        for stage, (indices, size) in zip(
            head.get_submodule("stages").children(), reversed(kept), strict=True
        ):
            x = stage(F.max_unpool2d(x, indices, 2, output_size=list(size)))
    torch.testing.assert_close(ours, x)


def test_segnets_decoder_mirrors_its_encoder() -> None:
    backbone = make_backbone("vgg16_bn", last_map="stage")
    kernels = [m.weight.shape for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    head = make_head("segnet", backbone)
    mirrored = [m.weight.shape for m in head.modules() if isinstance(m, nn.Conv2d)]
    expected = [torch.Size((i, o, *k)) for o, i, *k in reversed(kernels)]
    assert mirrored == [*expected[:-1], torch.Size((CLASSES, 64, 3, 3))]


def test_fcn_starts_as_its_coarsest_and_adds_finer_scores() -> None:
    backbone = make_backbone("resnet18", width=0.25)
    head = make_head("fcn", backbone, fcn_stride=8).eval()
    features = backbone(torch.randn(1, 3, 96, 64))
    state = head.state_dict()
    coarse = make_head("fcn", backbone, fcn_stride=32).eval()
    coarse.load_state_dict({k: v for k, v in state.items() if k.startswith("classifier")})

    def double(score: Tensor) -> Tensor:
        return F.interpolate(score, scale_factor=2, mode="bilinear", align_corners=False)

    deepest = coarse.decode(features)
    torch.testing.assert_close(head.decode(features), double(double(deepest)))
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if name.startswith("scores."):
                parameter.normal_()
    score_16, score_8 = head.get_submodule("scores.0"), head.get_submodule("scores.1")
    expected = double(double(deepest) + score_16(features[3])) + score_8(features[2])
    torch.testing.assert_close(head.decode(features), expected)


@pytest.mark.parametrize(("stride", "skips"), [(8, (3, 2)), (16, (3,)), (32, ())])
def test_fcn_is_its_formula(stride: int, skips: tuple[int, ...]) -> None:
    """Long et al. 2015, figure 3: each skip's scores are added to the coarser ones, enlarged."""

    class Five:
        channels, strides = (8, 8, 8, 12, 16), (2, 4, 8, 16, 32)

    head: Any = make_head("fcn", Five, fcn_stride=stride).eval()
    for score in head.scores:
        nn.init.normal_(score.weight)
    pairs = zip(Five.channels, Five.strides, strict=True)
    maps = tuple(torch.randn(1, c, -(-75 // s), -(-90 // s)) for c, s in pairs)
    with torch.no_grad():
        expected = head.classifier(maps[-1])
        for index, score in zip(skips, head.scores, strict=True):
            size = maps[index].shape[-2:]
            expected = F.interpolate(expected, size, mode="bilinear")
            expected = expected + F.conv2d(maps[index], score.weight, score.bias)
        found = head.decode(maps)
    assert found.shape[-2:] == (-(-75 // stride), -(-90 // stride))
    torch.testing.assert_close(found, expected)
