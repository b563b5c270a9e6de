"""Convolutions in bfloat16 on CPUs, round what oneDNN computes wrongly or slowly.

**Wrong.** Results hold whatever lay in memory, mostly unseen, as most memory is new and zero. Found
with torch 2.14 and memory filled before (`MALLOC_PERTURB_`); float32 is right in each:

- where a tap of the kernel meets nothing but padding, its gradient is zero; in channels_last that
  part of the weight's gradient may stay unwritten (the smallest case is a 3x3 kernel, stride 2,
  padding 1 on a 1x1 map, which a residual network makes of a 28-pixel picture), and where no tap
  meets anything the process ends;
- the gradient of a depthwise convolution's weight where it is dilated, in channels_last, on maps of
  some 29 columns or more (EfficientNet under DeepLab);
- outputs of one column at a stride above 1 (tall, narrow pictures), and their gradients.

**Slow.** oneDNN has fast kernels for depthwise 3x3 convolutions. Two of its other gradients are
slow in bfloat16, and float32 is a faster way to the same numbers. Measured on a Sapphire Rapids
Xeon (AMX, AVX-512), torch 2.14, channels_last, one core's time of one call at the sizes of
EfficientNet-Lite0:

- the gradient of the input at a stride above 1: 7 to 15 times faster in float32;
- the gradient of weights larger than 3x3: 3 to 6 times faster in float32.

So bfloat16 pays for networks with depthwise convolutions too, where torch's own way is slower than
float32: a training step of EfficientNet-Lite0 (160 px, one thread) took about half the time of
eager float32 NCHW. See `benchmarks/training_speed.py`. Other processors differ, so training times
both ways first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]


@contextlib.contextmanager
def bfloat16(device: torch.device, *, fast_depthwise: bool = False) -> Iterator[None]:
    """Autocast to bfloat16, with sound convolutions on the CPU; a backward pass may come after."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.autocast(device.type, torch.bfloat16))
        if device.type == "cpu":
            stack.enter_context(Bf16Convolutions(fast_depthwise=fast_depthwise))
        yield


class Bf16Convolutions(TorchFunctionMode):
    """Within it, convolutions on the CPU in bfloat16 are sound, and so are their gradients.

    A context for the forward pass; the backward pass may come after it. Outputs are torch's own and
    gradients equal torch's to rounding, where torch's are right, and the network itself is not
    touched. Everything else goes to torch as it is: paddings given by name, other devices and data
    types. Gradients have gradients, as torch's own do.

    Args:
        fast_depthwise: whether depthwise convolutions also take the faster way to theirs.
    """

    def __init__(self, *, fast_depthwise: bool = False) -> None:
        super().__init__()
        self.fast_depthwise = fast_depthwise

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.conv2d:
            return self._conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _conv2d(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        if (
            input.dim() == 4
            and input.device.type == weight.device.type == "cpu"
            and input.numel() > 0
            and not isinstance(padding, str)
        ):
            tensors = _as_autocast((input, weight, bias))
            if {tensor.dtype for tensor in tensors if tensor is not None} == {torch.bfloat16}:
                shape = Shape(_pair(stride), _pair(padding), _pair(dilation), groups)
                in_f32 = self._in_f32(input, weight, shape)
                if any(in_f32):
                    output: Tensor = _Convolution.apply(*tensors, shape, in_f32)
                    return output
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)

    def _in_f32(self, x: Tensor, weight: Tensor, shape: Shape) -> InFloat32:
        kernel, size = (weight.shape[2], weight.shape[3]), (x.shape[2], x.shape[3])
        axes = list(zip(size, kernel, shape.stride, shape.padding, shape.dilation, strict=True))
        depthwise, dilated = 1 < shape.groups == x.shape[1], max(shape.dilation) > 1
        learns = torch.is_grad_enabled()
        faster = self.fast_depthwise and depthwise and not dilated and len(weight) == x.shape[1]
        narrow = max(shape.stride) > 1 and _steps(*axes[1]) == 1
        wrong = narrow or any(_meets_only_padding(*axis) for axis in axes)
        slow = faster and _slow_input(shape.stride), faster and _slow_weight(kernel)
        return InFloat32(
            output=wrong,
            input=learns and x.requires_grad and (wrong or slow[0]),
            weight=learns
            and weight.requires_grad
            and (wrong or (depthwise and dilated) or slow[1]),
        )


class Shape(NamedTuple):
    """How a kernel moves over its input: (vertical, horizontal) each."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


class InFloat32(NamedTuple):
    """What of a convolution is computed in float32: itself, and its gradients."""

    output: bool
    input: bool
    weight: bool


def has_slow_depthwise(network: nn.Module, dtype: torch.dtype) -> bool:
    """Whether `fast_depthwise` changes a layer of the network, computed in `dtype`."""
    return dtype == torch.bfloat16 and any(
        isinstance(layer, nn.Conv2d)
        and layer.groups == layer.in_channels == layer.out_channels > 1
        and set(layer.dilation) == {1}
        and (_slow_input(_pair(layer.stride)) or _slow_weight(_pair(layer.kernel_size)))
        for layer in network.modules()
    )


def _slow_input(stride: Pair) -> bool:
    """Whether a depthwise convolution's gradient of the input is faster in float32."""
    return max(stride) > 1


def _slow_weight(kernel: Pair) -> bool:
    """Whether a depthwise convolution's gradient of the weight is faster in float32."""
    return max(kernel) > 3


@lru_cache(maxsize=4096)
def _meets_only_padding(size: int, kernel: int, stride: int, padding: int, dilation: int) -> bool:
    """Whether a tap of the kernel meets no value of the input, wherever it goes (one axis)."""
    steps = range(_steps(size, kernel, stride, padding, dilation))
    return any(
        not any(0 <= step * stride + tap * dilation - padding < size for step in steps)
        for tap in range(kernel)
    )


def _steps(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many places the kernel takes: the output's size (one axis)."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _as_autocast(tensors: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """The tensors in the data type that autocast gives convolutions, where it is on."""
    if not torch.is_autocast_enabled("cpu"):
        return tensors
    dtype = torch.get_autocast_dtype("cpu")
    return tuple(None if tensor is None else tensor.to(dtype) for tensor in tensors)


def _pair(value: Any) -> Pair:
    if isinstance(value, int):
        return (value, value)
    return (int(value[0]), int(value[-1]))


class _Convolution(torch.autograd.Function):
    """A bfloat16 convolution: input (N, C, H, W), weight (O, C / groups, kh, kw), bias (O,)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        shape: Shape,
        in_f32: InFloat32,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape, ctx.in_f32 = shape, in_f32
        if in_f32.output:
            wide = None if bias is None else bias.float()
            with torch.autocast("cpu", enabled=False):
                return F.conv2d(x.float(), weight.float(), wide, *shape).to(x.dtype)
        return F.conv2d(x, weight, bias, *shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        found: list[Tensor | None] = [None, None, None]
        for index, in_f32 in enumerate((ctx.in_f32.input, ctx.in_f32.weight)):
            if ctx.needs_input_grad[index]:
                dtype = torch.float32 if in_f32 else x.dtype
                found[index] = _gradient(index, gradient, x, weight, ctx.shape, dtype)
        if ctx.needs_input_grad[2]:
            found[2] = gradient.sum((0, 2, 3))
        return *found, None, None


def _gradient(
    index: int, gradient: Tensor, x: Tensor, weight: Tensor, shape: Shape, dtype: torch.dtype
) -> Tensor:
    """oneDNN's gradient of the input (index 0) or of the weight (1), computed in `dtype`."""
    found: Tensor = torch.ops.aten.convolution_backward(
        gradient.to(dtype),
        x.to(dtype),
        weight.to(dtype),
        None,
        shape.stride,
        shape.padding,
        shape.dilation,
        False,
        (0, 0),
        shape.groups,
        (index == 0, index == 1, False),
    )[index]
    return found.to(x.dtype)
