"""The contract of decoders, for every head that answers for each pixel: tested by existing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import rel_entr
from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.core import events
from skipstone.core.errors import UsageError
from skipstone.core.registry import BACKBONES
from skipstone.core.specs import HeadSpec
from skipstone.image.input import ImageInput
from skipstone.image.options import ImageOptions
from skipstone.inference.backends.onnx_backend import OnnxRuntime
from skipstone.inference.backends.openvino_backend import OpenVinoRuntime
from skipstone.inference.export.onnx_export import onnx_bytes
from skipstone.inference.export.openvino_export import convert_onnx_to_ir
from skipstone.models.backbone import Backbone
from skipstone.models.build import build_network, choose_head, recommend_options
from skipstone.models.heads.catalog import ENTRIES
from skipstone.models.losses import DISTILLATION_TEMPERATURE, LogitsCriterion, PixelCrossEntropy
from skipstone.models.network import Network
from skipstone.training.objective import Objective

CLASSES = 4
IGNORE = 255
DENSE = [entry for entry in ENTRIES if entry.output_level == "pixel"]
#: Options that make a head or a backbone small, where it has them.
SMALL_HEAD = {
    "aspp_channels": 16,
    "lraspp_channels": 16,
    "decoder_channels": (24, 16, 16, 8, 8),
}
SMALL_BACKBONE = {"width": 0.25}
#: A plain residual network, the pretrained one, and one with squeeze-and-excite.
BACKBONE_NAMES = ("resnet18", "timm/efficientnet_lite0", "timm/mobilenetv3_small_050")


def make_criterion() -> LogitsCriterion:
    return LogitsCriterion(PixelCrossEntropy(ignore_index=IGNORE), "mask")


def known(entry: HeadSpec, options: dict[str, Any]) -> dict[str, Any]:
    kind = entry.options_type()
    assert kind is not None
    return {name: value for name, value in options.items() if name in kind.__dataclass_fields__}


def backbones_for(head: HeadSpec) -> list[str]:
    """Those that offer what the head needs, where it needs something; else the three."""
    needs = head.requires
    if not needs:
        return list(BACKBONE_NAMES)
    return [e.name for e in BACKBONES if set(needs) <= set(e.provides)]


PAIRS = [(head, name) for head in DENSE for name in backbones_for(head)]


def str_name(value: Any) -> str:
    return str(getattr(value, "name", value))


each_head = pytest.mark.parametrize("head", DENSE, ids=str_name)
each_pair = pytest.mark.parametrize(("head", "backbone"), PAIRS, ids=str_name)


def build(head: HeadSpec, backbone: str) -> Network:
    torch.manual_seed(0)
    entry = BACKBONES[backbone]
    options = asdict(recommend_options(entry, backbone, head, known(entry, SMALL_BACKBONE)))
    head_args = {
        "options": known(head, SMALL_HEAD),
        "shape": {"classes": CLASSES},
    }
    arch = Arch(
        ComponentConfig(backbone, {"options": options}), ComponentConfig(head.name, head_args)
    )
    return build_network(arch, ImageInput(ImageOptions(channels=3)))


class FewLayers(Backbone):
    """Five strided convolutions: all that an export of a head needs, in a fraction of the time."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.strides = (4, 6, 8, 10, 12), (2, 4, 8, 16, 32)
        before = (3, *self.channels)
        self.layers = nn.ModuleList(
            nn.Conv2d(before[i], before[i + 1], 3, stride=2, padding=1) for i in range(5)
        )

    def stage_modules(self) -> list[list[nn.Module]]:
        return [[layer] for layer in self.layers]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for layer in self.layers:
            x = layer(x).relu()
            maps.append(x)
        return tuple(maps)


class FewPools(Backbone):
    """A convolution and a pooling, three times: maps that tell where each maximum was."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.strides = (4, 6, 8, 8), (1, 2, 4, 8)
        before = (3, *self.channels)
        self.layers = nn.ModuleList(
            nn.Conv2d(before[i], before[i + 1], 3, padding=1) for i in range(3)
        )

    def stage_modules(self) -> list[list[nn.Module]]:
        return [[layer] for layer in self.layers]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for layer in self.layers:
            maps.append(layer(x).relu())
            x = nn.functional.max_pool2d(maps[-1], 2, ceil_mode=True)
        return (*maps, x)


def small(head: HeadSpec) -> Network:
    """The head on a few layers that offer what it needs."""
    torch.manual_seed(0)
    backbone = FewPools() if head.requires else FewLayers()
    decoder = head.load()(
        head.make_options(known(head, SMALL_HEAD)),
        channels=backbone.channels,
        strides=backbone.strides,
        classes=CLASSES,
    )
    front = ImageInput(ImageOptions(channels=3, normalize="half")).preprocessing_module()
    return Network(front=front, backbone=backbone, head=decoder)


def pictures(*size: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)


@each_pair
def test_trains_at_an_odd_size(head: HeadSpec, backbone: str) -> None:
    network = build(head, backbone).train()
    mask = torch.randint(0, CLASSES, (2, 61, 75))
    mask[:, :7] = IGNORE
    y = {"mask": mask}
    x = {"image": pictures(2, 61, 75, 3)}
    criterion = make_criterion()
    assert torch.equal(criterion.weight(y), (mask != IGNORE).sum().float())
    loss = Objective(network, criterion)(x, y, weight=criterion.weight(y))["loss"]
    assert 0.2 < float(loss.detach()) < 6  # about log(4) for fresh weights
    loss.backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None]
    assert idle == []


@each_head
def test_rows_of_classes_are_those_of_its_logits(head: HeadSpec) -> None:
    """In another order, the logits are: all that knows of classes is named, and nothing else."""
    network = small(head).eval()
    x, order = {"image": pictures(1, 64, 96, 3)}, torch.tensor([2, 0, 3, 1])
    names = network.head.class_parameter_names()
    assert names
    state = network.head.state_dict()
    for name in names:
        assert len(state[name]) == CLASSES
        torch.nn.init.normal_(state[name], std=0.1)
    with torch.no_grad():
        before = network(x)["logits"]
        for name in names:
            state[name].copy_(state[name][order].clone())
        after = network(x)["logits"]
    assert float(before.std(dim=1).mean()) > 1e-3
    torch.testing.assert_close(after, before[:, order])


@each_head
@pytest.mark.parametrize("seen", [(64, 96), (128, 160)])
def test_it_learns_from_another_ones_answers(head: HeadSpec, seen: tuple[int, int]) -> None:
    """Each counted pixel's divergence; what is ignored neither counts nor has a gradient. A teacher
    that sees larger pictures is asked at the pixels that there are."""
    student, teacher = small(head).eval(), small(head).eval()
    with torch.no_grad():
        for name in teacher.head.class_parameter_names():
            teacher.head.state_dict()[name].normal_()
    x = {"image": pictures(2, 64, 96, 3)}
    mask = torch.randint(0, CLASSES, (2, 64, 96))
    mask[:, :20] = IGNORE
    given = {"image": pictures(2, *seen, 3)}
    taught = teacher.training_outputs(teacher.features(given), (64, 96))
    taught = {"logits": taught["logits"].detach()}
    criterion, y = make_criterion(), {"mask": mask}
    found = criterion.distillation_loss(student(x), taught, y)["loss"]
    raw, corners = teacher.head.decode(teacher.features(given)), teacher.head.align_corners
    if raw.shape[-2:] != mask.shape[-2:]:
        raw = F.interpolate(raw, (64, 96), mode="bilinear", align_corners=corners)
    torch.testing.assert_close(taught["logits"], raw.detach())
    p, q = (
        torch.softmax(logits.double() / DISTILLATION_TEMPERATURE, 1).detach()
        for logits in (taught["logits"], student(x)["logits"])
    )
    each = rel_entr(p.numpy(), q.numpy()).sum(1) * DISTILLATION_TEMPERATURE**2
    expected = each[(mask != IGNORE).numpy()].sum()
    assert float(found.detach()) == pytest.approx(expected, rel=1e-3)
    found.backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in student.head.parameters())
    nothing = criterion.distillation_loss(student(x), student(x), y)["loss"]
    assert float(nothing.detach()) == pytest.approx(0, abs=1e-3)


@each_head
def test_exported_it_answers_the_same_at_other_sizes(head: HeadSpec) -> None:
    check_export(small(head), jumps=bool(head.discontinuous))


@pytest.mark.proof
@each_pair
def test_on_a_real_backbone_too(head: HeadSpec, backbone: str) -> None:
    jumps = bool(head.discontinuous)
    # what pools five times has nothing left of a side of 16: it is exported in whole strides
    check_export(build(head, backbone), jumps=jumps, pad=32 if jumps else 1)


#: By what pictures are padded to: the size that is traced, and two that are not.
SIZES = {1: ((61, 75), (64, 96), (83, 70)), 32: ((64, 96), (96, 64), (128, 96))}


def check_export(whole: Network, *, jumps: bool, pad: int = 1) -> None:
    """By the product's own way, with any batch, height and width; both runtimes, at sizes never
    traced."""
    network = settled(whole)
    traced, *others = SIZES[pad]
    axes = ImageInput(ImageOptions(channels=3, resize="keep", pad=pad)).dynamic_axes
    program = onnx_bytes(network, {"image": pictures(2, *traced, 3)}, {}, axes)
    runtimes = OnnxRuntime(program), OpenVinoRuntime(*convert_onnx_to_ir(program))
    for size in others:
        x = pictures(3 if jumps else 2, *size, 3)
        with torch.no_grad():
            ours = network({"image": x})["logits"]
        assert ours.shape == (len(x), CLASSES, *size)
        scale = float(ours.std(dim=(0, 2, 3)).min())
        assert scale > 0.01, "the same answer everywhere proves nothing"
        answers = [runtime.run({"image": x.numpy()})["logits"] for runtime in runtimes]
        same = [
            np.allclose(one, own, rtol=1e-4, atol=1e-3 * scale)
            for answered in answers
            for one, own in zip(answered, ours.numpy(), strict=True)
        ]
        # where two pixels of a window are equal but for the last bits, a place may be another
        assert sum(same) >= 4, same


def settled(network: Network) -> Network:
    """In evaluation mode, with norms that have seen a batch: untrained, deep answers vanish."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # running statistics are those of all batches so far
    with torch.no_grad():
        network.train()({"image": pictures(2, 64, 96, 3)})
    return network.eval()


@each_head
def test_a_batch_of_one_trains(head: HeadSpec) -> None:
    network = small(head).train()
    x, y = {"image": pictures(1, 64, 64, 3)}, {"mask": torch.zeros(1, 64, 64, dtype=torch.uint8)}
    Objective(network, make_criterion())(x, y, weight=torch.tensor(1.0))["loss"].backward()


@pytest.mark.parametrize("head", [head for head in DENSE if not head.requires], ids=str_name)
def test_any_maps_will_do(head: HeadSpec) -> None:
    """Maps that start at stride 4, repeat a stride (dilated), or are one alone (a transformer)."""
    for strides in ((4, 8, 16, 32), (2, 4, 8, 8, 8), (14,), (1, 2, 4)):
        channels = tuple(4 + index for index in range(len(strides)))
        options = head.make_options(known(head, SMALL_HEAD))
        decoder = head.load()(options, channels=channels, strides=strides, classes=CLASSES).eval()
        maps = tuple(
            torch.randn(1, c, -(-56 // s), -(-70 // s))
            for c, s in zip(channels, strides, strict=True)
        )
        outputs = decoder(maps, (56, 70))
        assert outputs["logits"].shape == (1, CLASSES, 56, 70)


def test_a_backbone_without_what_a_head_needs_is_refused() -> None:
    args = {"options": {}, "shape": {"classes": CLASSES}}
    arch = Arch(ComponentConfig("resnet18", {"options": {}}), ComponentConfig("segnet", args))
    with pytest.raises(UsageError, match="needs pooling indices, which 'resnet18'") as caught:
        build_network(arch, ImageInput(ImageOptions(channels=3)))
    assert "vgg16_bn" in str(caught.value.hint)


def test_what_suits_a_head_is_asked_of_backbones_that_can() -> None:
    head = HeadSpec("some", "", recommended_backbone_options={"output_stride": 16})
    resnet, timm = BACKBONES["resnet18"], BACKBONES["timm/test_vit"]
    assert recommend_options(resnet, "resnet18", head, {}).output_stride == 16
    assert recommend_options(resnet, "resnet18", head, {"output_stride": 8}).output_stride == 8
    said: list[events.Event] = []
    with events.use_listener(said.append):
        assert recommend_options(timm, "timm/test_vit", head, {}).output_stride == 32
    assert [event for event in said if "cannot change its output_stride" in str(event)]


def test_what_a_backbone_cannot_do_does_not_cost_it_what_it_can() -> None:
    suits = {"output_stride": 16, "last_map": "stage"}
    head = HeadSpec("some", "", recommended_backbone_options=suits)
    options = recommend_options(BACKBONES["timm/test_vit"], "timm/test_vit", head, {})
    assert (options.output_stride, options.last_map) == (32, "stage")


@pytest.mark.parametrize("name", [e.name for e in ENTRIES if e.output_level == "pixel"])
def test_decoders_take_the_last_stage_not_what_was_widened_for_a_classifier(name: str) -> None:
    lite = BACKBONES["efficientnet_lite0"]
    options = recommend_options(lite, lite.name, next(e for e in ENTRIES if e.name == name), {})
    backbone = lite.load()(lite.name, options, in_channels=3)
    assert backbone.channels[-1] == 320  # Tan and Le 2019, table 1: stage 8; its head has 1280


def test_a_head_stands_in_for_one_that_gives_the_same() -> None:
    usual = ComponentConfig("fcn", {"options": {}, "shape": {"classes": 3}})
    assert choose_head("auto", usual) == usual
    assert choose_head("lraspp", usual) == ComponentConfig("lraspp", usual.args)
    with pytest.raises(UsageError, match="does not suit this task") as caught:
        choose_head("linear", usual)
    assert "fcn" in str(caught.value.hint)
    with pytest.raises(UsageError, match="unknown head 'unte'"):
        choose_head("unte", usual)
