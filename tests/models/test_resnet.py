"""Residual networks against torchvision, timm and the numbers of the papers."""

import re
from functools import partial

import pytest
import timm.layers
import timm.models.resnet
import timm.models.resnetv2
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from skipstone.core.errors import UsageError
from skipstone.models.image_backbone_options import ResNetOptions
from skipstone.models.resnet import RESNETS, build_resnet

IMAGENET = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
CIFAR_PARAMETERS = {  # with a linear layer to 10 classes
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
}
ONE_BLOCK_A_STAGE = 0.2  # rounds 3, 4 and 6 blocks to 1


def on_meta(make, *args):
    """Shapes without values: building resnet152 takes no time and no memory."""
    with torch.device("meta"):
        return make(*args)


def torchvision_resnet(name, **options):
    return on_meta(partial(getattr(torchvision.models, name), weights=None, **options))


def randomize(net, seed=0):
    """Give every tensor values, running statistics too, and activations a scale of about 1."""
    generator = torch.Generator().manual_seed(seed)
    net.to_empty(device="cpu")
    for name, tensor in net.state_dict().items():
        if tensor.dim() > 1:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith("num_batches_tracked"):
            tensor.zero_()
        else:
            tensor.uniform_(-0.5, 0.5, generator=generator)
    return net.eval()


def without_classifier(state, classifier="fc"):
    return {name: tensor for name, tensor in state.items() if not name.startswith(classifier)}


def shapes(state):
    return [(name, tuple(tensor.shape)) for name, tensor in state.items()]


def parameter_count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def pooled(maps):
    return maps[-1].mean((2, 3))


@torch.no_grad()
def assert_same_features(ours, reference, state, size=(64, 64)):
    """Same pooled features (N, C) from the same tensors, which ``reference`` holds."""
    ours.load_state_dict(state, strict=True, assign=True)
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    expected = reference(x)
    assert 0.01 < expected.std() < 100, "values too small or too large to prove anything"
    torch.testing.assert_close(pooled(ours.eval()(x)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", IMAGENET)
def test_same_names_in_the_same_order_and_same_features_as_torchvision(name):
    reference = torchvision_resnet(name)
    ours = on_meta(build_resnet, name)
    assert ours.classifier_name == "fc"
    assert shapes(ours.state_dict()) == shapes(without_classifier(reference.state_dict()))
    randomize(reference).fc = nn.Identity()
    assert_same_features(ours, reference, reference.state_dict(), size=(48, 65))


@pytest.mark.parametrize("output_stride", [8, 16])
def test_output_stride_equals_torchvision_dilation(output_stride):
    dilation = [False, output_stride <= 8, output_stride <= 16]
    reference = randomize(torchvision_resnet("resnet50", replace_stride_with_dilation=dilation))
    reference.fc = nn.Identity()
    ours = on_meta(build_resnet, "resnet50", ResNetOptions(output_stride=output_stride))
    assert ours.strides == (2, 4, 8, min(16, output_stride), output_stride)
    assert_same_features(ours, reference, reference.state_dict(), size=(35, 49))


@pytest.mark.parametrize("name", IMAGENET)
def test_parameters_and_macs_are_the_published_ones(name):
    meta = torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta
    net = on_meta(build_resnet, name).eval()
    fc = (net.channels[-1] + 1) * 1000
    assert parameter_count(net) + fc == meta["num_params"]
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, 3, 224, 224, device="meta"))
    gmacs = (counter.get_total_flops() / 2 + fc) / 1e9
    assert gmacs == pytest.approx(meta["_ops"], rel=0.01)


@pytest.mark.parametrize(("name", "published"), CIFAR_PARAMETERS.items())
def test_cifar_family_has_the_published_parameters(name, published):
    net = on_meta(build_resnet, name)
    assert (net.channels, net.strides) == ((16, 32, 64), (1, 2, 4))
    assert parameter_count(net) + (64 + 1) * 10 == published


def test_cifar_family_has_the_public_names():
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    convolutions = [""] + [f"layer{i}.{j}." for i in (1, 2, 3) for j in (0, 1, 2)]
    expected = []
    for prefix in convolutions:
        for number in (1,) if prefix == "" else (1, 2):
            expected.append(f"{prefix}conv{number}.weight")
            expected += [f"{prefix}bn{number}.{name}" for name in norm]
    net = on_meta(build_resnet, "resnet20")
    assert list(net.state_dict()) == expected
    assert net.classifier_name == "linear"


def timm_resnet(**options):
    block = timm.models.resnet.Bottleneck
    return timm.models.resnet.ResNet(block, [1, 1, 1, 1], num_classes=0, **options)


def timm_preact(block):
    return timm.models.resnetv2.ResNetV2(
        layers=[1, 1, 1, 1],
        num_classes=0,
        preact=True,
        bottle_ratio=0.25 if block == "bottleneck" else 1.0,
        basic=block == "basic",
        channels=(256, 512, 1024, 2048) if block == "bottleneck" else (64, 128, 256, 512),
        conv_layer=timm.layers.create_conv2d,
        norm_layer=timm.layers.BatchNormAct2d,
    )


def timm_preact_names_to_ours(state):
    rules = [
        (r"^stem\.conv", "conv1"),
        (r"^norm\.", "bn_final."),
        (r"^stages\.(\d)\.blocks\.", lambda match: f"layer{int(match[1]) + 1}."),
        (r"\.norm(\d)", r".bn\1"),
        (r"downsample\.conv", "downsample.0"),
    ]
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


@pytest.mark.parametrize("size", [(48, 48), (37, 51)])
def test_shortcut_d_and_squeeze_excite_equal_timm(size):
    options = ResNetOptions(shortcut="D", squeeze_excite=True, depth=ONE_BLOCK_A_STAGE)
    reference = randomize(
        on_meta(partial(timm_resnet, avg_down=True, block_args={"attn_layer": "se"}))
    )
    ours = on_meta(build_resnet, "resnet50", options)
    assert_same_features(ours, reference, reference.state_dict(), size)


@pytest.mark.parametrize(("name", "block"), [("resnet50", "bottleneck"), ("resnet34", "basic")])
def test_pre_activation_equals_timm(name, block):
    options = ResNetOptions(pre_activation=True, depth=ONE_BLOCK_A_STAGE)
    reference = randomize(on_meta(timm_preact, block))
    ours = on_meta(build_resnet, name, options)
    state = timm_preact_names_to_ours(reference.state_dict())
    assert_same_features(ours, reference, state, size=(37, 51))


def test_an_unknown_name_lists_the_near_ones():
    with pytest.raises(UsageError, match=r"unknown residual network 'resent18'.*'resnet18'"):
        build_resnet("resent18")


def test_no_input_channel_is_refused():
    with pytest.raises(UsageError, match="at least 1"):
        build_resnet("resnet18", in_channels=0)


@pytest.mark.parametrize("name", RESNETS)
def test_channels_and_strides_are_those_of_the_maps(name):
    net = on_meta(build_resnet, name).eval()
    maps = net(torch.empty(1, 3, 77, 101, device="meta"))
    assert [m.shape[1] for m in maps] == list(net.channels)
    assert [m.shape[2:] for m in maps] == [(-(-77 // s), -(-101 // s)) for s in net.strides]
