"""Bfloat16 convolutions and their gradients: equal to exact ones, and nothing else changes."""

from __future__ import annotations

import contextlib
import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.models import conv_bf16
from skipstone.models.conv_bf16 import Bf16Convolutions, has_slow_depthwise


@pytest.fixture
def calls(monkeypatch) -> list[Tensor]:
    """The inputs of all convolutions whose gradients are not torch's own."""
    seen: list[Tensor] = []
    forward = conv_bf16._Convolution.forward

    def counted(ctx: Any, x: Tensor, *rest: Any) -> Tensor:
        seen.append(x)
        return forward(ctx, x, *rest)

    monkeypatch.setattr(conv_bf16._Convolution, "forward", staticmethod(counted))
    return seen


@dataclass(frozen=True)
class Case:
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    size: tuple[int, int]
    samples: int
    channels: int
    bias: bool
    channels_last: bool
    depthwise: bool
    dilation: int
    learns: tuple[bool, bool]  # the input, the weight
    seed: int


@st.composite
def cases(draw: Any) -> Case:
    side = st.sampled_from([1, 2, 3, 4, 5, 5, 5, 7])
    depthwise = draw(st.booleans())
    square = side.map(lambda k: (k, k))
    kernel = draw(st.one_of(square, st.tuples(side, side)) if depthwise else square)
    stride = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (2, 2), (1, 2), (3, 3)]))
    padding = tuple(draw(st.integers(0, k)) for k in kernel)
    dilation = draw(st.sampled_from([1, 1, 1, 2])) if kernel[0] == kernel[1] else 1
    size = tuple(
        draw(st.integers(max(1, dilation * (k - 1) + 1 - 2 * p), 13))
        for k, p in zip(kernel, padding, strict=True)
    )
    return Case(
        kernel,
        stride,
        padding,
        size,
        samples=draw(st.integers(1, 3)),
        channels=draw(st.sampled_from([2, 3, 16, 17])),
        bias=draw(st.booleans()),
        channels_last=draw(st.booleans()),
        depthwise=depthwise,
        dilation=dilation,
        learns=draw(st.sampled_from([(True, True), (True, False), (False, True)])),
        seed=draw(st.integers(0, 9999)),
    )


def layer_and_input(case: Case, dtype: torch.dtype = torch.float32) -> tuple[nn.Conv2d, Tensor]:
    torch.manual_seed(case.seed)
    layer = nn.Conv2d(
        case.channels,
        case.channels,
        case.kernel,
        case.stride,
        case.padding,
        case.dilation,
        groups=case.channels if case.depthwise else 1,
        bias=case.bias,
    ).to(dtype)
    layer.weight.requires_grad_(case.learns[1])
    x = torch.randn(case.samples, case.channels, *case.size, dtype=dtype)
    if case.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    return layer, x.requires_grad_(case.learns[0])


def gradients(
    layer: nn.Module, x: Tensor, *, faster: bool, autocast: bool = False
) -> dict[str, Tensor | None]:
    """The output, and the gradients of everything, for one fixed gradient of the output."""
    layer.zero_grad()
    x = x.detach().clone().requires_grad_(x.requires_grad)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        if faster:
            with Bf16Convolutions(fast_depthwise=True):
                output = layer(x)
        else:
            output = layer(x)
    generator = torch.Generator().manual_seed(7)
    output.backward(torch.randn(output.shape, generator=generator).to(output.dtype))
    found = {name: p.grad for name, p in layer.named_parameters()}
    return {"output": output.detach(), "x": x.grad, **found}


def difference(a: Tensor, b: Tensor) -> float:
    """The greatest difference, relative to the greatest value of `b`."""
    assert a.shape == b.shape
    scale = float(b.double().abs().max()) or 1.0
    return float((a.double() - b.double()).abs().max()) / scale


def compare(found: dict[str, Tensor | None], expected: dict[str, Tensor | None], limit: float):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if value is None:
            assert found[name] is None, name
            continue
        assert found[name].dtype == value.dtype, name
        assert difference(found[name], value) <= limit, name


@contextlib.contextmanager
def poisoned_memory() -> Iterator[None]:
    """Memory that is allocated next holds large numbers, so that what nobody writes is seen."""
    sizes = (64, 256, 400, 1024, 4096, 16384)
    blocks = [torch.full((size,), 1e7) for size in sizes for _ in range(20)]
    del blocks
    yield


def check_against_exact(case: Case, autocast: bool, *, fast_depthwise: bool) -> None:
    layer, x = layer_and_input(case, torch.float32 if autocast else torch.bfloat16)
    exact = copy.deepcopy(layer).to(torch.bfloat16).double()
    reference = gradients(exact, x.detach().bfloat16().double().requires_grad_(), faster=False)
    with poisoned_memory(), Bf16Convolutions(fast_depthwise=fast_depthwise):
        found = gradients(layer, x, faster=False, autocast=autocast)
    for name in ("output", "x", "weight", "bias"):
        if found.get(name) is not None and reference.get(name) is not None:
            assert difference(found[name], reference[name]) <= 5e-2, name  # sums may cancel


@settings(max_examples=120, deadline=None)
@given(cases(), st.booleans(), st.booleans())
def test_bfloat16_gradients_are_within_its_rounding(
    case: Case, autocast: bool, fast_depthwise: bool
) -> None:
    check_against_exact(case, autocast, fast_depthwise=fast_depthwise)


#: Taps that meet only padding, where torch 2.14's own gradients may be whatever lay in memory.
UNMET = [
    Case((3, 3), (2, 2), (1, 1), (1, 1), 2, 16, False, True, False, 1, (True, True), 0),
    Case((5, 5), (3, 3), (0, 3), (7, 2), 2, 16, True, True, True, 1, (True, True), 2),
    Case((3, 3), (3, 3), (1, 1), (2, 2), 2, 32, False, True, True, 1, (True, True), 0),
    Case((7, 7), (2, 2), (3, 3), (1, 1), 2, 16, False, True, False, 1, (False, True), 0),
]


@pytest.mark.parametrize("case", UNMET, ids=str)
def test_taps_that_meet_only_padding_have_no_gradient(case: Case, calls) -> None:
    for _ in range(5):
        check_against_exact(case, True, fast_depthwise=False)
    assert len(calls) == 5


#: Depthwise and dilated, on wide maps; and outputs of one column. In memory that is new and zero
#: nothing of it is seen, so they are computed where memory is filled before.
_WIDE = {"channels": 24, "bias": False, "channels_last": True, "depthwise": True, "seed": 0}
_FILLED = [
    *(
        Case(
            (k, k), (1, 1), (d * (k // 2),) * 2, (9, w), 2, dilation=d, learns=(True, True), **_WIDE
        )
        for k, d, w in [(3, 2, 29), (3, 3, 32), (5, 2, 33), (7, 4, 44), (3, 6, 30), (3, 2, 40)]
    ),
    *(
        Case((k, k), (2, 2), (p, p), (9, w), 2, 16, True, last, False, 1, (True, True), 0)
        for k, p, w in [(2, 1, 1), (3, 1, 1), (5, 2, 2)]
        for last in (False, True)
    ),
]


def check_filled() -> None:
    for case in [*_FILLED, *UNMET] * 3:
        check_against_exact(case, True, fast_depthwise=True)


def test_nothing_is_taken_from_memory_that_nobody_wrote() -> None:
    """glibc fills what it allocates with large numbers; others ignore the variable."""
    done = subprocess.run(
        [sys.executable, "-c", "from tests.models.test_conv_bf16 import *; check_filled()"],
        env={**os.environ, "MALLOC_PERTURB_": "128", "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


CASE = Case((5, 5), (1, 1), (2, 2), (9, 8), 2, 4, True, True, True, 1, (True, True), 0)


def make(kernel: int, **options: Any) -> nn.Conv2d:
    channels = options.pop("channels", 4)
    settings = {"groups": channels, "padding": kernel // 2, "bias": False} | options
    return nn.Conv2d(channels, channels, kernel, **settings)


@pytest.mark.parametrize(
    ("layer", "half", "fast"),
    [
        (make(5), False, False),
        (make(5), True, True),
        (make(5, bias=True), True, True),
        (make(5, stride=2), False, False),
        (make(5, stride=2), True, True),
        (make(3, stride=2), False, False),
        (make(3, stride=2), True, True),
        (make(3), True, False),
        (make(7), False, False),
        (make(7), True, True),
        (make(5, dilation=2), True, True),
        (make(5, groups=1), True, False),
        (make(5, groups=2), True, False),
        (make(5, padding="same"), True, False),
        (make(5, padding_mode="reflect"), True, True),  # it pads first, then convolves plainly
    ],
    ids=str,
)
def test_which_convolutions_take_it(layer, half, fast, calls) -> None:
    x = torch.randn(2, 4, 9, 9, requires_grad=True)
    found = gradients(layer, x, faster=True, autocast=half)
    assert len(calls) == int(fast)
    compare(found, gradients(layer, x, faster=False, autocast=half), 2e-2 if half else 1e-5)
    if layer.padding != "same":
        dtype = torch.bfloat16 if half else torch.float32
        slow = fast and max(layer.dilation) == 1  # where it is dilated it is wrong, not slow
        assert has_slow_depthwise(nn.Sequential(layer), dtype) == slow


def test_only_what_learns_on_the_cpu_takes_it(calls) -> None:
    layer, x = layer_and_input(CASE, torch.bfloat16)
    with Bf16Convolutions(fast_depthwise=True):
        with torch.no_grad():
            layer(x)
        layer.requires_grad_(False)
        layer(x)  # only the input learns, and its gradient is fast at stride 1
        layer.to("meta")(x.to("meta"))
        layer.double()
    with Bf16Convolutions(fast_depthwise=True):
        layer_and_input(CASE)[0].double()(x.double())
        assert layer_and_input(CASE, torch.bfloat16)[0](x[:0]).shape == (0, 4, 9, 8)
        assert layer_and_input(CASE, torch.bfloat16)[0](x[0]).shape == (4, 9, 8)
    assert not calls
    layer, x = layer_and_input(CASE, torch.bfloat16)
    layer(x)
    assert not calls
    with Bf16Convolutions(fast_depthwise=True):
        layer(x.detach())
    assert len(calls) == 1


def test_timms_same_padding_takes_it_too(calls) -> None:
    """TensorFlow's SAME pads by itself, then convolves plainly; odd sizes pad unevenly."""
    from timm.layers import Conv2dSame

    layer = Conv2dSame(4, 4, 5, stride=2, groups=4, bias=False)
    x = torch.randn(2, 4, 10, 11, requires_grad=True)
    found = gradients(layer, x, faster=True, autocast=True)
    assert len(calls) == 1
    compare(found, gradients(layer, x, faster=False, autocast=True), 2e-2)


def test_keywords_are_conv2ds(calls) -> None:
    layer, x = layer_and_input(CASE, torch.bfloat16)
    with Bf16Convolutions(fast_depthwise=True):
        output = F.conv2d(input=x, weight=layer.weight, bias=layer.bias, padding=2, groups=4)
    assert len(calls) == 1
    assert torch.equal(output, layer(x))


def test_layout_stays() -> None:
    layer, x = layer_and_input(CASE, torch.bfloat16)
    found = gradients(layer, x, faster=True)
    for name in ("output", "x"):
        assert found[name].is_contiguous(memory_format=torch.channels_last), name


@pytest.mark.parametrize("stride", [1, 2])
def test_second_order_gradients(stride, calls) -> None:
    def penalty(faster: bool) -> tuple[Tensor, ...]:
        layer, x = layer_and_input(replace(CASE, stride=(stride, stride)), torch.bfloat16)
        with Bf16Convolutions(fast_depthwise=True) if faster else contextlib.nullcontext():
            output = layer(x)
        wanted = (x, layer.weight)
        first = torch.autograd.grad(output.square().sum(), wanted, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), wanted)

    for found, own in zip(penalty(True), penalty(False), strict=True):
        assert difference(found, own) < 4e-2
    assert len(calls) == 1


@pytest.fixture(scope="module")
def lite0() -> nn.Module:
    import timm

    torch.manual_seed(0)
    return timm.create_model("efficientnet_lite0", num_classes=3).train()


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_step_of_efficientnet_lite0(lite0, channels_last, calls) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = copy.deepcopy(lite0).to(memory_format=layout)
    x = torch.randn(4, 3, 64, 64).contiguous(memory_format=layout)
    labels = torch.tensor([0, 1, 2, 0])

    def after(context: Any) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        twin = copy.deepcopy(net)
        optimizer = torch.optim.SGD(twin.parameters(), lr=0.01)
        with torch.autocast("cpu", torch.bfloat16), context:
            loss = F.cross_entropy(twin(x).float(), labels)
        loss.backward()
        grads = {name: p.grad for name, p in twin.named_parameters()}
        optimizer.step()
        return loss, grads, twin.state_dict()

    loss, grads, weights = after(Bf16Convolutions(fast_depthwise=True))
    slow = [m for m in net.modules() if has_slow_depthwise(nn.Sequential(m), torch.bfloat16)]
    assert len(calls) == sum(isinstance(module, nn.Conv2d) for module in slow) > 7
    own_loss, own_grads, own_weights = after(contextlib.nullcontext())
    assert torch.equal(loss, own_loss)
    assert grads.keys() == own_grads.keys()
    for name, value in own_grads.items():
        assert torch.isfinite(grads[name]).all(), name
        # Rounding grows on the way to the stem of a network that was never trained.
        if name.startswith(("blocks.6", "conv_head", "bn2", "classifier")):
            assert difference(grads[name], value) < 0.1, name
    assert weights.keys() == own_weights.keys()


def test_the_network_is_not_touched(lite0, calls) -> None:
    net = copy.deepcopy(lite0)
    x = torch.randn(2, 3, 32, 32)
    names = {name: type(module) for name, module in net.named_modules()}
    attributes = {name: set(vars(module)) for name, module in net.named_modules()}
    with Bf16Convolutions(fast_depthwise=True), torch.autocast("cpu", torch.bfloat16):
        net(x).float().sum().backward()
        twin = copy.deepcopy(net)
    assert calls
    assert {name: type(module) for name, module in net.named_modules()} == names
    assert {name: set(vars(module)) for name, module in net.named_modules()} == attributes
    assert net.state_dict().keys() == lite0.state_dict().keys() == twin.state_dict().keys()
    calls.clear()
    net.eval()
    exported = torch.export.export(net, (x,))
    torch.testing.assert_close(exported.module()(x), net(x), rtol=1e-4, atol=1e-5)
    assert not calls
