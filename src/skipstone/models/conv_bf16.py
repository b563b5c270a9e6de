"""Convolutions in bfloat16 on CPUs, with workarounds for wrong and slow cases of oneDNN.

**Wrong.** Parts of a result are uninitialised memory, which usually goes unnoticed because fresh
memory is zero. Observed with torch 2.14 and filled memory (`MALLOC_PERTURB_`); float32 is right in
each case:

- Where a tap of the kernel only ever reads padding, its gradient is zero; in channels_last that
  part of the weight's gradient may stay unwritten (the smallest case is a 3x3 kernel, stride 2,
  padding 1 on a 1x1 map, as in a residual network on 28-pixel images). Where no tap reads a value,
  the process crashes.
- The gradient of the weight of a dilated depthwise convolution, in channels_last, on maps of about
  29 columns or more (EfficientNet with DeepLab).
- Outputs of one column at a stride above 1 (tall, narrow images), and their gradients.

**Slow.** oneDNN has fast kernels for depthwise 3x3 convolutions. Two of its other gradients are
slow in bfloat16 and faster in float32. Measured on a Sapphire Rapids Xeon (AMX, AVX-512), torch
2.14, channels_last, time of one call on one core at the sizes of EfficientNet-Lite0:

- the gradient of the input at a stride above 1: 7 to 15 times faster in float32;
- the gradient of weights larger than 3x3: 3 to 6 times faster in float32.

With this, bfloat16 also pays for networks with depthwise convolutions: a training step of
EfficientNet-Lite0 (160 px, one thread) took about half the time of eager float32 NCHW, where plain
torch in bfloat16 is slower than float32. See `benchmarks/training_speed.py`. Other processors
differ, so training times both variants first.
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
def autocast_bfloat16(device: torch.device, *, fast_depthwise: bool = False) -> Iterator[None]:
    """Autocast to bfloat16, with correct convolutions on the CPU, for the forward pass."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.autocast(device.type, torch.bfloat16))
        if device.type == "cpu":
            stack.enter_context(Bf16Convolutions(fast_depthwise=fast_depthwise))
        yield


class Bf16Convolutions(TorchFunctionMode):
    """A context for the forward pass: bfloat16 convolutions on the CPU, and gradients, are correct.

    The backward pass may run after the context ends. Where torch is right, outputs equal torch's
    and gradients equal torch's to rounding. The network is not changed. String paddings, other
    devices and other data types go to torch. Double backward works, as in torch.

    Args:
        fast_depthwise: whether gradients of depthwise convolutions also use float32 where faster.
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
                shape = ConvShape(_pair(stride), _pair(padding), _pair(dilation), groups)
                in_f32 = self._in_f32(input, weight, shape)
                if any(in_f32):
                    output: Tensor = _Convolution.apply(*tensors, shape, in_f32)
                    return output
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)

    def _in_f32(self, x: Tensor, weight: Tensor, shape: ConvShape) -> InFloat32:
        kernel, size = (weight.shape[2], weight.shape[3]), (x.shape[2], x.shape[3])
        axes = list(zip(size, kernel, shape.stride, shape.padding, shape.dilation, strict=True))
        depthwise, dilated = 1 < shape.groups == x.shape[1], max(shape.dilation) > 1
        has_grad = torch.is_grad_enabled()
        faster = self.fast_depthwise and depthwise and not dilated and len(weight) == x.shape[1]
        narrow = max(shape.stride) > 1 and _output_size(*axes[1]) == 1
        wrong = narrow or any(_has_padding_only_tap(*axis) for axis in axes)
        slow_input = faster and _is_input_gradient_slow(shape.stride)
        slow_weight = faster and _is_weight_gradient_slow(kernel)
        return InFloat32(
            output=wrong,
            input=has_grad and x.requires_grad and (wrong or slow_input),
            weight=has_grad
            and weight.requires_grad
            and (wrong or (depthwise and dilated) or slow_weight),
        )


class ConvShape(NamedTuple):
    """Arguments of a convolution, (vertical, horizontal) each."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


class InFloat32(NamedTuple):
    """Whether the output of a convolution and its gradients are computed in float32."""

    output: bool
    input: bool
    weight: bool


def has_slow_depthwise(network: nn.Module, dtype: torch.dtype) -> bool:
    """Whether `fast_depthwise` affects a layer of the network in `dtype`."""
    return dtype == torch.bfloat16 and any(
        isinstance(layer, nn.Conv2d)
        and layer.groups == layer.in_channels == layer.out_channels > 1
        and set(layer.dilation) == {1}
        and (
            _is_input_gradient_slow(_pair(layer.stride))
            or _is_weight_gradient_slow(_pair(layer.kernel_size))
        )
        for layer in network.modules()
    )


def _is_input_gradient_slow(stride: Pair) -> bool:
    """Whether a depthwise convolution's gradient of the input is faster in float32."""
    return max(stride) > 1


def _is_weight_gradient_slow(kernel: Pair) -> bool:
    """Whether a depthwise convolution's gradient of the weight is faster in float32."""
    return max(kernel) > 3


@lru_cache(maxsize=4096)
def _has_padding_only_tap(size: int, kernel: int, stride: int, padding: int, dilation: int) -> bool:
    """Whether a tap of the kernel reads padding at every position (one axis)."""
    positions = range(_output_size(size, kernel, stride, padding, dilation))
    return any(
        not any(0 <= at * stride + tap * dilation - padding < size for at in positions)
        for tap in range(kernel)
    )


def _output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """The output's size (one axis)."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _as_autocast(tensors: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """The tensors, cast as autocast would where it is enabled."""
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
        shape: ConvShape,
        in_f32: InFloat32,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape, ctx.in_f32 = shape, in_f32
        if in_f32.output:
            bias_f32 = None if bias is None else bias.float()
            with torch.autocast("cpu", enabled=False):
                return F.conv2d(x.float(), weight.float(), bias_f32, *shape).to(x.dtype)
        return F.conv2d(x, weight, bias, *shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradients: list[Tensor | None] = [None, None, None]
        for index, in_f32 in enumerate((ctx.in_f32.input, ctx.in_f32.weight)):
            if ctx.needs_input_grad[index]:
                dtype = torch.float32 if in_f32 else x.dtype
                gradients[index] = _gradient(index, gradient, x, weight, ctx.shape, dtype)
        if ctx.needs_input_grad[2]:
            gradients[2] = gradient.sum((0, 2, 3))
        return *gradients, None, None


def _gradient(
    index: int, gradient: Tensor, x: Tensor, weight: Tensor, shape: ConvShape, dtype: torch.dtype
) -> Tensor:
    """oneDNN's gradient of the input (index 0) or of the weight (1), computed in `dtype`."""
    result: Tensor = torch.ops.aten.convolution_backward(
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
    return result.to(x.dtype)
