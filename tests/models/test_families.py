"""The families of image networks, against torchvision's and timm's with the same weights."""

import pytest
import timm
import torch
import torchvision
from torchvision.models.googlenet import InceptionAux

from skipstone.core.registry import BACKBONES
from skipstone.models.heads.base import AuxiliaryClassifier
from skipstone.models.image_catalog import IMAGE_ENTRIES
from skipstone.models.lenet import ScaledTanh
from skipstone.models.profile import profile_backbone

CLASSES = 7
PUBLISHED = [entry for entry in IMAGE_ENTRIES if (entry.hub or "").startswith("torchvision/")]


def build(name, **options):
    torch.manual_seed(0)
    entry = BACKBONES[name]
    return entry.load()(name, entry.make_options(options), in_channels=3).eval()


def randomize(network):
    """Values that keep activations near 1, and running statistics that a fresh network lacks."""
    torch.manual_seed(1)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.dim() > 1:
            tensor.uniform_(-1, 1).mul_((6 / tensor[0].numel()) ** 0.5)
        elif tensor.is_floating_point():
            tensor.uniform_(-0.1, 0.1).add_(1 if name.endswith("weight") else 0)


def compare_published(name, theirs, size):
    """The published network of a backbone, by names, shapes and outputs."""
    backbone = build(name)
    published = backbone.published_network(CLASSES)
    randomize(theirs.eval())
    state = {backbone.translate_name(key): value for key, value in theirs.state_dict().items()}
    published.module.load_state_dict(state, strict=True)
    published.module.eval()
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected = theirs(x)
        ours = published.compute_logits(x)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("alexnet", 96),
        pytest.param("vgg11_bn", 64, marks=pytest.mark.proof),
        ("googlenet", 65),
        pytest.param("inception_v3", 79, marks=pytest.mark.proof),
        ("mobilenet_v2", 57),
        ("mobilenet_v3_small", 57),
        ("mobilenet_v3_large", 57),
        ("efficientnet_b0", 57),
        pytest.param("efficientnet_b5", 57, marks=pytest.mark.proof),
    ],
)
def test_it_is_torchvisions(name, size):
    more = {"aux_logits": False, "init_weights": False} if "cept" in name or "goog" in name else {}
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name, num_classes=CLASSES, **more)
    compare_published(name, theirs.to_empty(device="cpu"), size)


@pytest.mark.parametrize(
    ("name", "theirs", "arguments"),
    [
        ("mobilenet_v1", "mobilenetv1_100", {}),
        ("efficientnet_lite0", "efficientnet_lite0", {"bn_eps": 1e-3}),
    ],
)
def test_it_is_timms(name, theirs, arguments):
    compare_published(name, timm.create_model(theirs, num_classes=CLASSES, **arguments), 57)


@pytest.mark.parametrize("name", ["efficientnet_lite1", "efficientnet_lite4"])
def test_the_lite_variants_have_timms_parameters(name):
    with torch.device("meta"):
        theirs = timm.create_model(name, num_classes=0)
    shapes = [tuple(p.shape) for p in theirs.parameters()]
    assert sum(torch.Size(shape).numel() for shape in shapes) == BACKBONES[name].parameters


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.name)
def test_parameters_and_macs_are_torchvisions(entry):
    """As torchvision documents them for the whole network, of 1000 classes."""
    weights = torchvision.models.get_weight(entry.hub.removeprefix("torchvision/"))
    with torch.device("meta"):
        backbone = entry.load()(entry.name, entry.make_options(), in_channels=3)
    linear = backbone.channels[-1] * 1000
    auxiliary = {"googlenet": 0, "inception_v3": 3_326_696}.get(entry.name, 0)
    assert entry.parameters + linear + 1000 + auxiliary == weights.meta["num_params"]
    assert (entry.macs + linear) / 1e9 == pytest.approx(weights.meta["_ops"], abs=1e-3)
    assert weights.url.endswith(".pth")


def test_auxiliary_classifiers_are_torchvisions():
    theirs = InceptionAux(24, CLASSES).eval()
    ours = AuxiliaryClassifier(24, classes=CLASSES).eval()
    randomize(theirs)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 24, 9, 7)
    with torch.no_grad():
        torch.testing.assert_close(ours((x,), ())["logits"], theirs(x))


def test_lenet_has_the_parameters_of_the_paper():
    """60,000 for grey images: 60,856 less C3's connections that it leaves out (1,516 of 2,416), and
    44 weights of its poolings more."""
    parameters = profile_backbone("lenet5", size=28, channels=1).parameters
    assert parameters - (2_416 - 1_516) + 2 * (6 + 16) == 60_000


def test_the_scaled_tanh_keeps_variance_1():
    assert ScaledTanh()(torch.tensor(1.0)).item() == pytest.approx(1, abs=1e-4)


def test_response_norm_is_the_papers():
    backbone = build("alexnet", local_response_norm=True, width=0.25)
    x = torch.randn(1, 3, 70, 70)
    maps = torch.relu(backbone.features[0](x))  # (1, 16, 17, 17)
    padded = torch.nn.functional.pad(maps**2, (0, 0, 0, 0, 2, 2))
    squares = sum(padded[:, i : i + 16] for i in range(5))
    expected = maps / (2 + 1e-4 * squares) ** 0.75
    torch.testing.assert_close(backbone.features[1](maps), expected)


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "efficientnet_b0"])
def test_dilation_gives_finer_maps_with_the_same_weights(name):
    plain, fine = (build(name, last_map="stage", output_stride=s, width=0.25) for s in (32, 8))
    fine.load_state_dict(plain.state_dict(), strict=True)
    x = torch.randn(1, 3, 64, 64)
    assert fine(x)[-1].shape[2:] == (8, 8)
    assert plain(x)[-1].shape[2:] == (2, 2)
    assert max(fine.strides) == 8


def test_names_of_timm_have_one_place():
    """Also with gates, which EfficientNet-Lite lacks."""
    with torch.device("meta"):
        theirs = timm.create_model("efficientnet_b0").state_dict()
        backbone = build("efficientnet_b0")
        ours = backbone.published_network(1000).module.state_dict()
    translated = {backbone.translate_name(name): v.shape for name, v in theirs.items()}
    assert translated == {name: v.shape for name, v in ours.items()}
