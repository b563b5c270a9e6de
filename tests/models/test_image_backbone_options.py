"""What the options of residual networks promise, alone and in pairs."""

import itertools
import os
import random
import subprocess
import sys
from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from skipstone.core.errors import UsageError
from skipstone.core.options import get_spec
from skipstone.models.image_backbone_options import ResNetOptions
from skipstone.models.layers import DropPath
from skipstone.models.resnet import build_resnet
from skipstone.models.resnet_blocks import ResidualBlock

SMALLEST = {"width": 0.05, "depth": 0.2}  # 8 channels in every stage, one block
SMALL = {"width": 0.125, "depth": 0.2}  # 8, 16, 32, 64 channels

FACTORS = {
    "name": ["resnet34", "resnet50", "resnet20"],
    "in_channels": [1, 3, 5],
    "norm": ["batch", "group", "none"],
    "block_dropout": [0.0, 0.2],
    "stochastic_depth": [0.0, 0.3],
    "shortcut": [None, "A", "B", "D"],
    "pre_activation": [False, True],
    "zero_init_last_norm": [False, True],
    "squeeze_excite": [False, True],
    "width": [0.05, 0.125],
    "depth": [0.2, 0.3],
    "output_stride": [8, 16, 32],
    "residual": [True, False],
}


def is_allowed(case):
    try:
        ResNetOptions(**{k: v for k, v in case.items() if k not in ("name", "in_channels")})
    except UsageError:
        return False
    return True


def pairwise_cases(seed=0):
    """Few cases that hold every allowed pair of values of any two factors (greedy)."""
    draw = random.Random(seed)

    def pairs(case):
        return set(itertools.combinations(case.items(), 2))

    def complete(fixed):
        return {name: fixed.get(name, draw.choice(values)) for name, values in FACTORS.items()}

    missing = set().union(
        *(
            itertools.product([(a, x) for x in FACTORS[a]], [(b, y) for y in FACTORS[b]])
            for a, b in itertools.combinations(FACTORS, 2)
        )
    )
    cases = []
    while missing:
        pair = min(missing, key=repr)
        candidates = [case for _ in range(60) if is_allowed(case := complete(dict(pair)))]
        if candidates:
            cases.append(max(candidates, key=lambda case: len(pairs(case) & missing)))
            missing -= pairs(cases[-1])
        missing.discard(pair)
    return cases


def label(case):
    changed = [f"{k}={v}" for k, v in case.items() if v != getattr(ResNetOptions(), k, None)]
    return " ".join(changed)


CASES = pairwise_cases()


@pytest.mark.parametrize(
    ("options", "problems"),
    [
        ({"norm": "layer"}, ["'batch', 'group', 'none'"]),
        ({"shortcut": "C"}, ["'A', 'B', 'D'"]),
        ({"output_stride": 4}, ["8, 16, 32"]),
        ({"block_dropout": 1.0, "stochastic_depth": -0.1}, ["block_dropout", "stochastic_depth"]),
        ({"width": 0, "depth": float("inf")}, ["width is 0", "depth is inf"]),
        ({"zero_init_last_norm": True, "norm": "none"}, ["zero_init_last_norm needs norm"]),
        ({"zero_init_last_norm": True, "pre_activation": True}, ["ends in a convolution"]),
        ({"residual": False, "shortcut": "B"}, ["shortcut needs shortcuts"]),
        ({"residual": False, "stochastic_depth": 0.1}, ["stochastic_depth needs shortcuts"]),
    ],
)
def test_options_report_every_problem_at_once(options, problems):
    with pytest.raises(UsageError) as raised:
        ResNetOptions(**options)
    assert all(problem in str(raised.value) for problem in problems)


def test_options_are_free_of_torch():
    check = "import sys, skipstone.models.image_backbone_options; assert 'torch' not in sys.modules"
    subprocess.run(
        [sys.executable, "-c", check], check=True, env={"PYTHONPATH": os.pathsep.join(sys.path)}
    )


def test_every_option_has_help_and_a_default():
    assert all(get_spec(option).help for option in fields(ResNetOptions))
    assert ResNetOptions() == ResNetOptions()


def build(case, *, seed=0):
    """The case's network, no tensor of it at zero: a zero scale hides what lies behind it."""
    torch.manual_seed(seed)
    options = {k: v for k, v in case.items() if k not in ("name", "in_channels")}
    net = build_resnet(case["name"], ResNetOptions(**options), case["in_channels"])
    for parameter in net.parameters():
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.5, 1.0)
    return net


def image(case, *, samples=2, height=37, width=51):
    return torch.randn(samples, case["in_channels"], height, width)


@pytest.mark.parametrize("case", CASES, ids=label)
def test_gradients_reach_every_parameter_at_odd_sizes(case):
    net = build(case).train()
    for module in net.modules():
        if isinstance(module, DropPath):
            module.eval()  # a dropped branch has no gradient, and rightly so
    maps = net(image(case))
    assert [m.shape[1] for m in maps] == list(net.channels)
    assert [m.shape[2:] for m in maps] == [(-(-37 // s), -(-51 // s)) for s in net.strides]
    sum((m * torch.randn_like(m)).sum() for m in maps).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("case", CASES, ids=label)
def test_a_state_dict_brings_everything_back(case):
    net, other = build(case, seed=0).train(), build(case, seed=1)
    net(image(case))  # moves the running statistics
    other.load_state_dict(net.state_dict(), strict=True)
    x = image(case)
    for ours, theirs in zip(net.eval()(x), other.eval()(x), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("case", CASES, ids=label)
def test_an_exported_program_answers_alike(case):
    net, x = build(case).eval(), image(case)
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    x = image(case, samples=3)
    torch.testing.assert_close(program.module()(x), net(x))


@pytest.mark.parametrize("case", CASES, ids=label)
def test_channels_last_and_bfloat16_stay_as_they_are(case):
    net, x = build(case).eval(), image(case)
    expected = net(x)
    net.to(memory_format=torch.channels_last)
    last = torch.channels_last
    for ours, theirs in zip(net(x.contiguous(memory_format=last)), expected, strict=True):
        assert ours.is_contiguous(memory_format=last)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    for map_ in net.bfloat16()(x.bfloat16()):
        assert map_.dtype == torch.bfloat16
        assert map_.isfinite().all()


@pytest.mark.parametrize("case", CASES, ids=label)
def test_stages_hold_every_parameter_once_from_shallow_to_deep(case):
    net = build(case)
    grouped = [p for group in net.stage_modules() for module in group for p in module.parameters()]
    assert [id(p) for p in grouped] == [id(p) for p in net.parameters()]


@pytest.mark.parametrize("case", CASES, ids=label)
def test_dropping_is_the_identity_in_evaluation(case):
    net, x = build(case).eval(), image(case)
    without = build({**case, "block_dropout": 0.0, "stochastic_depth": 0.0}).eval()
    without.load_state_dict(net.state_dict())
    assert all(map(torch.equal, net(x), without(x)))


@pytest.mark.parametrize("pre_activation", [False, True])
@pytest.mark.parametrize(("name", "last"), [("resnet20", "conv2"), ("resnet50", "conv3")])
def test_dropout_feeds_the_last_convolution(name, last, pre_activation):
    options = ResNetOptions(block_dropout=0.5, pre_activation=pre_activation, **SMALLEST)
    for block in blocks_of(build_resnet(name, options)):
        seen = []
        block.dropout.register_forward_hook(lambda module, args, out, seen=seen: seen.append(out))
        getattr(block, last).register_forward_pre_hook(
            lambda module, args, seen=seen: seen.append(args[0])
        )
        block(torch.randn(2, block.conv1.in_channels, 5, 5))
        dropped, received = seen
        assert received is dropped
        assert (dropped == 0).any()


@pytest.mark.parametrize("option", ["block_dropout", "stochastic_depth"])
def test_dropping_does_something_in_training(option):
    net = build_resnet("resnet20", ResNetOptions(**{option: 0.5}, norm="group", **SMALLEST))
    x = torch.randn(8, 3, 16, 16)
    assert not torch.equal(net.train()(x)[-1], net(x)[-1])


def blocks_of(net):
    return [module for module in net.modules() if isinstance(module, ResidualBlock)]


def test_stochastic_depth_rises_in_equal_steps_to_the_last_block():
    net = build_resnet("resnet18", ResNetOptions(stochastic_depth=0.4, width=0.05))
    rates = [block.drop_path.rate for block in blocks_of(net)]
    assert rates == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4])


def test_stochastic_depth_keeps_the_expected_value_of_a_block():
    options = ResNetOptions(stochastic_depth=0.5, pre_activation=True, norm="none", width=0.05)
    torch.manual_seed(0)
    block = blocks_of(build_resnet("resnet20", options))[-1]
    x = torch.randn(1, 8, 1, 1)
    samples, rate = 20_000, block.drop_path.rate
    with torch.no_grad():
        mean = block.train()(x.expand(samples, -1, -1, -1)).mean(0)
        expected = block.eval()(x)[0]
        branch = expected - x[0]
    error = branch.abs() * (rate / (1 - rate) / samples) ** 0.5
    assert ((mean - expected).abs() <= 5 * error + 1e-5).all()


@pytest.mark.parametrize("name", ["resnet34", "resnet50"])
def test_zero_init_starts_every_block_as_its_shortcut(name):
    net = build_resnet(name, ResNetOptions(zero_init_last_norm=True, **SMALL)).eval()
    for block in blocks_of(net):
        x = torch.rand(1, block.conv1.in_channels, 5, 5)
        assert torch.equal(block(x), block.downsample(x).relu())


@pytest.mark.parametrize("pre_activation", [False, True])
def test_a_plain_net_is_its_branches_and_has_no_shortcut_parameters(pre_activation):
    options = {"pre_activation": pre_activation, "norm": "none", **SMALL}
    plain = build_resnet("resnet50", ResNetOptions(residual=False, **options))
    residual = build_resnet("resnet50", ResNetOptions(shortcut="A", **options))
    assert list(plain.state_dict()) == list(residual.state_dict())
    for block in blocks_of(plain):
        nn.init.zeros_(block.conv3.weight)
        assert not block(torch.rand(1, block.conv1.in_channels, 4, 4)).any()


@pytest.mark.parametrize("pre_activation", [False, True])
def test_without_norms_the_deepest_net_starts_neither_huge_nor_dead(pre_activation):
    torch.manual_seed(0)
    options = ResNetOptions(norm="none", pre_activation=pre_activation)
    net = build_resnet("resnet110", options).eval()
    with torch.no_grad():
        deepest = net(torch.randn(2, 3, 12, 12))[-1]
    assert 0.01 < deepest.std() < 100


def test_width_multiplies_channels_and_depth_multiplies_blocks():
    def build_scaled(name, **factors):
        with torch.device("meta"):
            return build_resnet(name, ResNetOptions(**factors))

    assert build_scaled("resnet20", width=2).channels == (32, 64, 128)
    assert build_scaled("resnet50", width=0.5).channels == (32, 128, 256, 512, 1024)
    assert build_scaled("resnet20", width=0.1).channels == (8, 8, 8)
    shallow = build_scaled("resnet34", depth=0.5)
    assert [len(stage) for stage in shallow.block_stages()] == [2, 2, 3, 2]
    assert len(blocks_of(build_scaled("resnet18", depth=0.01))) == 4


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(["resnet34", "resnet50"]),
    shortcut=st.sampled_from(["A", "B"]),
    pre_activation=st.booleans(),
    output_stride=st.sampled_from([8, 16]),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
)
def test_dilation_computes_the_same_pixels_and_those_between(
    name, shortcut, pre_activation, output_stride, height, width
):
    """The algorithme à trous: every 32 / output_stride-th pixel is the strided net's."""
    options = {"shortcut": shortcut, "pre_activation": pre_activation, **SMALL}
    strided = build_resnet(name, ResNetOptions(**options)).eval()
    dilated = build_resnet(name, ResNetOptions(output_stride=output_stride, **options)).eval()
    dilated.load_state_dict(strided.state_dict())
    x = torch.randn(1, 3, height, width)
    step = 32 // output_stride
    with torch.no_grad():
        expected, dense = strided(x)[-1], dilated(x)[-1]
    torch.testing.assert_close(dense[:, :, ::step, ::step], expected, rtol=1e-4, atol=1e-5)


def test_output_stride_is_a_bound_that_small_strides_meet_already():
    net = build_resnet("resnet20", ResNetOptions(output_stride=8, **SMALLEST))
    assert net.strides == (1, 2, 4)


def test_an_exported_program_takes_any_size():
    net = build_resnet("resnet20", ResNetOptions(shortcut="D", **SMALL)).eval()
    dynamic = torch.export.Dim.DYNAMIC
    shapes = ({0: dynamic, 2: dynamic, 3: dynamic},)
    program = torch.export.export(net, (torch.randn(2, 3, 37, 51),), dynamic_shapes=shapes)
    x = torch.randn(1, 3, 24, 33)
    torch.testing.assert_close(program.module()(x), net(x))
