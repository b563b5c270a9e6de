"""timm's networks as backbones, against timm itself."""

import pytest
import timm
import torch

from skipstone.core.errors import UsageError
from skipstone.models.image_backbone_options import TimmOptions
from skipstone.models.timm_backbone import build_timm

PLAIN = TimmOptions()


def build(name, in_channels=3, **options):
    torch.manual_seed(0)
    return build_timm(name, TimmOptions(**options), in_channels=in_channels).eval()


def reference(name, backbone, **arguments):
    """timm's own network with the same tensors; its classifier is its own."""
    net = timm.create_model(name, num_classes=5, **arguments).eval()
    missing, unexpected = net.load_state_dict(
        backbone.published_module().state_dict(), strict=False
    )
    assert not unexpected
    return net, missing


def randomize_norms(backbone):
    """Running statistics and scales that are not what a fresh network has."""
    for name, tensor in backbone.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.dim() == 1 and tensor.is_floating_point():
            tensor.add_(torch.randn_like(tensor) * 0.1)


@pytest.mark.parametrize(
    ("name", "theirs", "arguments"),
    [
        ("timm/efficientnet_lite0", "efficientnet_lite0", {}),
        ("timm/resnet18", "resnet18", {}),
        ("timm/test_efficientnet", "test_efficientnet", {}),
        ("timm/test_vit", "test_vit", {"dynamic_img_size": True}),
    ],
)
def test_the_deepest_map_pooled_is_what_timms_classifier_is_given(name, theirs, arguments):
    backbone = build(name)
    randomize_norms(backbone)
    net, missing = reference(theirs, backbone, **arguments)
    assert {tensor.rpartition(".")[0] for tensor in missing} == {backbone.classifier_name}
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        deepest = backbone(x)[-1]
        final = net.forward_features(x)
        if final.dim() == 3:  # tokens: one of the class, then the patches row by row
            tokens = deepest.flatten(2).transpose(1, 2)
            torch.testing.assert_close(tokens, final[:, 1:])
        else:
            pooled = deepest.mean((2, 3))
            logits = net.get_classifier()(pooled)
            torch.testing.assert_close(deepest, final)
            torch.testing.assert_close(logits, net(x))


def test_the_earlier_maps_are_timms_stages():
    backbone = build("timm/resnet18")
    net = timm.create_model("resnet18", features_only=True).eval()
    net.load_state_dict(backbone.published_module().state_dict(), strict=False)
    x = torch.randn(1, 3, 40, 56)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), tuple(net(x)))


@pytest.mark.parametrize("name", ["timm/mobilenetv3_small_050", "timm/convnext_atto"])
def test_layers_that_no_map_depends_on_are_left_out(name):
    backbone = build(name).train()
    sum(map_.sum() for map_ in backbone(torch.randn(2, 3, 64, 64))).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None] == []
    theirs = timm.create_model(name.removeprefix("timm/")).state_dict()
    assert set(backbone.published_module().state_dict()) < set(theirs)


@pytest.mark.parametrize(
    "name", ["timm/convnext_atto", "timm/test_vit", "timm/mobilenetv3_small_050"]
)
def test_maps_have_the_sizes_that_channels_and_strides_say(name):
    backbone = build(name)
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, 75, 97))
    assert [tuple(map_.shape[1:]) for map_ in maps] == [
        (channels, -(-75 // stride), -(-97 // stride))
        for channels, stride in zip(backbone.channels, backbone.strides, strict=True)
    ]


def test_padding_leaves_sizes_that_need_none_as_timm_has_them():
    backbone = build("timm/convnext_atto")
    net = timm.create_model("convnext_atto").eval()
    net.load_state_dict(backbone.published_module().state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x)[-1], net.forward_features(x))


def test_the_last_map_is_the_last_stages_where_asked():
    backbone = build("efficientnet_lite0", last_map="stage").eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = backbone.net.forward_intermediates(x, intermediates_only=True)[-1]
        torch.testing.assert_close(backbone(x)[-1], expected)
    assert not any("conv_head" in name for name, _ in backbone.named_parameters())


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/convnext_atto", "timm/test_efficientnet"])
def test_every_parameter_is_in_one_stage(name):
    backbone = build(name)
    parameters = [p for stage in backbone.stage_modules() for m in stage for p in m.parameters()]
    assert sorted(map(id, parameters)) == sorted(map(id, backbone.parameters()))
    assert len(backbone.stage_modules()) > 2


def test_stages_go_from_the_stem_to_the_deepest():
    first, *_, last = build("efficientnet_lite0").stage_modules()
    net = build("efficientnet_lite0").net
    assert sum(p.numel() for m in first for p in m.parameters()) == sum(
        p.numel() for m in (net.conv_stem, net.bn1) for p in m.parameters()
    )
    assert max(p.shape[0] for m in last for p in m.parameters()) == 1280  # conv_head


def test_a_network_of_one_size_says_so():
    with pytest.raises(UsageError, match=r"\(224, 224\) pixels"):
        build("timm/deit_tiny_distilled_patch16_224")(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "timm/resnet18"])
def test_output_stride(name):
    backbone = build(name, output_stride=8)
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, 64, 64))
    assert backbone.strides == (2, 4, 8, 8, 8)
    assert [map_.shape[2] for map_ in maps] == [32, 16, 8, 8, 8]


def test_stochastic_depth_drops_branches_in_training_only():
    backbone = build("timm/test_efficientnet", stochastic_depth=0.9)
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), build("timm/test_efficientnet")(x))
    rates = [m.drop_prob for m in backbone.modules() if type(m).__name__ == "DropPath"]
    assert max(rates) > 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stochastic_depth": 1.0}, "stochastic_depth is 1.0"),
        ({"output_stride": 4}, "output_stride is 4"),
        ({"stochastic_depth": 0.1, "name": "timm/vgg11"}, "no option stochastic_depth"),
        ({"output_stride": 8, "name": "timm/test_vit"}, "no option output_stride"),
        ({"name": "timm/resent18"}, "timm/resnet18"),
        ({"name": "timm/resnet18.no_such_weights"}, "no_such_weights"),
        ({"name": "timm/coat_tiny"}, "no feature maps"),
        ({"name": "timm/hf-hub:timm/resnet18"}, "has no network"),
        ({"in_channels": 0}, "in_channels is 0"),
    ],
)
def test_what_cannot_be_built_says_why(options, message):
    with pytest.raises(UsageError, match=message):
        build(options.pop("name", "efficientnet_lite0"), **options)
