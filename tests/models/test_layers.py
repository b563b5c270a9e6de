import math

import pytest
import timm.layers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from skipstone.models.layers import (
    NORMS,
    DropPath,
    SqueezeExcite,
    ZeroPadShortcut,
    group_norm,
    make_divisible,
)


@given(value=st.floats(0.01, 5000), divisor=st.sampled_from([1, 4, 8, 16]))
def test_make_divisible_is_a_multiple_that_loses_less_than_a_tenth(value, divisor):
    rounded = make_divisible(value, divisor)
    assert rounded % divisor == 0
    assert rounded >= max(divisor, 0.9 * value)
    assert rounded <= max(divisor, value + divisor)
    assert rounded == timm.layers.make_divisible(value, divisor)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("channels", [1, 2, 7, 8, 24, 37, 64])
def test_norms_keep_the_shape_and_every_channel_count(norm, channels):
    x = torch.randn(3, channels, 5, 4)
    assert NORMS[norm](channels)(x).shape == x.shape


@given(channels=st.integers(2, 300))
def test_group_norm_leaves_no_channel_alone(channels):
    layer = group_norm(channels)
    assert layer.num_groups <= 32
    assert channels // layer.num_groups >= 2


def test_group_norm_has_the_32_groups_of_the_paper():
    assert [group_norm(channels).num_groups for channels in (64, 256, 2048)] == [32, 32, 32]


@pytest.mark.parametrize("rate", [-0.1, 1.0, math.nan])
def test_drop_path_refuses_a_rate_that_is_no_chance(rate):
    with pytest.raises(ValueError, match="less than 1"):
        DropPath(rate=rate)


@given(rate=st.floats(0, 0.99), shape=st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_drop_path_is_the_identity_in_evaluation(rate, shape):
    x = torch.randn(shape)
    assert DropPath(rate=rate).eval()(x) is x


def test_drop_path_drops_whole_samples_and_keeps_the_expected_value():
    torch.manual_seed(0)
    samples, rate = 20_000, 0.3
    kept = DropPath(rate=rate).train()(torch.ones(samples, 2, 1, 3)).flatten(1)  # (N, 6)
    assert (kept == kept[:, :1]).all()
    assert kept.unique().tolist() == pytest.approx([0, 1 / (1 - rate)])
    # five standard errors of a Bernoulli mean, scaled by 1 / survival
    error = math.sqrt(rate * (1 - rate) / samples) / (1 - rate)
    assert kept.mean().item() == pytest.approx(1, abs=5 * error)


def test_drop_path_follows_the_seed():
    layer, x = DropPath(rate=0.5).train(), torch.ones(64, 1)
    draws = []
    for _ in range(2):
        torch.manual_seed(3)
        draws.append(layer(x))
    torch.testing.assert_close(*draws, rtol=0, atol=0)


@pytest.mark.parametrize("channels", [8, 64, 256])
def test_squeeze_excite_equals_timm(channels):
    ours, reference = SqueezeExcite(channels=channels), timm.layers.SEModule(channels)
    ours.load_state_dict(reference.state_dict())
    x = torch.randn(2, channels, 5, 3)
    torch.testing.assert_close(ours(x), reference(x))


@settings(max_examples=30, deadline=None)
@given(
    inputs=st.integers(1, 9),
    extra=st.integers(0, 9),
    stride=st.integers(1, 2),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)
def test_zero_pad_shortcut_has_the_shape_of_a_strided_convolution(
    inputs, extra, stride, height, width
):
    shortcut = ZeroPadShortcut(in_channels=inputs, out_channels=inputs + extra, stride=stride)
    x = torch.randn(2, inputs, height, width)
    y = shortcut(x)
    assert y.shape == nn.Conv2d(inputs, inputs + extra, 3, stride, padding=1)(x).shape
    front = extra // 2
    assert torch.equal(y[:, front : front + inputs], x[:, :, ::stride, ::stride])
    assert y.abs().sum() == pytest.approx(y[:, front : front + inputs].abs().sum().item())
    assert not list(shortcut.parameters())
