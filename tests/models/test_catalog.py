"""The contract of a backbone, for every one of the catalogue: a new entry is tested by existing."""

import math
import subprocess
import sys

import pytest
import torch

from skipstone.core.registry import BACKBONES
from skipstone.models.build import find_least_side
from skipstone.models.catalog import ENTRIES
from skipstone.models.profile import profile_backbone, profile_network
from skipstone.models.resnet import build_resnet

NAMED = [e for e in ENTRIES if "*" not in e.name and "image" in e.accepts]
#: Options that make a network small without changing its kind, and give all its maps, where it has
#: them.
SMALL = {"width": 0.25, "depth": 0.01, "last_map": "stage"}


def list_smallest():
    """The smallest network of each family: the others differ in numbers."""
    families = {(entry.target, entry.family): [] for entry in NAMED}
    for entry in NAMED:
        families[entry.target, entry.family].append(entry)
    return [min(members, key=lambda entry: entry.macs) for members in families.values()]


def small_options(entry):
    known = entry.options_type().__dataclass_fields__
    return {name: value for name, value in SMALL.items() if name in known}


def build(entry, in_channels=3):
    torch.manual_seed(0)
    make = entry.load()
    return make(entry.name, entry.make_options(small_options(entry)), in_channels=in_channels)


each_backbone = pytest.mark.parametrize("entry", NAMED, ids=lambda entry: entry.name)
each_family = pytest.mark.parametrize("entry", list_smallest(), ids=lambda entry: entry.name)


@each_family
@pytest.mark.parametrize("size", [(37, 51), (5, 9)])
def test_maps_are_as_channels_and_strides_say(entry, size):
    backbone = build(entry).eval()
    size = tuple(side + entry.least_side - 1 for side in size)
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, *size))
    assert [map_.shape[:2] for map_ in maps] == [(1, channels) for channels in backbone.channels]
    for map_, stride in zip(maps, backbone.strides, strict=True):
        wanted = [math.ceil(side / stride) for side in size]
        missing = [a - b for a, b in zip(wanted, map_.shape[2:], strict=True)]
        assert missing == [0, 0] if entry.has_exact_maps else 0 <= min(missing) <= max(missing) <= 4
    assert list(backbone.strides) == sorted(backbone.strides)


@each_family
def test_any_number_of_channels_trains_every_parameter(entry):
    backbone = build(entry, in_channels=5).train()
    maps = backbone(torch.randn(2, 5, side := max(40, entry.least_side), side))
    maps[-1].square().sum().backward()
    idle = [n for n, p in backbone.named_parameters() if p.grad is None]
    assert idle == []


@each_family
def test_every_parameter_is_in_one_stage(entry):
    backbone = build(entry)
    stages = backbone.stage_modules()
    parameters = [id(p) for stage in stages for module in stage for p in module.parameters()]
    assert sorted(parameters) == sorted(id(p) for p in backbone.parameters())
    assert len(stages) >= 3


@each_family
def test_a_state_dict_makes_another_network_the_same(entry):
    backbone, other = build(entry).train(), build(entry).eval()
    side = max(40, entry.least_side)
    backbone(torch.randn(4, 3, side, side))  # moves the running statistics
    other.load_state_dict(backbone.state_dict(), strict=True)
    backbone.eval()
    x = torch.randn(1, 3, side, side + 3)
    with torch.no_grad():
        assert all(map(torch.equal, backbone(x), other(x)))


@each_family
def test_exported_it_answers_the_same_at_another_batch_size(entry):
    backbone = build(entry).eval()
    batch, side = torch.export.Dim("batch", min=1, max=64), max(32, entry.least_side)
    program = torch.export.export(
        backbone, (torch.randn(2, 3, side, side),), dynamic_shapes={"x": {0: batch}}
    ).module()
    x = torch.randn(3, 3, side, side)
    with torch.no_grad():
        for ours, theirs in zip(backbone(x), program(x), strict=True):
            torch.testing.assert_close(theirs, ours)


@each_family
def test_its_least_side_is_true(entry):
    """Also of the vector in front of the classifier, where it is another path."""
    known = entry.options_type().__dataclass_fields__
    for last_map in ("stage", "pooled") if "last_map" in known else ("",):
        options = small_options(entry) | ({"last_map": last_map} if last_map else {})
        backbone = entry.load()(entry.name, entry.make_options(options), in_channels=3)
        assert find_least_side(backbone, 3) == entry.least_side


@each_backbone
def test_its_spec_is_true(entry):
    counted = profile_backbone(entry.name, size=entry.input_size)
    assert (entry.parameters, entry.macs) == (counted.parameters, counted.macs)
    assert "image" in entry.accepts
    assert entry.pretrained in ("package", "hub", None)
    assert (entry.pretrained is None) == (entry.normalize is None)
    assert entry.summary
    assert entry.source


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/mobilenetv3_small_050"])
def test_timms_networks_export(name):
    entry = BACKBONES[name]
    backbone = entry.load()(name, entry.make_options(), in_channels=3).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(
        backbone, (torch.randn(2, 3, 32, 32),), dynamic_shapes={"x": {0: batch}}
    ).module()
    x = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(program(x)[-1], backbone(x)[-1])


def test_the_catalogue_is_listed_without_torch():
    code = (
        "import sys; from skipstone.core.registry import BACKBONES\n"
        "rows = [(e.name, e.macs, e.options_type()) for e in BACKBONES]\n"
        "assert len(rows) > 10 and 'torch' not in sys.modules and 'timm' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_macs_and_parameters_by_hand():
    """A convolution of a kernel k has k * k * C_in MACs for each value it gives."""
    layer = torch.nn.Conv2d(3, 8, 5, stride=2, padding=2)
    counted = profile_network(layer, torch.zeros(1, 3, 16, 16))
    assert counted.parameters == 8 * 3 * 25 + 8
    assert counted.macs == 8 * 8 * 8 * 3 * 25
    assert counted.activation_bytes == 3 * 16 * 16 * 4  # its input, for its weights' gradient


def test_activations_that_two_layers_keep_count_once():
    """A ReLU keeps its output, which is also the next layer's input."""
    net = torch.nn.Sequential(torch.nn.Linear(10, 20), torch.nn.ReLU(), torch.nn.Linear(20, 5))
    assert profile_network(net, torch.zeros(1, 10)).activation_bytes == (10 + 20) * 4


def test_profiling_changes_nothing():
    net = build_resnet("resnet20").train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    profile_network(net, torch.zeros(1, 3, 32, 32))
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
